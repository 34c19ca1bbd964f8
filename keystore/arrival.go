package keystore

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/policy"
)

// arrival is what an import brings. Once it is durable it belongs to the store, which puts it into memory.
type arrival struct {
	// Of the importer until it commits, then constant.
	keys      []*Key
	lines     []int32 // of keys, for errors
	seen      map[policy.Digest]int32
	sandboxes map[string]int32 // that keys stand in, and a line that names each

	// Guarded by the store's mutex.
	durable bool
	created []policy.Digest // of keys that others made since the import began
	done    chan struct{}   // closed when all is in memory
}

func newArrival() *arrival {
	return &arrival{
		seen:      make(map[policy.Digest]int32),
		sandboxes: make(map[string]int32),
		done:      make(chan struct{}),
	}
}

// meet is asked for every new key of another change: a key that is durable but not in memory yet must not get a twin.
// The store is locked.
func (a *arrival) meet(d *policy.Digest) error {
	if a == nil {
		return nil
	}
	if !a.durable {
		a.created = append(a.created, *d)
		return nil
	}
	if _, taken := a.seen[*d]; taken {
		return conflict("token", "another key has this token already")
	}
	return nil
}

// holds says whether keys of a sandbox are durable and not all in memory yet. The store is locked.
func (a *arrival) holds(sandbox string) bool {
	if a == nil || !a.durable {
		return false
	}
	_, ok := a.sandboxes[sandbox]
	return ok
}

// recheck looks once more at what may have changed since the keys were validated.
func (a *arrival) recheck(c *change) error {
	for id, line := range a.sandboxes {
		if _, err := c.sandbox("sandbox", id); err != nil {
			return atLine(line, err)
		}
	}
	for i := range a.created {
		line, ours := a.seen[a.created[i]]
		if _, taken := c.keyView().byDigest(&a.created[i]); ours && taken {
			return atLine(line, conflict("token", "another key has this token already"))
		}
	}
	return nil
}

// arrive puts a durable import into memory. Other writers come in between: a revocation does not wait for a million keys.
// If the store is closed meanwhile, the next start finds the rest.
func (s *Store) arrive(a *arrival) {
	defer close(a.done)
	if !s.arriveAtOnce(a) {
		for batch := range slices.Chunk(a.keys, foldBatch) {
			if s.quietly(func() { s.insertBatch(batch) }) {
				return
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrival = nil
	s.wakeScheduler()
}

// settlePause is how long an arrival waits for a change whose outcome is unknown: that one holds memdb.
const settlePause = 100 * time.Millisecond

func (s *Store) insertBatch(keys []*Key) {
	txn := s.db.Txn(true)
	view := keyView{txn, s.snap.Load().base}
	added := make([]*Key, 0, len(keys))
	for _, k := range keys {
		if _, there := view.byID(k.ID); there {
			continue // another node has changed it already: what it made of it is newer
		}
		added = append(added, k)
		if err := txn.Insert(tableKeys, k); err != nil {
			panic(fmt.Sprintf("keystore: putting an imported key into memory: %v", err)) // of the wrong type: a fault of this package
		}
	}
	txn.Commit()
	s.show(added, len(added), len(added))
}

// arriveAtOnce makes a base of an import that is a big part of it, and says whether it did.
func (s *Store) arriveAtOnce(a *arrival) bool {
	s.basing.Lock()
	defer s.basing.Unlock()
	base := s.snap.Load().base
	keys := base.lacks(a.keys)
	if len(keys) <= base.room() {
		return false
	}
	for _, k := range keys {
		k.usage.version.Store(k.version) // nobody else has them yet
	}
	next, err := base.with(keys)
	if err != nil {
		s.logger.Error("making a base of an import; its keys are put in one by one", zap.Error(err))
		return false
	}
	s.quietly(func() { s.showArrived(keys, next) })
	return true
}

// lacks are those of some keys, by id, that the base does not hold. Of an import it may hold some: another node has changed
// them, and that was folded before the import came.
func (b *keyBase) lacks(keys []*Key) []*Key {
	from, _ := b.search(keys[0].ID)
	to, found := b.search(keys[len(keys)-1].ID)
	if from == to && !found {
		return keys
	}
	lacking := make([]*Key, 0, len(keys))
	for _, k := range keys {
		if _, found := b.search(k.ID); !found {
			lacking = append(lacking, k)
		}
	}
	return lacking
}

// showArrived shows a base that holds further keys.
func (s *Store) showArrived(keys []*Key, next *keyBase) {
	now := *s.snap.Load()
	old := now.base
	now.base, now.keys = next, now.keys+len(keys)
	it, err := now.txn.LowerBound(tableKeys, indexID, keys[0].ID)
	if err != nil {
		panic(fmt.Sprintf("keystore: listing keys: %v", err))
	}
	for k, ok := it.Next().(*Key); ok && k.ID <= keys[len(keys)-1].ID; k, ok = it.Next().(*Key) {
		n, found := next.search(k.ID)
		if _, before := old.search(k.ID); !found || before {
			continue // no key of the import: the ids of other nodes stand among its own
		}
		// Another node has changed it already, and what it made of it is newer. The imported version must never pass for the
		// newest: the two have no cell in common.
		next.cells[n].version.Store(0)
		now.keys--
	}
	s.snap.Store(&now)
}

// endArrival forgets an import that is not part of the store, and leaves one that is, or may be, to those that know.
func (s *Store) endArrival(a *arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unknown := s.pending != nil && s.pending.arrival == a
	if s.arrival == a && !a.durable && !unknown {
		s.arrival = nil
	}
}

// atLine is an error about a row of a file.
func atLine(line int32, err error) error {
	own, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	row := *own
	row.Param = fmt.Sprintf("line %d.%s", line, own.Param)
	return &ImportError{Rows: []*Error{&row}}
}
