package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

const (
	// SessionIdle is how long a session lasts that nobody uses.
	SessionIdle = 12 * time.Hour
	// SessionLifetime is how long a session lasts at most.
	SessionLifetime = 7 * 24 * time.Hour
	// InvitationLifetime is how long an invitation can be accepted, and the link of the first owner.
	InvitationLifetime = 24 * time.Hour

	// InvitationPath is the page that takes an invitation. The token stands behind it as a fragment, which browsers send to
	// nobody: neither this process nor a proxy in front of it can log it, and it is no referrer.
	InvitationPath = "/invitation"

	// ScopeHeader says for which of their grants a signed-in member makes a call: `installation`, or the id of an organization
	// or an account.
	ScopeHeader = "Keystile-Scope"

	// SecureCookieName is the session's cookie: browsers take it by TLS only, for the whole host and from nobody else. Without
	// TLS the name is a plain one.
	SecureCookieName = "__Host-keystile_session"
	cookieName       = "keystile_session"
)

// InvitationLink is the link by which an invitation is accepted, at the site with this URL.
func InvitationLink(site string, token policy.Token) string {
	return strings.TrimSuffix(site, "/") + InvitationPath + "#" + token.Reveal()
}

// Sessions signs members in and out, and knows who has. One serves a store; it is safe for concurrent use, and outlives
// reloads of the configuration, since it counts failed tries.
type Sessions struct {
	Store  *keystore.Store
	Now    func() time.Time
	Logger *zap.Logger

	hasher    *hasher
	addresses *attempts // failed sign-ins by client address
	members   *attempts // the same by e-mail address, whether there is such a member or not
}

// NewSessions makes the Sessions of a store.
func NewSessions(store *keystore.Store, now func() time.Time, logger *zap.Logger) (*Sessions, error) {
	h, err := newHasher()
	if err != nil {
		return nil, fmt.Errorf("preparing sign-ins: %w", err)
	}
	var seed [16]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("preparing sign-ins: %w", err)
	}
	return &Sessions{
		Store: store, Now: now, Logger: logger, hasher: h,
		addresses: newAttempts(seed, 20, 5*time.Minute), // an office may share an address
		members:   newAttempts(seed, 10, time.Minute),
	}, nil
}

// Session is one signed-in member, as one request shows them.
type Session struct {
	Row    *keystore.Session
	Member *keystore.Member

	sessions *Sessions
	client   Client
}

// noSession is the answer to who has not signed in, whatever is wrong with the cookie.
func noSession() *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: CodeRequired, Message: "sign in first, or send an admin token: Authorization: Bearer adm_…"}
}

// HasCookie says whether a request has a session cookie, good or not.
func HasCookie(r *http.Request) bool {
	return len(r.CookiesNamed(nameOfCookie(ClientFrom(r.Context())))) > 0
}

// Session finds the session of a request by its cookie, and notes its use. The error is a *[Refusal], or one of the store.
func (a *Sessions) Session(r *http.Request) (*Session, error) {
	client := ClientFrom(r.Context())
	cookies := r.CookiesNamed(nameOfCookie(client))
	if len(cookies) != 1 || len(cookies[0].Value) > 128 {
		return nil, noSession() // two of them have two readings
	}
	digest := policy.DigestOf(cookies[0].Value)
	now := a.Now()
	if err := a.cutOff(now); err != nil {
		return nil, err
	}
	row, ok := a.Store.Snapshot().SessionByDigest(&digest)
	if !ok || row.Expired(now) {
		return nil, noSession()
	}
	if a.idle(row, now) {
		// Another node may have seen it since.
		if err := a.Store.RefreshSession(r.Context(), row); err != nil {
			return nil, err
		}
		if a.idle(row, now) {
			return nil, noSession()
		}
	}
	m, ok := a.Store.Snapshot().Member(row.Member)
	if !ok || !m.Active {
		return nil, noSession()
	}
	a.Store.TouchSession(context.WithoutCancel(r.Context()), row, now, client.Address)
	return &Session{Row: row, Member: m, sessions: a, client: client}, nil
}

// cutOff refuses everybody on a node that cannot know any more who was removed elsewhere: fail closed, as with tokens.
func (a *Sessions) cutOff(now time.Time) error {
	if !a.Store.Stale(now) {
		return nil
	}
	return &Refusal{
		Status: http.StatusServiceUnavailable, Code: string(keystore.CodeUnavailable),
		Message: "this node has been cut off from the key store for too long to know which members and sessions are still good",
	}
}

func (a *Sessions) idle(row *keystore.Session, now time.Time) bool {
	return now.Sub(row.LastSeen().At) >= SessionIdle
}

