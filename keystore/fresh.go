package keystore

import (
	"sync/atomic"
	"time"
)

// DefaultMaxStaleness is for how long a node that cannot reach its backend goes on accepting keys.
const DefaultMaxStaleness = 60 * time.Second

// freshness is what a store knows of how old its memory may be.
type freshness struct {
	confirmed    atomic.Pointer[time.Time] // memory was at the backend's head at this moment or later; nil: never
	maxStaleness atomic.Int64              // nanoseconds
	sighted      atomic.Uint64             // the newest revision that the backend was seen at
}

// confirm notes that memory was at the backend's head at a time.
func (s *Store) confirm(at time.Time) {
	if at.IsZero() {
		return
	}
	for {
		old := s.fresh.confirmed.Load()
		if old != nil && !at.After(*old) {
			return
		}
		if s.fresh.confirmed.CompareAndSwap(old, &at) {
			return
		}
	}
}

// SetMaxStaleness says for how long from now on the store may be cut off from a backend that others write to before it is
// stale.
func (s *Store) SetMaxStaleness(d time.Duration) {
	if d <= 0 {
		d = DefaultMaxStaleness
	}
	s.fresh.maxStaleness.Store(int64(d))
}

// Stale says whether a key may have been revoked elsewhere so long ago that nobody may be let in any more on what is known
// here. A store that nobody else writes to is never stale. It costs two atomic loads, and takes no lock.
//
// Both clocks count: the monotonic one, which nobody sets, stands still while a machine is suspended, and the other does not.
func (s *Store) Stale(now time.Time) bool {
	if s.shared == nil {
		return false
	}
	at := s.fresh.confirmed.Load()
	if at == nil {
		return true
	}
	return since(*at, now) > time.Duration(s.fresh.maxStaleness.Load())
}

// since is the longer of what both clocks say.
func since(at, now time.Time) time.Duration { return max(now.Sub(at), now.Round(0).Sub(at.Round(0))) }

// Staleness is how long ago memory was last known to be the backend's newest state. known is false if it never was, or if
// nobody else writes to the store.
func (s *Store) Staleness(now time.Time) (age time.Duration, known bool) {
	at := s.fresh.confirmed.Load()
	if at == nil {
		return 0, false
	}
	return max(0, since(*at, now)), true
}

// Confirmed is when memory was last known to be the backend's newest state, the zero time if it never was or if nobody else
// writes to it.
func (s *Store) Confirmed() time.Time {
	if at := s.fresh.confirmed.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Shared says whether other processes use the store too.
func (s *Store) Shared() bool { return s.shared != nil }

// Behind is how many changes the backend was seen to hold that are not in force here yet.
func (s *Store) Behind() uint64 {
	own := s.snap.Load().Revision()
	return max(s.fresh.sighted.Load(), own) - own
}
