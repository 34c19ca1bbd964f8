package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

const testPassword = "correct horse battery"

// memberFixture is the API as a site with members mounts it. Calls without a cookie are root's.
type memberFixture struct {
	*fixture
	sessions *auth.Sessions
	codes    codeBox
}

func newMemberFixture(t *testing.T, change ...func(*api.Config)) *memberFixture {
	t.Helper()
	f := new(memberFixture)
	f.fixture = newFixture(t, append([]func(*api.Config){func(c *api.Config) {
		var err error
		if f.sessions, err = auth.NewSessions(c.Store, c.Now, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		local := c.Caller
		c.Sessions, c.Tokens = f.sessions, true
		c.Verifier = auth.NewVerifier(f.sessions, &f.codes)
		c.SiteURL = func() string { return "https://keys.example.com" }
		c.Caller = func(r *http.Request) (*auth.Caller, error) {
			if auth.HasCookie(r) {
				return f.sessions.Caller(r)
			}
			return local(r)
		}
	}}, change...)...)
	return f
}

// invite invites a member and answers the token of the link.
func (f *memberFixture) invite(body map[string]any, headers ...string) (api.Member, string) {
	f.t.Helper()
	m := as[api.Member](f.ok("POST", "/v1/members", body, headers...))
	_, token, ok := strings.Cut(string(m.Invitation.Link), "https://keys.example.com/invitation#")
	if !ok {
		f.t.Fatalf("the invitation's link is %q", string(m.Invitation.Link))
	}
	return m, token
}

// cookieOf is the session cookie that an answer sets.
func cookieOf(a *answer) string {
	a.t.Helper()
	c, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	if err != nil || c.Name != "keystile_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		a.t.Fatalf("%s: Set-Cookie %q", a.call, a.header.Get("Set-Cookie"))
	}
	return c.Name + "=" + c.Value
}

// member makes a member with the grants, and signs them in.
func (f *memberFixture) member(email string, grants ...map[string]any) (id, cookie string) {
	f.t.Helper()
	m, token := f.invite(map[string]any{"email": email, "grants": grants})
	a := f.ok("POST", "/v1/invitations/accept", map[string]any{"invitation": token, "name": email, "password": testPassword})
	return m.ID, cookieOf(a)
}

func owner() map[string]any { return map[string]any{"role": "owner"} }

