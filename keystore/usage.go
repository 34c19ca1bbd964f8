package keystore

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// usageInterval is how often the last use of keys is saved.
const usageInterval = time.Minute

// Usage is when and from where a key was last used.
type Usage struct {
	At      time.Time  // UTC, whole milliseconds
	Address netip.Addr // the zero value: not known
}

// usageCell is the last use of one key. Every version of the key points to the same cell, so that a use is noted
// without looking anything up.
type usageCell struct {
	last   atomic.Pointer[Usage]
	queued atomic.Bool // waits in Store.touched to be saved
	// version is the newest of the key, see [Key.current]; 0: there is none yet. Only the writer stores.
	version atomic.Uint32
	end     endMark // see expiry.go
}

// touchedKey is one key in the stack of those that were used since the last save.
type touchedKey struct {
	id   string
	cell *usageCell
	next *touchedKey
}

// Touch notes that a key, as Lookup gave it, was used. It takes no lock. Within a second it notes a further use only if
// it comes from another address, so that a busy key costs two atomic reads.
func (s *Store) Touch(k *Key, at time.Time, from netip.Addr) {
	if k == nil || k.usage == nil {
		return
	}
	cell := k.usage
	last := cell.last.Load()
	if last != nil {
		since := at.Sub(last.At)
		if since < 0 || (since < time.Second && last.Address == from) {
			return
		}
	}
	if !cell.last.CompareAndSwap(last, &Usage{At: milliseconds(at), Address: from}) {
		return // somebody noted a use at this very moment: as good as this one
	}
	if !cell.queued.Load() && cell.queued.CompareAndSwap(false, true) {
		s.queue(&touchedKey{id: k.ID, cell: cell})
	}
}

func (s *Store) queue(t *touchedKey) {
	for {
		t.next = s.touched.Load()
		if s.touched.CompareAndSwap(t.next, t) {
			return
		}
	}
}

// LastUsed is when a key was last used, false if it never was or does not exist.
func (s *Store) LastUsed(keyID string) (Usage, bool) {
	cell := s.snap.Load().keyView().cell(keyID)
	if cell == nil {
		return Usage{}, false
	}
	last := cell.last.Load()
	if last == nil {
		return Usage{}, false
	}
	return *last, true
}

// saveUsage gives the backend the uses since the last save. It is no commit: nothing hangs on it.
func (s *Store) saveUsage(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	var rows []UsageRow
	var keys []*touchedKey
	for t := s.touched.Swap(nil); t != nil; t = t.next {
		t.cell.queued.Store(false) // before reading it: a use from here on queues the key again
		rows = append(rows, UsageRow{KeyID: t.id, Usage: *t.cell.last.Load()})
		keys = append(keys, t)
	}
	if len(rows) == 0 {
		return nil
	}
	err := s.backend.SaveUsage(ctx, rows)
	if err != nil {
		for _, t := range keys {
			if t.cell.queued.CompareAndSwap(false, true) {
				s.queue(&touchedKey{id: t.id, cell: t.cell})
			}
		}
	}
	return err
}

// usageOverlap is how much further back than the last look saved uses are looked at again: they are saved a while after they
// were, by nodes whose clocks differ.
const usageOverlap = 3 * usageInterval

func (s *Store) loadUsage(ctx context.Context, since time.Time) error {
	snap := s.snap.Load()
	err := s.backend.LoadUsage(ctx, since, func(r UsageRow) error {
		if cell := snap.keyView().cell(r.KeyID); cell != nil {
			cell.note(r.Usage)
		} else if t, ok := snap.AdminToken(r.KeyID); ok {
			t.usage.note(r.Usage)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("when keys were last used: %w", err)
	}
	return nil
}

// note takes over a use that was saved, unless a later one is known.
func (c *usageCell) note(u Usage) {
	for {
		last := c.last.Load()
		if last != nil && !u.At.After(last.At) {
			return
		}
		if c.last.CompareAndSwap(last, &u) {
			return
		}
	}
}

// refreshUsage takes over what other nodes have saved.
func (s *Store) refreshUsage(ctx context.Context) {
	if s.shared == nil {
		return
	}
	if err := s.loadUsage(ctx, s.now().Add(-usageOverlap)); err != nil {
		s.logger.Warn("reading when keys were last used on other nodes", zap.Error(err))
	}
}
