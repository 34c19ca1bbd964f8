package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// memberSite is a gateway with a dashboard site, an access log, and a mail server.
type memberSite struct {
	*gatetest.Gateway
	url  string
	mail *mailServer
}

func newMemberSite(t *testing.T) *memberSite {
	t.Helper()
	site := gatetest.FreeAddr(t)
	s := &memberSite{url: "http://" + site, mail: newMailServer(t)}
	s.Gateway = gatetest.New(t)
	s.Setenv("SMTP_PASSWORD=" + mailPassword)
	s.Admin.Remember(mailPassword)
	s.WriteConfig(t, gatetest.Config{
		Keystile: gatetest.Catalog + fmt.Sprintf(`
			verification smtp
			smtp {
				host 127.0.0.1
				port %d
				from keys@example.com
				username keys
				password env SMTP_PASSWORD
				tls off
			}`, s.mail.addr.Port),
		Sites: s.url + " {\n\tbind 127.0.0.1\n\tlog\n\tkeystile_admin\n}",
	}.Text(s.Gateway))
	s.Start(t)
	return s
}

// browser is one client with its cookies, as a browser keeps them.
type browser struct {
	t      *testing.T
	site   *memberSite
	cookie string
}

// call makes a call as a page of the site would. headers are pairs.
func (b *browser) call(method, path string, body any, headers ...string) (int, http.Header, []byte) {
	b.t.Helper()
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		text = string(data)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.site.url+path, strings.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", b.site.url)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("User-Agent", "Browser/1.0")
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range w.Cookies() {
		if c.Name == "keystile_session" {
			b.cookie = c.Name + "=" + c.Value
			b.site.Admin.Remember(c.Value)
			if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
				b.t.Errorf("the cookie is %+v", c)
			}
		}
	}
	return w.StatusCode, w.Header, data
}

// ok is call that must succeed; out gets the answer.
func (b *browser) ok(method, path string, body, out any, headers ...string) {
	b.t.Helper()
	status, _, data := b.call(method, path, body, headers...)
	if status != 200 {
		b.t.Fatalf("%s %s: %d %s", method, path, status, data)
	}
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			b.t.Fatal(err)
		}
	}
}

// fails is call that must answer an error.
func (b *browser) fails(method, path string, body any, status int, code string, headers ...string) {
	b.t.Helper()
	got, _, data := b.call(method, path, body, headers...)
	e, err := gatetest.ParseError(data)
	if err != nil || got != status || e.Code != code {
		b.t.Errorf("%s %s: %d %s (%v), want %d %s", method, path, got, data, err, status, code)
	}
}

var (
	ownerLink = regexp.MustCompile(`http://\S+/invitation#(inv_[0-9A-Za-z]{43})`)
	sentCode  = regexp.MustCompile(`verification code is (\d{6})`)
)

// firstOwner accepts the link that the first start printed.
func (s *memberSite) firstOwner(t *testing.T) *browser {
	t.Helper()
	var link []string
	for deadline := time.Now().Add(30 * time.Second); link == nil; time.Sleep(50 * time.Millisecond) {
		stdout, _ := s.Output()
		if link = ownerLink.FindStringSubmatch(stdout); link == nil && time.Now().After(deadline) {
			t.Fatalf("the first start printed no link:\n%s", stdout)
		}
	}
	if !strings.HasPrefix(link[0], s.url+"/invitation#") {
		t.Errorf("the link is %s, the site %s", link[0], s.url)
	}
	b := &browser{t: t, site: s}
	body := map[string]any{"invitation": link[1], "name": "Jenny", "email": "jenny@example.com", "password": ownerPassword}
	s.Admin.Remember(ownerPassword)
	b.ok("POST", "/v1/invitations/accept", body, nil)
	b.fails("POST", "/v1/invitations/accept", body, 404, "invitation_invalid")
	return b
}

const ownerPassword = "the first owner's password"

// code asks for a code for a call and reads it from the mail.
func (b *browser) code(operation string, body any) []string {
	b.t.Helper()
	var v struct {
		ID     string
		SentTo string `json:"sent_to"`
	}
	b.ok("POST", "/v1/verifications", map[string]any{"operation": operation, "body": body}, &v)
	if v.SentTo != "j…@example.com" {
		b.t.Errorf("sent to %q", v.SentTo)
	}
	found := sentCode.FindStringSubmatch(b.site.mail.last(b.t, "jenny@example.com"))
	if found == nil {
		b.t.Fatal("the mail has no code")
	}
	return []string{"Keystile-Verification", v.ID, "Keystile-Verification-Code", found[1]}
}