func TestInvitationAndSignIn(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	f.do("POST", "/v1/members", map[string]any{"grants": []any{}}).fails(400, "parameter_invalid", "grants")
	f.do("POST", "/v1/members", map[string]any{"grants": []any{map[string]any{"role": "viewer"}}}).fails(400, "parameter_missing", "email")
	f.do("POST", "/v1/members", map[string]any{"email": "a b@example.com", "grants": []any{owner()}}).fails(400, "parameter_invalid", "email")
	m, token := f.invite(map[string]any{"grants": []any{owner()}})
	if m.Status != "invited" || m.Email != nil {
		t.Errorf("invited %+v", m)
	}
	again := as[api.Member](f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil))
	accept := map[string]any{"invitation": token, "name": "Jenny", "email": "Jenny@Example.com", "password": testPassword}
	f.do("POST", "/v1/invitations/accept", accept).fails(404, "invitation_invalid", "invitation") // the earlier one is void
	_, token, _ = strings.Cut(string(again.Invitation.Link), "#")
	accept["invitation"] = token
	for password, why := range map[string]string{"short": "short", "aaaaaaaaaaaaaaaa": "same", "my jenny@example.com": "e-mail"} {
		accept["password"] = password
		if e := f.do("POST", "/v1/invitations/accept", accept).fails(400, "password_refused", "password"); e.Message == "" {
			t.Errorf("%s: no message", why)
		}
	}
	accept["password"] = testPassword
	joined := f.ok("POST", "/v1/invitations/accept", accept)
	cookie := cookieOf(joined)
	if who := as[api.OwnSession](joined); who.Member.ID != m.ID || who.Member.Status != "active" || *who.Member.Email != "jenny@example.com" {
		t.Errorf("joined as %+v", who)
	}
	f.do("POST", "/v1/invitations/accept", accept).fails(404, "invitation_invalid", "invitation") // opens once
	f.ok("GET", "/v1/accounts", nil, "Cookie", cookie)                                            // the only grant is the scope

	wrong := f.do("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": "wrong password"})
	e := wrong.fails(401, "credentials_invalid", "")
	unknown := f.do("POST", "/v1/session", map[string]any{"email": "nobody@example.com", "password": "wrong password"}).fails(401, "credentials_invalid", "")
	if e.Message != unknown.Message {
		t.Errorf("the answers tell who exists: %q, %q", e.Message, unknown.Message)
	}
	in := f.ok("POST", "/v1/session", map[string]any{"email": " JENNY@example.com", "password": testPassword}, "User-Agent", "Browser/1.0 (x)")
	second := cookieOf(in)
	list := as[api.List[api.Session]](f.ok("GET", "/v1/sessions", nil, "Cookie", second))
	if len(list.Data) != 2 || !list.Data[0].Current || list.Data[0].UserAgent != "Browser/1.0 (x)" {
		t.Errorf("sessions: %+v", list.Data)
	}
	// signing in with a session replaces it
	third := cookieOf(f.ok("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": testPassword}, "Cookie", second))
	f.do("GET", "/v1/session", nil, "Cookie", second).fails(401, "authentication_required", "")
	f.do("DELETE", "/v1/session", nil, "Cookie", third).fails(403, "content_type_unsupported", "") // a form of another site could send this
	out := f.ok("DELETE", "/v1/session", nil, "Cookie", third, "Content-Type", "application/json")
	if c, err := http.ParseSetCookie(out.header.Get("Set-Cookie")); err != nil || c.MaxAge >= 0 {
		t.Errorf("signing out sets %q", out.header.Get("Set-Cookie"))
	}
	f.do("GET", "/v1/session", nil, "Cookie", third).fails(401, "authentication_required", "")
	f.ok("GET", "/v1/session", nil, "Cookie", cookie)
	f.ok("DELETE", "/v1/members/"+m.ID+"/sessions", nil)
	f.do("GET", "/v1/session", nil, "Cookie", cookie).fails(401, "authentication_required", "")
	f.do("DELETE", "/v1/members/"+m.ID, nil).fails(409, "conflict", "") // the last owner
	f.do("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{map[string]any{"role": "administrator"}}}).fails(409, "conflict", "")
}

// TestScopes: a member acts in the place that the call names, as far as the grants there go.
func TestScopes(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	org := as[api.Organization](f.ok("POST", "/v1/organizations", map[string]any{"name": "O"}))
	inside := as[api.Account](f.ok("POST", "/v1/accounts", map[string]any{"name": "in", "organization": org.ID}))
	outside := f.account("out")
	other := f.account("other")
	_, cookie := f.member("two@example.com",
		map[string]any{"role": "viewer", "organization": org.ID}, map[string]any{"role": "administrator", "account": outside.ID})
	f.do("GET", "/v1/accounts", nil, "Cookie", cookie).fails(403, "scope_required", "Keystile-Scope")
	f.ok("GET", "/v1/session", nil, "Cookie", cookie)
	for _, test := range []struct {
		scope string
		code  string
		sees  string
	}{
		{org.ID, "", inside.ID},
		{inside.ID, "", inside.ID}, // narrower than the grant
		{outside.ID, "", outside.ID},
		{other.ID, "scope_insufficient", ""},
		{"installation", "scope_insufficient", ""},
		{"acct_doesnotexist000000", "scope_insufficient", ""},
	} {
		a := f.do("GET", "/v1/accounts?limit=100", nil, "Cookie", cookie, "Keystile-Scope", test.scope)
		if test.code != "" {
			a.fails(403, test.code, "Keystile-Scope")
			continue
		}
		if list := as[api.List[api.Account]](a); len(list.Data) != 1 || list.Data[0].ID != test.sees {
			t.Errorf("%s sees %+v", test.scope, list.Data)
		}
	}
	f.do("GET", "/v1/accounts", nil, "Cookie", cookie, "Keystile-Scope", "all").fails(400, "scope_required", "Keystile-Scope")
	body := map[string]any{"name": "new"}
	f.do("PATCH", "/v1/accounts/"+inside.ID, body, "Cookie", cookie, "Keystile-Scope", org.ID).fails(403, "role_insufficient", "")
	f.do("PATCH", "/v1/accounts/"+outside.ID, body, "Cookie", cookie, "Keystile-Scope", org.ID).fails(403, "role_insufficient", "")
	f.ok("PATCH", "/v1/accounts/"+outside.ID, body, "Cookie", cookie, "Keystile-Scope", outside.ID)
}

