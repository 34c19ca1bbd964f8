package api

import (
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// Session is a member who has signed in, without the cookie.
type Session struct {
	ID         string    `json:"id" example:"ses_8DpB666ojJIBrHTw33ZR"`
	Object     string    `json:"object" enum:"session"`
	Method     string    `json:"method" doc:"How the member signed in"`
	Address    *string   `json:"address" doc:"Where it was used last"`
	UserAgent  string    `json:"user_agent"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at" doc:"Within a minute"`
	ExpiresAt  time.Time `json:"expires_at" doc:"At the latest; twelve hours without a call end it too"`
	Current    bool      `json:"current" doc:"It is the one of this call"`
}

// OwnSession is the session of the call, with who has signed in.
type OwnSession struct {
	Session
	Member Member `json:"member"`
}

// Ended is how many sessions a call has ended.
type Ended struct {
	Object string `json:"object" enum:"sessions"`
	Ended  int    `json:"ended"`
}

// SignIn is the body that signs a member in.
type SignIn struct {
	Email        string           `json:"email" maxLength:"254"`
	Password     string           `json:"password" writeOnly:"true" maxLength:"1024"`
	Code         Optional[string] `json:"code,omitzero" writeOnly:"true" doc:"Six digits of the authenticator app, if the member has one"`
	RecoveryCode Optional[string] `json:"recovery_code,omitzero" writeOnly:"true" doc:"In place of the code, once"`
}

// InvitationAccept is the body that accepts an invitation.
type InvitationAccept struct {
	Invitation string           `json:"invitation" writeOnly:"true" doc:"The token: what stands behind # in the link"`
	Name       Optional[string] `json:"name,omitzero" doc:"Required if the invitation has none"`
	Email      Optional[string] `json:"email,omitzero" doc:"Required if the invitation has none, and refused if it has another"`
	Password   string           `json:"password" writeOnly:"true" doc:"12 characters or more"`
}

type signInInput struct {
	Body SignIn
}

type acceptInput struct {
	Body InvitationAccept
}

type sessionInput struct {
	ID string `path:"id" doc:"ses_…"`
}

type noInput struct{}

func (a *API) registerSessions() {
	const tag = "sessions"
	handle(a, operation{
		method: http.MethodPost, path: "/v1/invitations/accept", id: "accept_invitation", tag: tag, unkept: true, summary: "Accept an invitation",
		errors:      []int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests},
		description: "Makes the invited person a member and signs them in: the answer sets the session's cookie.",
	}, a.acceptInvitation)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/session", id: "sign_in", tag: tag, unkept: true, summary: "Sign in",
		errors: []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests},
		description: "The answer sets the session's cookie. A member with an authenticator app who gives no code is answered 401 totp_required. " +
			"Calls of a signed-in member name in the header Keystile-Scope which of their grants they are made by, as installation or by the id of an organization or an account, " +
			"unless there is only one; those that change something are sent with Content-Type: application/json, also without a body.",
	}, a.signIn)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/session", id: "get_session", tag: tag, summary: "Who has signed in",
	}, a.getSession)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/session", id: "sign_out", tag: tag, summary: "Sign out",
		description: "An answer 503 says that the session may not have ended, since the key store cannot be reached. It removes the browser's cookie all the same.",
	}, a.signOut)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/sessions", id: "list_sessions", tag: tag, summary: "List one's own sessions",
	}, a.listSessions)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/sessions", id: "delete_sessions", tag: tag, summary: "End all of one's other sessions",
	}, a.deleteSessions)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/sessions/{id}", id: "delete_session", tag: tag, summary: "End one of one's own sessions",
	}, a.deleteSession)
}

// ownSession is the session of the call.
func (c *call) ownSession() (*auth.Session, error) {
	if c.api.Sessions != nil && c.caller.Session != "" {
		if s := c.api.Sessions.ByID(c.ctx, c.caller.Session); s != nil {
			return s, nil
		}
	}
	return nil, newError(http.StatusUnauthorized, codeUnauthenticated, "", "the session is over: sign in again")
}

func (c *call) viewSession(s *keystore.Session) Session {
	seen := s.LastSeen()
	out := Session{
		ID: s.ID, Object: "session", Method: s.Method, UserAgent: s.UserAgent,
		CreatedAt: *stamp(s.CreatedAt), LastSeenAt: *stamp(seen.At), ExpiresAt: *stamp(s.ExpiresAt),
		Current: c.caller.Session == s.ID,
	}
	if seen.Address.IsValid() {
		out.Address = some(seen.Address.String())
	}
	return out
}

func (c *call) viewOwnSession(s *auth.Session) OwnSession {
	c.caller = s.Self() // of a sign-in: there was none before
	return OwnSession{Session: c.viewSession(s.Row), Member: c.viewMember(s.Member)}
}