// TestMembers is the way of the first owner: from the link that the first start printed to a live key, and of a colleague who
// is invited by e-mail. Sessions and codes outlive a kill, and nothing of them is at rest or in a log in clear (which the
// harness checks for passwords, cookies, invitations and the secret of the authenticator app).
func TestMembers(t *testing.T) {
	t.Parallel()
	s := newMemberSite(t)
	owner := s.firstOwner(t)
	owner.fails("DELETE", "/v1/members/"+memberID(owner), nil, 409, "conflict")

	account := s.Admin.CreateAccount(t, "Shop", "")
	body := map[string]any{"kind": "secret", "mode": "live", "account": account.ID}
	owner.fails("POST", "/v1/keys", body, 403, "verification_required")
	headers := owner.code("create_key", body)
	codes := []string{headers[3]}
	owner.fails("POST", "/v1/keys", map[string]any{"kind": "secret", "mode": "live", "account": account.ID, "name": "another"}, 403, "verification_mismatch", headers...)
	s.Kill(t)
	s.Start(t)
	var key struct{ Token string }
	owner.ok("POST", "/v1/keys", body, &key, headers...)
	s.Admin.Remember(key.Token)
	if !strings.HasPrefix(key.Token, "sk_live_") {
		t.Errorf("made %q", key.Token[:min(8, len(key.Token))])
	}
	owner.fails("POST", "/v1/keys", body, 403, "verification_invalid", headers...)

	// five wrong codes end a verification, also for the right one
	headers = owner.code("create_key", body)
	codes = append(codes, headers[3])
	wrong := append([]string{}, headers...)
	wrong[3] = fmt.Sprintf("%06d", (atoi(t, headers[3])+1)%1_000_000)
	for range 5 {
		owner.fails("POST", "/v1/keys", body, 403, "verification_code_invalid", wrong...)
	}
	owner.fails("POST", "/v1/keys", body, 403, "verification_invalid", headers...)

	// a code of one session is no good in another
	other := &browser{t: t, site: s}
	other.ok("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": ownerPassword}, nil)
	headers = owner.code("create_key", body)
	codes = append(codes, headers[3])
	other.fails("POST", "/v1/keys", body, 403, "verification_invalid", headers...)

	// a colleague comes by e-mail, sees one account, and no token
	invite := map[string]any{"email": "sam@example.com", "grants": []any{map[string]any{"role": "viewer", "account": account.ID}}}
	var invited struct {
		Invitation struct {
			Link, Token string
			SentTo      string `json:"sent_to"`
		}
	}
	owner.ok("POST", "/v1/members", invite, &invited)
	if invited.Invitation.SentTo != "sam@example.com" || invited.Invitation.Link+invited.Invitation.Token != "" {
		t.Errorf("invited: %+v", invited)
	}
	link := ownerLink.FindStringSubmatch(s.mail.last(t, "sam@example.com"))
	if link == nil {
		t.Fatal("the mail has no link")
	}
	s.Admin.Remember(link[1])
	sam := &browser{t: t, site: s}
	const samPassword = "a password that sam chose"
	s.Admin.Remember(samPassword)
	sam.ok("POST", "/v1/invitations/accept", map[string]any{"invitation": link[1], "name": "Sam", "password": samPassword}, nil)
	var accounts struct{ Data []struct{ ID string } }
	sam.ok("GET", "/v1/accounts", nil, &accounts)
	if len(accounts.Data) != 1 || accounts.Data[0].ID != account.ID {
		t.Errorf("sees %+v", accounts)
	}
	sam.fails("POST", "/v1/keys", body, 403, "role_insufficient")

	// with an authenticator app a password alone is not enough
	var app struct{ Secret string }
	sam.ok("POST", "/v1/session/totp", map[string]any{"current_password": samPassword}, &app)
	s.Admin.Remember(app.Secret)
	code, err := totp.GenerateCode(app.Secret, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var recovery struct{ Codes []string }
	sam.ok("POST", "/v1/session/totp/confirm", map[string]any{"code": code}, &recovery)
	for _, text := range recovery.Codes {
		s.Admin.Remember(text)
	}
	again := &browser{t: t, site: s}
	sign := map[string]any{"email": "sam@example.com", "password": samPassword}
	again.fails("POST", "/v1/session", sign, 401, "totp_required")
	sign["code"] = code
	again.fails("POST", "/v1/session", sign, 401, "totp_invalid")
	delete(sign, "code")
	sign["recovery_code"] = recovery.Codes[0]
	again.ok("POST", "/v1/session", sign, nil)

	owner.ok("DELETE", "/v1/members/"+memberID(again), nil, nil)
	again.fails("GET", "/v1/session", nil, 401, "authentication_required")
	for _, code := range codes {
		s.findCode(t, code)
	}
	if _, stderr := s.Output(); !strings.Contains(stderr, `"Keystile-Verification-Code":["REDACTED"]`) {
		t.Error("the access log has no entry of a call with a code")
	}
}

