package keystore

import (
	"errors"
	"fmt"
	"time"

	"github.com/keystile/keystile/policy"
)

// arrivalBatch is how many keys of an import are put into memory while other writers wait: some milliseconds.
const arrivalBatch = 500

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
		if _, taken := first[*Key](c.txn, tableKeys, indexDigest, &a.created[i]); ours && taken {
			return atLine(line, conflict("token", "another key has this token already"))
		}
	}
	return nil
}

// arrive puts a durable import into memory. Other writers come in between: a revocation does not wait for a million keys.
// If the store is closed meanwhile, the next start finds the rest.
func (s *Store) arrive(a *arrival) {
	defer close(a.done)
	for rest := a.keys; len(rest) > 0; {
		batch := rest[:min(arrivalBatch, len(rest))]
		rest = rest[len(batch):]
		for {
			ended, done := s.insertBatch(batch)
			if ended {
				return
			}
			if done {
				break
			}
			time.Sleep(settlePause)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrival = nil
	s.wakeScheduler()
}

// settlePause is how long an arrival waits for a change whose outcome is unknown: that one holds the index.
const settlePause = 100 * time.Millisecond

func (s *Store) insertBatch(keys []*Key) (ended, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.pending != nil {
		return s.closed, false
	}
	txn := s.db.Txn(true)
	added := 0
	for _, k := range keys {
		if _, there := first[*Key](txn, tableKeys, indexID, k.ID); there {
			continue // another node has changed it already: what it made of it is newer
		}
		added++
		if err := txn.Insert(tableKeys, k); err != nil {
			panic(fmt.Sprintf("keystore: putting an imported key into memory: %v", err)) // of the wrong type: a fault of this package
		}
	}
	txn.Commit()
	s.snap.Store(&Snapshot{txn: s.db.Txn(false), head: s.head, keys: s.snap.Load().keys + added})
	return false, true
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