func (c *call) setCookie(cookie *http.Cookie) { c.w.Header().Add("Set-Cookie", cookie.String()) }

// setSession sets the cookies of a session that has begun: its own, and the one by which the browser is known again.
func (c *call) setSession(s *auth.Session, cookie *http.Cookie) {
	c.setCookie(cookie)
	device, err := c.api.Sessions.DeviceCookie(s)
	if err != nil { // the member is signed in all the same
		c.api.Logger.Warn("remembering a member's browser", zap.String("member", s.Member.ID), zap.Error(err))
		return
	}
	c.setCookie(device)
}

func (a *API) acceptInvitation(c *call, in *acceptInput) (OwnSession, error) {
	s, cookie, err := a.Sessions.Accept(c.r, auth.Accept{
		Invitation: policy.TokenFrom(in.Body.Invitation), Name: in.Body.Name.Value, Email: in.Body.Email.Value, Password: policy.TokenFrom(in.Body.Password),
	})
	if err != nil {
		return OwnSession{}, c.told(err)
	}
	c.setSession(s, cookie)
	return c.viewOwnSession(s), nil
}

func (a *API) signIn(c *call, in *signInInput) (OwnSession, error) {
	s, cookie, err := a.Sessions.SignIn(c.r, auth.SignIn{
		Email: in.Body.Email, Password: policy.TokenFrom(in.Body.Password),
		Code: policy.TokenFrom(in.Body.Code.Value), RecoveryCode: policy.TokenFrom(in.Body.RecoveryCode.Value),
	})
	if err != nil {
		return OwnSession{}, c.told(err)
	}
	c.setSession(s, cookie)
	return c.viewOwnSession(s), nil
}

func (a *API) getSession(c *call, _ *noInput) (OwnSession, error) {
	s, err := c.ownSession()
	if err != nil {
		return OwnSession{}, err
	}
	return c.viewOwnSession(s), nil
}

func (a *API) signOut(c *call, _ *noInput) (Deleted, error) {
	s, err := c.ownSession()
	if err != nil {
		return Deleted{}, err
	}
	cookie, err := a.Sessions.SignOut(c.ctx, s)
	if err != nil {
		return Deleted{}, c.forgotten(err)
	}
	c.setCookie(cookie)
	return Deleted{ID: s.Row.ID, Object: "session", Deleted: true}, nil
}

// forgotten is the error of a sign-out, where the store is away. Who leaves a machine that others use is not kept signed in there
// for that: the browser forgets the session, and the error says that it may be good all the same.
func (c *call) forgotten(err error) error {
	e, cause := asError(err)
	cookie := auth.Forget(c.r)
	if e.Status != http.StatusServiceUnavailable || cookie == nil {
		return err
	}
	if cause != nil {
		c.api.Logger.Error("a session could not be ended", zap.String("request_id", c.id), zap.Error(cause))
	}
	c.setCookie(cookie)
	e.Message = "this browser has forgotten the session, but it may not have ended: " + e.Message
	return e
}

// liveSessions are the sessions of a member that have not ended.
func (c *call) liveSessions(member string) []*keystore.Session {
	if c.api.Sessions != nil {
		return c.api.Sessions.Live(member)
	}
	return slices.DeleteFunc(c.api.Store.Snapshot().Sessions(member), func(s *keystore.Session) bool { return s.Expired(c.now) })
}

func (a *API) listSessions(c *call, _ *noInput) (List[Session], error) {
	s, err := c.ownSession()
	if err != nil {
		return List[Session]{}, err
	}
	return listOf(c.liveSessions(s.Member.ID), false, c.viewSession), nil
}

func (a *API) deleteSessions(c *call, _ *noInput) (Ended, error) {
	s, err := c.ownSession()
	if err != nil {
		return Ended{}, err
	}
	return c.endSessions(s.Member.ID, s.Row.ID)
}

func (c *call) endSessions(member, except string) (Ended, error) {
	ctx, cancel := c.commit()
	defer cancel()
	n, err := c.api.Store.DeleteSessions(ctx, c.actor, member, except)
	return Ended{Object: "sessions", Ended: n}, err
}

func (a *API) deleteSession(c *call, in *sessionInput) (Deleted, error) {
	s, err := c.ownSession()
	if err != nil {
		return Deleted{}, err
	}
	row, ok := a.Store.Snapshot().Session(in.ID)
	if !ok || row.Member != s.Member.ID {
		return Deleted{}, notFound("session", in.ID)
	}
	ctx, cancel := c.commit()
	defer cancel()
	if err := a.Store.DeleteSession(ctx, c.actor, row.ID); err != nil {
		return Deleted{}, err
	}
	return Deleted{ID: row.ID, Object: "session", Deleted: true}, nil
}