// Caller finds who makes a request by its session cookie, in the scope that its header names. A call that changes something
// must say that it sends JSON: no form of another page can.
func (a *Sessions) Caller(r *http.Request) (*Caller, error) {
	session, err := a.Session(r)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !deliberate(r.Header) {
		return nil, forbidden(CodeContentType, "a call of a signed-in member says what it sends: Content-Type: application/json")
	}
	lines := r.Header.Values(ScopeHeader)
	if len(lines) == 0 {
		return session.DefaultCaller()
	}
	scope, ok := ParseScope(lines[0])
	if !ok || len(lines) > 1 {
		return nil, &Refusal{Status: http.StatusBadRequest, Code: CodeScope, Param: ScopeHeader,
			Message: "the scope is the word installation, or the id of an organization or an account"}
	}
	return session.Caller(scope)
}

// deliberate says whether the content type is one that forms of other sites cannot send without asking.
func deliberate(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case "application/json", "application/x-ndjson", "text/csv":
		return true
	}
	return false
}

// Scope is what a call of a member is about: an organization with all that is its, an account, or, as the zero Scope, the
// installation. It is at most as wide as a grant, and may be narrower.
type Scope struct{ Organization, Account string }

// ParseScope reads a scope as the header has it.
func ParseScope(text string) (Scope, bool) {
	switch {
	case text == "installation":
		return Scope{}, true
	case strings.HasPrefix(text, "org_"):
		return Scope{Organization: text}, true
	case strings.HasPrefix(text, "acct_"):
		return Scope{Account: text}, true
	}
	return Scope{}, false
}

// String is the scope as the header has it.
func (s Scope) String() string {
	switch {
	case s.Organization != "":
		return s.Organization
	case s.Account != "":
		return s.Account
	}
	return "installation"
}

// Scope is what the caller is limited to.
func (c *Caller) Scope() Scope { return Scope{Organization: c.Organization, Account: c.Account} }

// ScopeOf is the whole scope of a grant.
func ScopeOf(g keystore.Grant) Scope { return Scope{Organization: g.Organization, Account: g.Account} }

// Role is what a member may do in a scope: the strongest of the grants that cover it. "" is nothing at all.
func (a *Sessions) role(m *keystore.Member, s Scope) keystore.Role {
	var role keystore.Role
	for _, g := range m.Grants {
		switch {
		case g.On() == "": // covers everything
		case g.Organization != "" && g.Organization == s.Organization:
		case g.Organization != "" && s.Account != "" && a.Store.Directory().MemberOf(s.Account, g.Organization):
		case g.Account != "" && g.Account == s.Account:
		default:
			continue
		}
		if g.Role.Includes(role) || role == "" {
			role = g.Role
		}
	}
	return role
}

// there says whether what a scope names exists: a member of the installation covers what is not there, too.
func (a *Sessions) there(s Scope) bool {
	snapshot := a.Store.Snapshot()
	switch {
	case s.Organization != "":
		_, ok := snapshot.Organization(s.Organization)
		return ok
	case s.Account != "":
		_, ok := snapshot.Account(s.Account)
		return ok
	}
	return true
}

// Role is what the member may do in a scope, "" for nothing.
func (s *Session) Role(scope Scope) keystore.Role {
	if !s.sessions.there(scope) {
		return ""
	}
	return s.sessions.role(s.Member, scope)
}

// Owners are the members who answer for a scope, for who has to ask for more rights there. Who has no role there at all is
// told of nobody.
func (s *Session) Owners(scope Scope) []*keystore.Member {
	if s.Role(scope) == "" {
		return nil
	}
	owns := func(m *keystore.Member) bool { return m.Active && s.sessions.role(m, scope) == keystore.RoleOwner }
	owners, _, err := s.sessions.Store.Snapshot().Members(keystore.Page{Limit: 20}, owns)
	if err != nil {
		return nil
	}
	return owners
}

// Actor is the member as events name them.
func (s *Session) Actor() keystore.Actor {
	actor := keystore.Actor{Kind: "member", ID: s.Member.ID, Name: s.Member.Name}
	if s.client.Address.IsValid() {
		actor.Address = s.client.Address.String()
	}
	return actor
}

// Self is the member as the caller of what is about themselves: their sessions, password, authenticator app. It may make no
// other call.
func (s *Session) Self() *Caller {
	return &Caller{Actor: s.Actor(), Session: s.Row.ID, valid: func() bool { return s.sessions.valid(s.Row.ID, nil) }}
}

