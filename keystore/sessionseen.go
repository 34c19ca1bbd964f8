package keystore

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// seenCell is when a session was last used. Every version of the row points to the same one.
type seenCell struct {
	last  atomic.Pointer[Usage]
	saved atomic.Int64 // milliseconds of the use that was saved last
}

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

// forgetSeen lets what is kept of ended sessions end now: who signs in and out for ever must not fill the store with it.
func (s *Store) forgetSeen(sessions []string) {
	if len(sessions) == 0 || s.answers == nil {
		return
	}
	now := s.now()
	k := s.answers
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range sessions {
		if ref, ok := k.byID[seenID(id)]; ok {
			ref.expires = now
			k.byID[seenID(id)] = ref
		}
	}
}
