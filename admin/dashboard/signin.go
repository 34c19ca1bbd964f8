package dashboard

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
)

const signOutForm = "POST /sign_out"

func signInPages() []route {
	return []route{
		{"GET /sign_in", "", (*request).showSignIn},
		{"POST /sign_in", "", (*request).signInForm},
		{signOutForm, "", (*request).signOut},
		{"GET /invitation", "", (*request).showInvitation},
		{"POST /invitation", "", (*request).acceptInvitation},
	}
}

var (
	doneSignedOut = notice("signed_out", "You are signed out.")
	doneWelcome   = notice("welcome", "Welcome. Your password is set, and you are signed in.")
)

// signInPage takes e-mail address and password, and then, from who has an authenticator app, its code.
type signInPage struct {
	Page
	Email    string
	Next     string
	Sealed   string // e-mail address and password, for the second step: sealed, and good for minutes
	Recovery bool   // the second step takes a recovery code
	Code     bool   // it is the second step
	Wrong    string
}

// Provider is the address that leads to the identity provider, "" if there is none.
func (p *signInPage) Provider() string {
	if !p.q.OIDC {
		return ""
	}
	return p.To("/v1/session/oidc")
}

// stepTime is how long there is for the second step.
const stepTime = 5 * time.Minute

// sealPurpose binds what is sealed to this use.
const sealPurpose = "dashboard sign-in"

// step is what the second step needs of the first.
type step struct {
	Email    string    `json:"e"`
	Password api.Token `json:"p"`
	Until    time.Time `json:"u"`
}

func (q *request) showSignIn() error {
	next := safeNext(q.query("next"))
	if q.visitor != nil {
		return q.seeOther(next, "")
	}
	return q.show("sign_in", &signInPage{Page: q.page("Sign in", "sign_in"), Next: next})
}

// safeNext is a path of ours to go to after signing in, "/" if the text is anything else: an address that leads to another site
// must not look like one of ours.
func safeNext(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") || strings.HasPrefix(next, "/sign_") {
		return "/"
	}
	return next
}

func (q *request) signInForm() error {
	p := &signInPage{
		Page: q.page("Sign in", "sign_in"), Email: q.form("email"), Next: safeNext(q.form("next")),
		Sealed: q.form("sealed"), Recovery: q.form("use") == "recovery",
	}
	body := api.SignIn{Email: p.Email, Password: q.r.PostForm.Get("password")}
	if p.Sealed != "" {
		s, ok := q.openStep(p.Sealed)
		if !ok {
			p.Sealed, p.Wrong = "", "That took too long. Please begin again."
			return q.show("sign_in", p)
		}
		body.Email, body.Password, p.Code = s.Email, string(s.Password), true
	}
	if q.form("use") == "recovery" && q.form("code") == "" && p.Code {
		return q.show("sign_in", p) // the link to the other kind of code
	}
	if code := q.form("code"); code != "" {
		if p.Recovery {
			body.RecoveryCode = api.Set(code)
		} else {
			body.Code = api.Set(code)
		}
	}
	_, header, err := askHeader[api.OwnSession](q.as(nil), q.withCookie(post("/v1/session", body)))
	if err == nil {
		passCookie(q.w.Header(), header)
		return q.seeOther(p.Next, "")
	}
	e := apiFailure(err)
	if e == nil || e.Status >= http.StatusInternalServerError {
		return err
	}
	if e.Status == http.StatusTooManyRequests {
		q.w.Header().Set("Retry-After", header.Get("Retry-After"))
	}
	p.Wrong = sentence(e.Message)
	if e.Code == auth.CodeTOTPRequired {
		p.Code, p.Wrong = true, ""
		if p.Sealed, err = q.sealStep(step{Email: body.Email, Password: api.Token(body.Password), Until: q.Now().Add(stepTime)}); err != nil {
			return err
		}
	}
	q.render(signInStatus(e), "sign_in", p)
	return nil
}

// signInStatus is 200 for a step and 401, 403 or 429 for what was wrong.
func signInStatus(e *api.Error) int {
	if e.Code == auth.CodeTOTPRequired {
		return http.StatusOK
	}
	return e.Status
}