// TestMemberGrants: nobody grants, takes or becomes more than they have.
func TestMemberGrants(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	a, b := f.account("a"), f.account("b")
	boss, _ := f.member("boss@example.com", owner())
	both, _ := f.member("both@example.com", map[string]any{"role": "viewer", "account": a.ID}, map[string]any{"role": "viewer", "account": b.ID})
	strong, _ := f.member("strong@example.com", map[string]any{"role": "owner", "account": a.ID})
	_, cookie := f.member("admin@example.com", map[string]any{"role": "administrator", "account": a.ID})
	with := []string{"Cookie", cookie}
	list := as[api.List[api.Member]](f.ok("GET", "/v1/members?limit=100", nil, with...))
	if len(list.Data) != 3 {
		t.Errorf("sees %d members, want the three of the account", len(list.Data))
	}
	for _, m := range list.Data {
		if len(m.Grants) != 1 || *m.Grants[0].Account != a.ID {
			t.Errorf("sees the grants %+v of %s", m.Grants, m.ID)
		}
	}
	f.do("GET", "/v1/members/"+boss, nil, with...).fails(404, "resource_missing", "")
	verified := func(operation, id string, body any) []string {
		f.advance(10 * time.Minute)
		return f.verify(cookie, operation, id, body)
	}
	mine := map[string]any{"email": "mine@example.com"}
	for _, id := range []string{both, strong} {
		f.do("POST", "/v1/members/"+id+"/invitation", "{}", verified("renew_invitation", id, nil)...).fails(403, codeFor(id == both), "")
		f.do("PATCH", "/v1/members/"+id, mine, verified("update_member", id, mine)...).fails(403, codeFor(id == both), "")
		f.do("DELETE", "/v1/members/"+id, "{}", with...).fails(403, codeFor(id == both), "")
		f.do("DELETE", "/v1/members/"+id+"/sessions", "{}", with...).fails(403, codeFor(id == both), "")
	}
	f.do("PATCH", "/v1/members/"+strong, map[string]any{"grants": []any{map[string]any{"role": "viewer", "account": a.ID}}}, with...).fails(403, "role_insufficient", "")
	stronger := map[string]any{"grants": []any{map[string]any{"role": "owner", "account": a.ID}}}
	f.do("PATCH", "/v1/members/"+both, stronger, verified("update_member", both, stronger)...).fails(403, "role_insufficient", "role")
	f.do("PATCH", "/v1/members/"+both, map[string]any{"grants": []any{map[string]any{"role": "viewer", "account": b.ID}}}, with...).fails(404, "resource_missing", "account")
	f.do("PATCH", "/v1/members/"+both, map[string]any{"grants": []any{map[string]any{"role": "viewer"}}}, with...).fails(403, "scope_insufficient", "")
	m := as[api.Member](f.ok("GET", "/v1/members/"+both, nil))
	if len(m.Grants) != 2 {
		t.Errorf("the other account's grant is gone: %+v", m.Grants)
	}
}

func codeFor(limit bool) string {
	if limit {
		return auth.CodeLimit
	}
	return auth.CodeRole
}

