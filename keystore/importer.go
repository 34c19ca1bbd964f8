package keystore

import (
	"context"
	"fmt"
	"math"
	"strings"

	"go.uber.org/zap"

	"github.com/keystile/keystile/policy"
)

// MaxBulkImport is how many keys one [Importer] takes.
const MaxBulkImport = 2_000_000

// Importer takes over keys that were made elsewhere, any number of them, all or none: also a crash leaves all or none.
// It is used by one goroutine: Add for each key, then Commit, and Close in any case.
//
// Nothing is written before Commit, and no token is kept, except those of publishable keys. What an Importer holds is
// what the keys take in memory once they are imported, and the digests that find duplicates.
type Importer struct {
	store  *Store
	check  *change // of the moment of the beginning; it reads and is never written
	intern *interner
	dryRun bool

	arrival *arrival
	owners  map[string]bool
	counts  map[string]int // by kind and mode
	count   int
}

// ImportSummary is what an import did, or would do.
type ImportSummary struct {
	ID          string // imp_…, "" of a dry run
	Keys        int
	Counts      map[string]int // by kind and mode: "live secret"
	First, Last string         // the ids of the keys are from First to Last, and no other key's is
}

// BeginImport begins an import. One runs at a time: another is refused as a conflict. dryRun validates only.
func (s *Store) BeginImport(by Actor, dryRun bool) (*Importer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, unavailable("the key store is closed")
	case s.arrival != nil:
		return nil, conflict("", "another import is running; wait for its end")
	case s.pending != nil:
		return nil, unavailable("it is not known yet whether the last change was saved; try again in a moment")
	}
	s.arrival = newArrival()
	snap := s.snap.Load()
	return &Importer{
		store:   s,
		check:   &change{store: s, actor: by, now: milliseconds(s.now()), txn: snap.txn, base: snap.base},
		intern:  newInterner(),
		dryRun:  dryRun,
		arrival: s.arrival,
		owners:  make(map[string]bool),
		counts:  make(map[string]int),
	}, nil
}

// Close ends the import. What was not committed is gone.
func (m *Importer) Close() {
	if m.store != nil {
		m.store.endArrival(m.arrival)
	}
	*m = Importer{}
}

// Len is how many keys were added.
func (m *Importer) Len() int { return m.count }

// Add validates one key. line is where it stands, for messages: rows and errors are told apart by it. An *Error is about
// this key; the import can go on, to find further ones, but must not be committed then.
func (m *Importer) Add(line int, p *ImportParams) error {
	if m.count == MaxBulkImport {
		return invalid("", "there are more than %d keys; import them in several files", MaxBulkImport)
	}
	k, err := m.check.importedKey("", p, func(d policy.Digest, field string) error {
		if first, twice := m.arrival.seen[d]; twice {
			return conflict(field, "the same token stands in line %d already", first)
		}
		return nil
	})
	if err != nil {
		return err
	}
	at := int32(min(line, math.MaxInt32))
	m.arrival.seen[k.Digest] = at
	m.count++
	m.counts[k.Mode.String()+" "+k.Kind.String()]++
	if m.dryRun {
		return nil
	}
	in := m.intern
	k.Account, k.Organization, k.Sandbox = in.text(k.Account), in.text(k.Organization), in.text(k.Sandbox)
	k.Name, k.CreatedBy = in.text(k.Name), in.text(k.CreatedBy)
	k.IPRanges, k.AllowedOrigins = in.shareList(k.IPRanges), in.shareList(k.AllowedOrigins)
	k.usage, k.version = new(usageCell), 1
	m.owners[k.Owner()] = true
	if k.Sandbox != "" {
		m.arrival.sandboxes[k.Sandbox] = at
	}
	m.arrival.keys, m.arrival.lines = append(m.arrival.keys, k), append(m.arrival.lines, at)
	return nil
}