// sealStep makes what the second step brings back; "" where nothing can be sealed.
func (q *request) sealStep(s step) (string, error) {
	if q.Seal == nil {
		return "", nil
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sealed, err := q.Seal(sealPurpose, plain)
	return encode(sealed), err
}

func (q *request) openStep(text string) (s step, ok bool) {
	sealed, err := decode(text)
	if err != nil || q.Open == nil {
		return s, false
	}
	plain, err := q.Open(sealPurpose, sealed)
	if err != nil || json.Unmarshal(plain, &s) != nil {
		return s, false
	}
	return s, q.Now().Before(s.Until)
}

// withCookie is a call that signs in, with the session that the browser has: it ends with that.
func (q *request) withCookie(c call) call {
	if lines := q.r.Header.Values("Cookie"); len(lines) > 0 {
		c.header = http.Header{"Cookie": lines}
	}
	return c
}

// passCookie gives the browser the cookie that the API sets.
func passCookie(to, from http.Header) {
	for _, cookie := range from.Values("Set-Cookie") {
		to.Add("Set-Cookie", cookie)
	}
}

func (q *request) signOut() error {
	if q.visitor != nil {
		_, header, err := askHeader[api.Deleted](q.as(q.visitor.Self()), call{method: http.MethodDelete, path: "/v1/session"})
		if err != nil {
			return q.forgotten(err)
		}
		passCookie(q.w.Header(), header)
	}
	return q.seeOther("/sign_in", doneSignedOut)
}

// forgotten is the error of a sign-out, where the store is away: the browser forgets the session, and the page says that it may
// be good all the same.
func (q *request) forgotten(err error) error {
	var refusal *auth.Refusal
	failure := apiFailure(err)
	away := errors.As(err, &refusal) && refusal.Status == http.StatusServiceUnavailable ||
		failure != nil && failure.Status == http.StatusServiceUnavailable
	cookie := auth.Forget(q.r)
	if !away || cookie == nil {
		return err
	}
	http.SetCookie(q.w, cookie)
	return &refusedError{
		status: http.StatusServiceUnavailable, title: "You are signed out of this browser only",
		text: "It has forgotten your session. But the key store cannot be reached now, and the session itself may not have ended: whoever has a copy of its cookie may use it again. " +
			"Once the key store is back, sign in, and end your other sessions on your profile.",
	}
}

// invitationPage takes an invitation. Its token stands behind # in the link, where neither we nor anybody on the way can see
// it: a script puts it into the form, or the reader does.
type invitationPage struct {
	Page
	Name, Email string
	Token       bool // a token came with the form: it has to be sent again, and is not shown
	Error       *formError
}

func (q *request) showInvitation() error {
	return q.show("invitation", &invitationPage{Page: q.page("Accept your invitation", "sign_in")})
}

func (q *request) acceptInvitation() error {
	p := &invitationPage{Page: q.page("Accept your invitation", "sign_in"), Name: q.form("name"), Email: q.form("email")}
	token := q.form("invitation")
	if _, behind, ok := strings.Cut(token, "#"); ok {
		token = behind // the whole link
	}
	body := api.InvitationAccept{Invitation: token, Password: q.r.PostForm.Get("password")}
	if p.Name != "" {
		body.Name = api.Set(p.Name)
	}
	if p.Email != "" {
		body.Email = api.Set(p.Email)
	}
	if body.Password != q.r.PostForm.Get("again") {
		p.Error = &formError{Param: "again", Message: "The two passwords are not the same."}
		return q.show("invitation", p)
	}
	_, header, err := askHeader[api.OwnSession](q.as(nil), q.withCookie(post("/v1/invitations/accept", body)))
	if err == nil {
		passCookie(q.w.Header(), header)
		return q.seeOther("/", doneWelcome)
	}
	e := apiFailure(err)
	if e == nil || e.Status >= http.StatusInternalServerError {
		return err
	}
	p.Error = &formError{Param: e.Param, Message: sentence(e.Message)}
	q.render(e.Status, "invitation", p)
	return nil
}