// TestAuthenticatorApp: with one enrolled, a password is not enough; no code works twice; recovery codes work once.
func TestAuthenticatorApp(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	with := []string{"Cookie", cookie}
	sign := map[string]any{"email": "jenny@example.com", "password": testPassword}
	f.do("POST", "/v1/session/totp", map[string]any{"current_password": "wrong password"}, with...).fails(403, "credentials_invalid", "current_password")
	f.do("POST", "/v1/session/totp/confirm", map[string]any{"code": "123456"}, with...).fails(409, "totp_not_enrolled", "")
	app := as[api.AppSecret](f.ok("POST", "/v1/session/totp", map[string]any{"current_password": testPassword}, with...))
	if !strings.HasPrefix(string(app.URL), "otpauth://totp/") {
		t.Errorf("URL %q", string(app.URL))
	}
	code := func() string {
		t.Helper()
		text, err := totp.GenerateCode(string(app.Secret), f.clock())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	f.do("POST", "/v1/session/totp/confirm", map[string]any{"code": wrongDigits(code())}, with...).fails(403, "totp_invalid", "")
	f.ok("POST", "/v1/session", sign) // it does not count yet
	codes := as[api.RecoveryCodes](f.ok("POST", "/v1/session/totp/confirm", map[string]any{"code": code()}, with...)).Codes
	if len(codes) != 10 {
		t.Fatalf("%d recovery codes", len(codes))
	}
	f.do("POST", "/v1/session", sign).fails(401, "totp_required", "code")
	sign["code"] = code()
	f.do("POST", "/v1/session", sign).fails(401, "totp_invalid", "code") // it confirmed the app a moment ago
	f.advance(time.Minute)
	sign["code"] = code()
	f.ok("POST", "/v1/session", sign)
	f.do("POST", "/v1/session", sign).fails(401, "totp_invalid", "code")
	f.advance(20 * time.Minute)
	f.do("POST", "/v1/session", sign).fails(401, "totp_invalid", "code")
	delete(sign, "code")
	sign["recovery_code"] = strings.ToUpper(strings.ReplaceAll(string(codes[3]), "-", " "))
	f.ok("POST", "/v1/session", sign)
	f.do("POST", "/v1/session", sign).fails(401, "totp_invalid", "recovery_code")

	proof := map[string]any{"current_password": testPassword, "recovery_code": string(codes[4])}
	fresh := as[api.RecoveryCodes](f.ok("POST", "/v1/session/recovery_codes", proof, with...)).Codes
	proof["recovery_code"] = string(codes[5])
	f.do("POST", "/v1/session/totp/remove", proof, with...).fails(403, "totp_invalid", "")
	sign["recovery_code"] = string(fresh[1])
	elsewhere := cookieOf(f.ok("POST", "/v1/session", sign))
	proof["recovery_code"] = string(fresh[0])
	f.ok("POST", "/v1/session/totp/remove", proof, with...)
	f.do("GET", "/v1/session", nil, "Cookie", elsewhere).fails(401, "authentication_required", "")
	f.ok("GET", "/v1/session", nil, with...)
	delete(sign, "recovery_code")
	f.ok("POST", "/v1/session", sign)
}

func wrongDigits(code string) string {
	return string('0'+(code[0]-'0'+1)%10) + code[1:]
}

func TestQRCode(t *testing.T) {
	t.Parallel()
	rows, err := auth.QRCode(policy.TokenFrom("otpauth://totp/Keystile:jenny@example.com?secret=JBSWY3DPEHPK3PXP&issuer=Keystile"))
	if err != nil || len(rows) < 21 || len(rows) != len(rows[0]) || !rows[0][0] || rows[1][1] || !rows[3][3] {
		t.Errorf("%d rows, %v: no finder stands in the corner", len(rows), err)
	}
}

// TestSelfCalls: calls about a signed-in member are for signed-in members only, whatever else somebody may do; passwords and
// codes make nothing that is kept.
func TestSelfCalls(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", map[string]any{"role": "viewer"})
	proof := map[string]any{"current_password": testPassword, "code": "123456"}
	for call, body := range map[string]any{
		"GET /v1/session": nil, "DELETE /v1/session": nil, "GET /v1/sessions": nil, "DELETE /v1/sessions": nil,
		"DELETE /v1/sessions/ses_8DpB666ojJIBrHTw33ZR": nil,
		"POST /v1/session/password":                    map[string]any{"current_password": testPassword, "password": testPassword},
		"POST /v1/session/totp":                        map[string]any{"current_password": testPassword},
		"POST /v1/session/totp/confirm":                map[string]any{"code": "123456"},
		"POST /v1/session/totp/remove":                 proof,
		"POST /v1/session/recovery_codes":              proof,
		"POST /v1/verifications":                       map[string]any{"operation": "create_key"},
	} {
		method, path, _ := strings.Cut(call, " ")
		f.do(method, path, body).fails(403, "session_required", "") // root has no session
		if method == "POST" && path != "/v1/verifications" {
			f.do(method, path, body, "Cookie", cookie, "Idempotency-Key", "k").fails(400, "parameter_invalid", "Idempotency-Key")
		}
	}
	f.do("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": testPassword}, "Idempotency-Key", "k").
		fails(400, "parameter_invalid", "Idempotency-Key")
	f.ok("DELETE", "/v1/sessions", "{}", "Cookie", cookie)
	f.ok("GET", "/v1/session", nil, "Cookie", cookie)
}