// DefaultCaller is the member as a caller who did not name a scope: in that of their only grant; with several, it may only
// make calls about themselves, because nobody should act in a place that they did not name.
func (s *Session) DefaultCaller() (*Caller, error) {
	if len(s.Member.Grants) != 1 {
		return s.Self(), nil
	}
	return s.Caller(ScopeOf(s.Member.Grants[0]))
}

// Caller is the member as a caller in a scope. A scope that no grant covers is refused as one that is not there.
func (s *Session) Caller(scope Scope) (*Caller, error) {
	role := s.Role(scope)
	if role == "" {
		return nil, &Refusal{Status: http.StatusForbidden, Code: CodeLimit, Param: ScopeHeader, Message: "you have no role there; the grants of GET /v1/session say where you have one"}
	}
	return &Caller{
		Actor: s.Actor(), Role: role, Organization: scope.Organization, Account: scope.Account, Session: s.Row.ID,
		valid: func() bool {
			return s.sessions.valid(s.Row.ID, func(m *keystore.Member) bool { return s.sessions.role(m, scope).Includes(role) })
		},
	}, nil
}

// valid says whether a session is still good, and its member still such.
func (a *Sessions) valid(id string, still func(*keystore.Member) bool) bool {
	snapshot, now := a.Store.Snapshot(), a.Now()
	row, ok := snapshot.Session(id)
	if !ok || row.Expired(now) || a.Store.Stale(now) {
		return false
	}
	m, ok := snapshot.Member(row.Member)
	return ok && m.Active && (still == nil || still(m))
}

// Live are the sessions of a member that have not ended, newest first.
func (a *Sessions) Live(member string) []*keystore.Session {
	now := a.Now()
	return slices.DeleteFunc(a.Store.Snapshot().Sessions(member), func(row *keystore.Session) bool {
		return row.Expired(now) || a.idle(row, now)
	})
}

func nameOfCookie(c Client) string {
	if c.Secure {
		return SecureCookieName
	}
	return cookieName
}

// cookie is the session cookie with a value, or, for "", the one that removes it.
func cookie(c Client, value string) *http.Cookie {
	out := &http.Cookie{
		Name: nameOfCookie(c), Value: value, Path: "/", HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteStrictMode,
		MaxAge: int(SessionLifetime / time.Second),
	}
	if value == "" {
		out.MaxAge = -1
	}
	return out
}

// start makes a session for a member who has proved themselves, and its cookie. The session that the request came with, if
// there is one, ends: nobody carries a session over into another.
func (a *Sessions) start(r *http.Request, m *keystore.Member, method string) (*Session, *http.Cookie, error) {
	client := ClientFrom(r.Context())
	session := &Session{Member: m, sessions: a, client: client}
	ctx := context.WithoutCancel(r.Context())
	if old, err := a.Session(r); err == nil {
		if err := a.Store.DeleteSession(ctx, session.Actor(), old.Row.ID); err != nil && keystore.CodeOf(err) != keystore.CodeNotFound {
			return nil, nil, err
		}
	}
	row, token, err := a.Store.CreateSession(ctx, session.Actor(), keystore.SessionParams{
		Member: m.ID, Method: method, Address: client.Address, UserAgent: r.UserAgent(), Lifetime: SessionLifetime,
	})
	if err != nil {
		return nil, nil, err
	}
	session.Row = row
	return session, cookie(client, token.Reveal()), nil
}

// SignOut ends a session, and answers the cookie that makes the browser forget it.
func (a *Sessions) SignOut(ctx context.Context, s *Session) (*http.Cookie, error) {
	err := a.Store.DeleteSession(context.WithoutCancel(ctx), s.Actor(), s.Row.ID)
	if err != nil && keystore.CodeOf(err) != keystore.CodeNotFound {
		return nil, err
	}
	return cookie(s.client, ""), nil
}

// Forget is the cookie that makes a browser forget its session, for a sign-out that could not end it; nil if it has none.
func Forget(r *http.Request) *http.Cookie {
	if !HasCookie(r) {
		return nil
	}
	return cookie(ClientFrom(r.Context()), "")
}

// ByID is a session by its id, for a call that [Caller] has let in, nil if it is over.
func (a *Sessions) ByID(ctx context.Context, id string) *Session {
	snapshot := a.Store.Snapshot()
	row, ok := snapshot.Session(id)
	if !ok || row.Expired(a.Now()) {
		return nil
	}
	m, ok := snapshot.Member(row.Member)
	if !ok || !m.Active {
		return nil
	}
	return &Session{Row: row, Member: m, sessions: a, client: ClientFrom(ctx)}
}

// asRefusal finds the refusal in an error.
func asRefusal(err error) (*Refusal, bool) {
	var r *Refusal
	ok := errors.As(err, &r)
	return r, ok
}
