package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

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

// seenCell is when a session was last used. Every version of the row points to the same one.
type seenCell struct {
	last  atomic.Pointer[Usage]
	saved atomic.Int64 // milliseconds of the use that was saved last
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

// LastSeen is when and from where the session was last used, as far as this process knows; at first that is its sign-in.
func (s *Session) LastSeen() Usage {
	last := Usage{At: s.CreatedAt}
	last.Address, _ = netip.ParseAddr(s.Address)
	if s.seen != nil {
		if seen := s.seen.last.Load(); seen != nil && seen.At.After(last.At) {
			last = *seen
		}
	}
	return last
}

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
		for _, old := range (&Snapshot{txn: c.txn}).Sessions(m.ID) {
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
	for _, session := range (&Snapshot{txn: c.txn}).Sessions(member) {
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
	if !told {
		return nil
	}
	m, _ := first[*Member](c.txn, tableMembers, indexID, session.Member)
	return c.memberEvent(EventSessionDeleted, session.ID, m, session.summary(), nil)
}

// TouchSession notes that a session was used. The first use in a minute is saved at once, so that a restart and other nodes
// know it: what is not known to be in use ends.
func (s *Store) TouchSession(ctx context.Context, session *Session, at time.Time, from netip.Addr) {
	cell, at := session.seen, milliseconds(at)
	if cell == nil || at.Before(session.LastSeen().At) {
		return
	}
	cell.last.Store(&Usage{At: at, Address: from})
	saved := cell.saved.Load()
	if at.UnixMilli()-saved < seenInterval.Milliseconds() || !cell.saved.CompareAndSwap(saved, at.UnixMilli()) {
		return
	}
	address := from.AsSlice()
	data := append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(address)), uint64(at.UnixMilli())), address...)
	if err := s.keep(ctx, KeptRow{ID: seenID(session.ID), Expires: session.ExpiresAt, Data: data}); err != nil {
		cell.saved.CompareAndSwap(at.UnixMilli(), saved)
		s.logger.Warn("saving when a session was last used", zap.String("session", session.ID), zap.Error(err))
	}
}

// RefreshSession reads from the backend when a session was last used: another node may have seen it since.
func (s *Store) RefreshSession(ctx context.Context, session *Session) error {
	row, err := s.backend.Kept(ctx, seenID(session.ID))
	if err != nil {
		return fmt.Errorf("reading when a session was last used: %w", err)
	}
	if row != nil {
		session.sawKept(row.Data)
	}
	return nil
}

func (s *Session) sawKept(data []byte) {
	if s.seen == nil || len(data) < 8 {
		return
	}
	at := binary.BigEndian.Uint64(data)
	if at > 1<<53 {
		return
	}
	usage := Usage{At: time.UnixMilli(int64(at)).UTC()}
	usage.Address, _ = netip.AddrFromSlice(data[8:])
	if usage.At.After(s.LastSeen().At) {
		s.seen.last.Store(&usage)
		s.seen.saved.Store(usage.At.UnixMilli())
	}
}

const seenPrefix = "session seen "

func seenID(session string) string { return seenPrefix + session }

// sessionSeen takes in one kept value at load.
func (s *Store) sessionSeen(r KeptRow) {
	if id, ok := strings.CutPrefix(r.ID, seenPrefix); ok {
		if session, known := s.snap.Load().Session(id); known {
			session.sawKept(r.Data)
		}
	}
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

// The numbers of a session's fields. They are stored.
const (
	sessionID = iota + 1
	sessionMethod
	sessionAddress
	sessionUserAgent
	sessionCreatedAt
	sessionRevision

	sessionMember    = criticalField
	sessionDigest    = criticalField + 1
	sessionExpiresAt = criticalField + 2
)

func (s *Session) encode() []byte {
	e := newEncoder(256)
	e.string(sessionID, s.ID)
	e.string(sessionMethod, s.Method)
	e.string(sessionAddress, s.Address)
	e.string(sessionUserAgent, s.UserAgent)
	e.time(sessionCreatedAt, s.CreatedAt)
	e.uint(sessionRevision, s.Revision)
	e.string(sessionMember, s.Member)
	e.bytes(sessionDigest, s.Digest[:])
	e.time(sessionExpiresAt, s.ExpiresAt)
	return e.finish()
}

func decodeSession(id string, data []byte) (*Session, error) {
	s := &Session{seen: new(seenCell)}
	err := decodeRecord(data, func(number uint64, value []byte) (err error) {
		switch number {
		case sessionID:
			s.ID = string(value)
		case sessionMethod:
			s.Method = string(value)
		case sessionAddress:
			s.Address = string(value)
		case sessionUserAgent:
			s.UserAgent = string(value)
		case sessionCreatedAt:
			s.CreatedAt, err = decodeTime(value)
		case sessionRevision:
			s.Revision, err = decodeUint(value)
		case sessionMember:
			s.Member = string(value)
		case sessionDigest:
			err = decodeDigest(&s.Digest, value)
		case sessionExpiresAt:
			s.ExpiresAt, err = decodeTime(value)
		default:
			err = unknownField(number)
		}
		return err
	})
	if err == nil {
		err = checkID(prefixSession, id, s.ID)
	}
	if err == nil && (s.Member == "" || s.Digest == policy.Digest{} || s.ExpiresAt.IsZero()) {
		err = errors.New("the session has no member, no digest or no end") // fail closed
	}
	return s, err
}