// TestStill: who streams is asked for again and again, and is no longer let in once the session ends or the grant is weaker.
func TestStill(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	f.member("keeper@example.com", owner())
	id, cookie := f.member("jenny@example.com", owner())
	caller := func(scope string) *auth.Caller {
		t.Helper()
		r := httptest.NewRequest("GET", "/v1/request_logs/tail", nil)
		r.Header.Set("Cookie", cookie)
		if scope != "" {
			r.Header.Set(auth.ScopeHeader, scope)
		}
		c, err := f.sessions.Caller(r)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	account := f.account("A")
	whole, one := caller(""), caller(account.ID)
	if !whole.Still() || !one.Still() || one.Account != account.ID || one.Role != keystore.RoleOwner {
		t.Fatalf("%+v, %+v", whole, one)
	}
	f.ok("PATCH", "/v1/members/"+id, map[string]any{"grants": []any{map[string]any{"role": "owner", "account": account.ID}}})
	if whole.Still() || !one.Still() {
		t.Errorf("after the grant was narrowed: %v, %v", whole.Still(), one.Still())
	}
	f.ok("PATCH", "/v1/members/"+id, map[string]any{"grants": []any{map[string]any{"role": "viewer", "account": account.ID}}})
	if one.Still() {
		t.Error("a weaker role is taken for the stronger one")
	}
	one = caller("")
	f.ok("DELETE", "/v1/members/"+id+"/sessions", nil)
	if one.Still() {
		t.Error("the session has ended")
	}
}

// TestDeletedMemberLeavesTokens: what a member has made goes on working, and who deletes them is told.
func TestDeletedMemberLeavesTokens(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	f.member("keeper@example.com", owner())
	id, cookie := f.member("jenny@example.com", owner())
	body := map[string]any{"name": "ci", "role": "viewer"}
	token := as[api.AdminToken](f.ok("POST", "/v1/admin_tokens", body, "Cookie", cookie))
	over := map[string]any{"name": "short", "role": "viewer", "expires_at": f.clock().Add(time.Hour).Format(time.RFC3339)}
	f.ok("POST", "/v1/admin_tokens", over, "Cookie", cookie)
	f.ok("POST", "/v1/admin_tokens", body)
	f.advance(2 * time.Hour)
	gone := as[api.MemberDeleted](f.ok("DELETE", "/v1/members/"+id, nil))
	if !gone.Deleted.Deleted || len(gone.AdminTokens) != 1 || gone.AdminTokens[0] != token.ID {
		t.Errorf("the answer: %+v, want %s listed", gone, token.ID)
	}
	f.ok("GET", "/v1/admin_tokens/"+token.ID, nil)
}