func memberID(b *browser) string {
	b.t.Helper()
	var who struct{ Member struct{ ID string } }
	b.ok("GET", "/v1/session", nil, &who)
	return who.Member.ID
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// findCode searches the output and the text files of the home for a code in quotes or alone: six digits stand in many a time
// of day.
func (s *memberSite) findCode(t *testing.T, code string) {
	t.Helper()
	shape := regexp.MustCompile(`(?:["' =]|^)` + code + `(?:["' ,]|$)`)
	stdout, stderr := s.Output()
	if shape.MatchString(stdout) || shape.MatchString(stderr) {
		t.Error("a verification code stands in the output")
	}
	err := filepath.WalkDir(s.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && shape.Match(data) {
			t.Errorf("a verification code stands in %s", path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestAttackK2Session: what a page of another site can make a browser send with a member's cookie is refused and does nothing.
func TestAttackK2Session(t *testing.T) {
	t.Parallel()
	s := newMemberSite(t)
	owner := s.firstOwner(t)
	body := map[string]any{"name": "by a foreign page"}
	for what, headers := range map[string][]string{
		"foreign origin": {"Origin", "https://evil.example"},
		"opaque origin":  {"Origin", "null"},
		"cross-site":     {"Sec-Fetch-Site", "cross-site"},
		"same-site":      {"Sec-Fetch-Site", "same-site"},
		"text/plain":     {"Content-Type", "text/plain"},
		"form":           {"Content-Type", "application/x-www-form-urlencoded"},
		"multipart":      {"Content-Type", "multipart/form-data; boundary=x"},
		"no type":        {"Content-Type", ""},
		"two cookies":    {"Cookie", owner.cookie + "; " + owner.cookie},
		"a changed one":  {"Cookie", owner.cookie + "x"},
		"another name":   {"Cookie", "__Host-" + owner.cookie},
	} {
		status, header, answer := owner.call("POST", "/v1/organizations", body, headers...)
		if status < 400 || status > 499 {
			t.Errorf("%s: %d %s", what, status, answer)
		}
		if header.Get("Access-Control-Allow-Origin") != "" || header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v", what, header)
		}
	}
	// without a body, too: a form of another site can send that, and so can a link
	owner.fails("DELETE", "/v1/session", nil, 403, "content_type_unsupported", "Content-Type", "text/plain")
	var list struct{ Data []any }
	owner.ok("GET", "/v1/organizations", nil, &list)
	if len(list.Data) != 0 {
		t.Errorf("there is %v", list.Data)
	}
	// a sign-in cannot be forced upon a browser by another site
	status, header, _ := owner.call("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": ownerPassword}, "Origin", "https://evil.example")
	if status != 403 || header.Get("Set-Cookie") != "" {
		t.Errorf("a foreign sign-in: %d %v", status, header)
	}
}

// TestVerificationLog: codes in the log are for a site on this machine; where others could reach the site, nothing starts.
func TestVerificationLog(t *testing.T) {
	t.Parallel()
	config := func(g *gatetest.Gateway, site string) string {
		return gatetest.Config{Keystile: gatetest.Catalog + "verification log", Sites: site}.Text(g)
	}
	for what, site := range map[string]string{
		"any address":          "http://:%s {\n\tkeystile_admin\n}",
		"a loopback name":      "http://localhost:%s {\n\tkeystile_admin\n}", // a name is the client's word
		"one of two addresses": "http://:%s {\n\tbind 127.0.0.1 0.0.0.0\n\tkeystile_admin\n}",
	} {
		g := gatetest.New(t)
		g.WriteConfig(t, config(g, fmt.Sprintf(site, fmt.Sprint(gatetest.FreePort(t)))))
		var refused *gatetest.StartError
		if err := g.TryStart(); !errors.As(err, &refused) || !strings.Contains(refused.Stderr+refused.Stdout, "verification log is for development") {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := &memberSite{url: "http://" + gatetest.FreeAddr(t), Gateway: gatetest.New(t)}
	s.WriteConfig(t, config(s.Gateway, s.url+" {\n\tbind 127.0.0.1\n\tkeystile_admin\n}"))
	s.Start(t)
	owner := s.firstOwner(t)
	body := map[string]any{"kind": "secret", "mode": "live", "account": s.Admin.CreateAccount(t, "Shop", "").ID}
	var v struct{ ID, Method string }
	owner.ok("POST", "/v1/verifications", map[string]any{"operation": "create_key", "body": body}, &v)
	var found []string
	for deadline := time.Now().Add(30 * time.Second); found == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, stderr := s.Output()
		found = regexp.MustCompile(`for development only: (\d{6})`).FindStringSubmatch(stderr)
	}
	if found == nil || v.Method != "log" {
		t.Fatalf("no code in the log, method %q", v.Method)
	}
	var key struct{ Token string }
	owner.ok("POST", "/v1/keys", body, &key, "Keystile-Verification", v.ID, "Keystile-Verification-Code", found[1])
	s.Admin.Remember(key.Token)
}
