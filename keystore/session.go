package keystore

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/keystile/keystile/policy"
)

// Session is a member who has signed in. It is a row like any other, so that all nodes that share a backend know it, and so
// that one that is ended is refused as soon and as surely as a deleted key. The cookie's token is nowhere: its SHA-256 is.
type Session struct {
	ID        string // ses_…
	Member    string // mem_…
	Digest    policy.Digest
	Method    string // how the member signed in: one of the SignIn… constants
	Address   string // from where, "" if that is not known
	UserAgent string // of the sign-in, printable, at most [MaxUserAgent] bytes
	CreatedAt time.Time
	ExpiresAt time.Time // the absolute end
	Revision  uint64

	seen *seenCell
}

// How members sign in.
const (
	SignInPassword   = "password"
	SignInTOTP       = "password and authenticator app"
	SignInRecovery   = "password and recovery code"
	SignInOIDC       = "identity provider"
	SignInInvitation = "invitation"
)

const (
	// MaxMemberSessions is how many sessions a member may have; one more ends the oldest.
	MaxMemberSessions = 50
	// MaxUserAgent is how much of a user agent is kept, in bytes.
	MaxUserAgent = 256
	// seenInterval is how often the last use of a session is saved.
	seenInterval = time.Minute
)

// The events of sessions.
const (
	EventSessionCreated EventType = "session.created"
	EventSessionDeleted EventType = "session.deleted"
)

// SessionParams is a new session.
type SessionParams struct {
	Member    string
	Method    string
	Address   netip.Addr
	UserAgent string
	Lifetime  time.Duration
}

// Session finds a session by its id, one that has ended too.
func (v *Snapshot) Session(id string) (*Session, bool) {
	return first[*Session](v.txn, tableSessions, indexID, id)
}

// SessionByDigest finds a session by the SHA-256 of its token, one that has ended too.
func (v *Snapshot) SessionByDigest(d *policy.Digest) (*Session, bool) {
	return first[*Session](v.txn, tableSessions, indexDigest, d)
}

// Sessions are the sessions of a member, newest first, ended ones too.
func (v *Snapshot) Sessions(member string) []*Session {
	var out []*Session
	next := walkGroup(v.txn, tableSessions, indexMember, member, 0, "", func(s *Session) bool { return s.Member == member })
	for s := next(); s != nil; s = next() {
		out = append(out, s)
	}
	return out
}

// Expired says whether the session has reached its absolute end.
func (s *Session) Expired(now time.Time) bool { return !now.Before(s.ExpiresAt) }

// CreateSession signs a member in. The token for the cookie is in the answer and nowhere else. Sessions of the member that
// have ended, and the oldest of too many, are removed with it.
func (s *Store) CreateSession(ctx context.Context, by Actor, p SessionParams) (*Session, policy.Token, error) {
	var made *Session
	var token policy.Token
	err := s.write(ctx, by, func(c *change) (err error) {
		m, err := c.member(p.Member)
		if err != nil {
			return err
		}
		if !m.Active {
			return conflict("", "the member has not accepted an invitation yet")
		}
		made = &Session{
			Member: m.ID, Method: p.Method, UserAgent: cleanUserAgent(p.UserAgent), CreatedAt: c.now,
			ExpiresAt: milliseconds(c.now.Add(p.Lifetime)), Revision: c.revision, seen: new(seenCell),
		}
		if p.Address.IsValid() {
			made.Address = p.Address.String()
		}
		if made.ID, err = c.newID(prefixSession); err != nil {
			return err
		}
		if token, err = newSecret(s.tokens.rand, sessionTokenPrefix); err != nil {
			return err
		}
		made.Digest = token.Digest()
		kept := 0
		for _, old := range c.staged().Sessions(m.ID) {
			if kept++; old.Expired(c.now) || kept >= MaxMemberSessions {
				if err := c.removeSession(old, false); err != nil {
					return err
				}
			}
		}
		if err := c.put(TableSession, tableSessions, made.ID, made, made.encode()); err != nil {
			return err
		}
		return c.memberEvent(EventSessionCreated, made.ID, m, nil, made.summary())
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}

// DeleteSession ends a session: no call that starts after this returns is accepted with it.
func (s *Store) DeleteSession(ctx context.Context, by Actor, id string) error {
	return s.write(ctx, by, func(c *change) error {
		session, ok := first[*Session](c.txn, tableSessions, indexID, id)
		if !ok {
			return notFound("", "session", id)
		}
		return c.removeSession(session, true)
	})
}

// DeleteSessions ends all sessions of a member but the one named, and says how many.
func (s *Store) DeleteSessions(ctx context.Context, by Actor, member, except string) (int, error) {
	ended := 0
	err := s.write(ctx, by, func(c *change) (err error) {
		ended, err = c.endSessions(member, except)
		return err
	})
	return result(ended, err)
}

func (c *change) endSessions(member, except string) (int, error) {
	ended := 0
	for _, session := range c.staged().Sessions(member) {
		if session.ID == except {
			continue
		}
		if err := c.removeSession(session, true); err != nil {
			return 0, err
		}
		ended++
	}
	return ended, nil
}

// removeSession removes a row. told says whether it is an event of its own, which the tidying up of ended ones is not.
func (c *change) removeSession(session *Session, told bool) error {
	if err := c.txn.Delete(tableSessions, session); err != nil {
		return fmt.Errorf("removing a session: %w", err)
	}
	c.rows = append(c.rows, Row{Table: TableSession, ID: session.ID})
	c.ended = append(c.ended, session.ID)
	if !told {
		return nil
	}
	m, _ := first[*Member](c.txn, tableMembers, indexID, session.Member)
	return c.memberEvent(EventSessionDeleted, session.ID, m, session.summary(), nil)
}

// cleanUserAgent is what is kept of a user agent: the client writes it, and people read it.
func cleanUserAgent(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, text)
	text = text[:min(len(text), MaxUserAgent)]
	if checkNoToken("", text) != nil {
		return ""
	}
	return text
}

func (s *Session) summary() map[string]any {
	out := map[string]any{"member": s.Member, "method": s.Method}
	putText(out, "user_agent", s.UserAgent)
	putTime(out, "expires_at", s.ExpiresAt)
	return out
}
