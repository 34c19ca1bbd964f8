package keystore

import (
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Keys that are made or changed while the store is open stand in memdb, where one costs seven times as much as in the base.
// When they have become many, they are folded into a new base, beside everything else: readers and writers go on with the
// old one meanwhile.

// foldAtLeast is how many keys memdb holds in any case before they are folded.
const foldAtLeast = 1 << 13

// foldBatch is how many keys are put into memdb, or taken out of it, while other writers wait: some milliseconds.
const foldBatch = 500

// room is how many keys memdb may hold in front of the base: at 2.5 kB each, beside a base of 300 bytes a key.
func (b *keyBase) room() int { return max(foldAtLeast, len(b.rows)/8) }

func (s *Store) wakeFolding() {
	select {
	case s.folding <- struct{}{}:
	default:
	}
}

// foldKeys folds until Close.
func (s *Store) foldKeys() {
	defer close(s.folded)
	for {
		select {
		case <-s.stop:
			return
		case <-s.folding:
			if snap := s.snap.Load(); snap.newer > snap.base.room() {
				s.fold()
			}
		}
	}
}

// fold makes a base of all keys, and then takes those out of memdb that have not changed since. At every step of it base
// and memdb together hold the same.
func (s *Store) fold() {
	s.basing.Lock()
	defer s.basing.Unlock()
	began, snap := time.Now(), s.snap.Load()
	keys, err := snap.newerKeys()
	var next *keyBase
	if err == nil {
		next, err = snap.base.with(keys)
	}
	if err != nil {
		s.logger.Error("folding keys", zap.Error(err)) // they stay where they are
		return
	}
	ended := s.quietly(func() {
		now := *s.snap.Load()
		now.base = next
		s.snap.Store(&now)
	})
	for batch := range slices.Chunk(keys, foldBatch) {
		if ended {
			return
		}
		ended = s.quietly(func() { s.takeOut(batch) })
	}
	s.logger.Debug("folded keys", zap.Int("keys", len(keys)), zap.Duration("took", time.Since(began)))
}

// newerKeys are the keys that memdb holds, by id.
func (v *Snapshot) newerKeys() ([]*Key, error) {
	it, err := v.txn.LowerBound(tableKeys, indexID, "")
	if err != nil {
		return nil, err
	}
	keys := make([]*Key, 0, v.newer)
	for k, ok := it.Next().(*Key); ok; k, ok = it.Next().(*Key) {
		keys = append(keys, k)
	}
	return keys, nil
}

// takeOut removes keys from memdb that the base holds as they are. The store is locked.
func (s *Store) takeOut(keys []*Key) {
	txn := s.db.Txn(true)
	out := 0
	for _, k := range keys {
		if now, _ := first[*Key](txn, tableKeys, indexID, k.ID); now != k {
			continue // it has changed meanwhile
		}
		if err := txn.Delete(tableKeys, k); err != nil {
			panic(fmt.Sprintf("keystore: taking a key out of memdb: %v", err)) // of the wrong type: a fault of this package
		}
		out++
	}
	txn.Commit()
	s.show(nil, 0, -out)
}

// quietly runs do under the lock, when no change is left whose outcome is unknown: that one holds memdb. It says whether the
// store was closed instead.
func (s *Store) quietly(do func()) (ended bool) {
	for {
		s.mu.Lock()
		if s.closed || s.pending == nil {
			ended = s.closed
			if !ended {
				do()
			}
			s.mu.Unlock()
			return ended
		}
		s.mu.Unlock()
		select {
		case <-s.stop:
			return true
		case <-time.After(settlePause):
		}
	}
}
