package dashboard

import (
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func profilePages() []route {
	return []route{
		{"GET /profile", "get_session", (*request).showProfile},
		{"POST /profile/password", "change_password", (*request).changePassword},
		{"POST /profile/sessions/end", "delete_sessions", (*request).endSessions},
		{"POST /profile/sessions/{id}/end", "delete_session", (*request).endSession},
	}
}

var (
	donePassword = notice("password", "Your password is changed. Your other sessions have ended.")
	doneSession  = notice("session_ended", "The session has ended.")
	doneSessions = notice("sessions_ended", "Your other sessions have ended.")
)

// profilePage is about the viewer: their password, authenticator app, roles and sessions.
type profilePage struct {
	Page
	Session  api.OwnSession
	Sessions []api.Session
	Password *formError
	App      *formError
	More     bool // there are more sessions
}

// shrink leaves the sessions out that were seen longest ago.
func (p *profilePage) shrink() bool {
	var ok bool
	p.Sessions, ok = fewer(p.Sessions)
	p.More = p.More || ok
	return ok
}

// own is the request with the viewer as the caller of what is about themselves.
func (q *request) own() *request { return q.as(q.visitor.Self()) }

func (q *request) profilePage() (*profilePage, error) {
	session, err := ask[api.OwnSession](q.own(), get("/v1/session", nil))
	if err != nil {
		return nil, err
	}
	list, err := ask[api.List[api.Session]](q.own(), get("/v1/sessions", nil))
	if err != nil {
		return nil, err
	}
	p := &profilePage{Page: q.page("Profile", "profile"), Session: session, Sessions: list.Data, More: list.HasMore}
	return p, nil
}

func (q *request) showProfile() error {
	p, err := q.profilePage()
	if err != nil {
		return err
	}
	return q.show("profile", p)
}

func (q *request) changePassword() error {
	body := api.PasswordChange{CurrentPassword: q.r.PostForm.Get("current_password"), Password: q.r.PostForm.Get("password")}
	wrong := (*formError)(nil)
	if body.Password != q.r.PostForm.Get("again") {
		wrong = &formError{Param: "again", Message: "The two passwords are not the same."}
	} else if _, err := ask[api.Done](q.own(), post("/v1/session/password", body)); err != nil {
		if wrong = ownFailure(err); wrong == nil {
			return err
		}
	}
	if wrong == nil {
		return q.seeOther("/profile", donePassword)
	}
	p, err := q.profilePage()
	if err != nil {
		return err
	}
	p.Password = wrong
	return q.show("profile", p)
}

// ownFailure is what was wrong in a form about oneself: also a wrong password or code, which the API answers with 403.
func ownFailure(err error) *formError {
	if e := apiFailure(err); e != nil && e.Status < http.StatusInternalServerError && e.Status != http.StatusUnauthorized {
		return &formError{Param: e.Param, Message: sentence(e.Message)}
	}
	return nil
}

func (q *request) endSession() error {
	c := call{method: http.MethodDelete, path: "/v1/sessions/" + url.PathEscape(q.r.PathValue("id"))}
	if _, err := ask[api.Deleted](q.own(), c); err != nil {
		return err
	}
	return q.seeOther("/profile", doneSession)
}

func (q *request) endSessions() error {
	if _, err := ask[api.Ended](q.own(), call{method: http.MethodDelete, path: "/v1/sessions"}); err != nil {
		return err
	}
	return q.seeOther("/profile", doneSessions)
}