// Commit imports the keys that were added. First they are made durable bit by bit, where nobody sees them; one small commit
// then makes them part of the store; at last they are put into memory: many at once, as a new base, few bit by bit. Only the
// commit itself holds other writers up. When Commit returns, all keys can be used; some of them may be a moment earlier. Its *Error may be an [*ImportError] of one row, whose Param is "line 17.token",
// if somebody else made a key with one of the tokens meanwhile.
func (m *Importer) Commit(ctx context.Context) (*ImportSummary, error) {
	sum := &ImportSummary{Keys: m.count, Counts: m.counts}
	if m.count == 0 {
		return nil, missing("", "there are no keys to import")
	}
	if m.dryRun {
		return sum, nil
	}
	if err := m.name(sum); err != nil {
		return nil, err
	}
	stage := Stage{ID: sum.ID, Table: TableKey, First: sum.First, Last: sum.Last}
	if err := m.stage(ctx, stage); err != nil {
		return nil, m.drop(ctx, stage, err)
	}
	err := m.store.write(ctx, m.check.actor, func(c *change) error {
		if err := m.arrival.recheck(c); err != nil {
			return err
		}
		c.stage, c.arrival, c.imported = stage.ID, m.arrival, true
		account, organization := m.owner()
		return c.event(EventKeyImportCompleted, sum.ID, account, organization, nil, sum.event())
	})
	if err != nil {
		return nil, m.drop(ctx, stage, err)
	}
	<-m.arrival.done
	return sum, nil
}

// name gives the keys ids out of a block that nobody else uses.
func (m *Importer) name(sum *ImportSummary) (err error) {
	s := m.store
	s.mu.Lock()
	ids := s.ids
	ids.last = max(ids.last, uint64(m.check.now.UnixMicro()))
	s.ids.last = ids.last + uint64(len(m.arrival.keys)) + 1 // the block; what is made from now on sorts after it
	revision := s.head.Revision + 1
	s.mu.Unlock()
	for _, k := range m.arrival.keys {
		if k.ID, err = ids.next(prefixKey, m.check.now); err != nil {
			return err
		}
		k.Revision = revision // at the earliest; all that counts is that every later change has a higher one
	}
	sum.First, sum.Last = m.arrival.keys[0].ID, m.arrival.keys[len(m.arrival.keys)-1].ID
	sum.ID, err = ids.next(prefixImport, m.check.now)
	return err
}

// stage makes the keys durable, without showing them to anybody.
func (m *Importer) stage(ctx context.Context, stage Stage) error {
	for keys := m.arrival.keys; len(keys) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch := keys[:min(stageBatch, len(keys))]
		keys = keys[len(batch):]
		rows := make([]Row, 0, len(batch))
		for _, k := range batch {
			if err := k.compile(m.intern); err != nil {
				return err
			}
			if err := k.checkStored(); err != nil {
				return fmt.Errorf("refusing to store %s: %w", k.ID, err)
			}
			rows = append(rows, Row{Table: TableKey, ID: k.ID, Data: k.encode()})
		}
		if err := m.store.backend.Stage(ctx, stage, rows); err != nil {
			m.store.logger.Error("staging an import", zap.Error(err))
			return unavailable("the key store could not save the keys: nothing was changed")
		}
	}
	return nil
}

// drop removes a stage that did not become part of the store. If it is not known yet whether it did, it stays: the store
// finds out, and the next start removes it if it did not.
func (m *Importer) drop(ctx context.Context, stage Stage, cause error) error {
	s := m.store
	s.mu.Lock()
	unknown := s.pending != nil && s.pending.stage == stage.ID
	s.mu.Unlock()
	if unknown {
		return cause
	}
	if err := s.backend.Unstage(context.WithoutCancel(ctx), stage.ID); err != nil {
		s.logger.Warn("removing what an import has left behind; the next start does it", zap.Error(err))
	}
	return cause
}

// owner is the one owner of all keys, if there is only one.
func (m *Importer) owner() (account, organization string) {
	if len(m.owners) != 1 {
		return "", ""
	}
	return m.arrival.keys[0].Account, m.arrival.keys[0].Organization
}

func (sum *ImportSummary) event() map[string]any {
	return map[string]any{"keys": sum.Keys, "counts": sum.Counts, "first_key": sum.First, "last_key": sum.Last}
}

// imports says whether the event is the import that brought a key in.
func (e *Event) imports(object string) bool {
	if e.Type != EventKeyImportCompleted || !strings.HasPrefix(object, prefixKey) {
		return false
	}
	from, _ := e.After["first_key"].(string)
	to, _ := e.After["last_key"].(string)
	return from != "" && from <= object && object <= to
}
