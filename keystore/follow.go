package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
	"go.uber.org/zap"
)

// A store on a [Shared] backend follows what other nodes commit. Memory is at some head; to catch up is to apply all rows
// above its revision, and then it is at the newer head. A change of our own goes the same way as ever, after memory is at
// the backend's head: whoever was faster shows in [ErrStale], is caught up with, and the change is made anew on top.
//
// Catching up is done by whoever holds the store's lock, so that nobody builds a change on half of it.

// staleTries is how often a change is made anew because others were faster although it had the turn.
const staleTries = 10

// memoryTable is the table in memory that holds a table's objects, "" for a table of a newer version.
func (t Table) memoryTable() string {
	switch t {
	case TableOrganization:
		return tableOrganizations
	case TableAccount:
		return tableAccounts
	case TableSandbox:
		return tableSandboxes
	case TableKey:
		return tableKeys
	case TableAdminToken:
		return tableAdminTokens
	case TableWebhook:
		return tableWebhooks
	case TableMember:
		return tableMembers
	case TableSession:
		return tableSessions
	}
	return ""
}

// follow watches the backend until the context ends.
func (s *Store) follow(ctx context.Context) {
	failing := false
	err := s.shared.Watch(ctx, func(at Sighting, err error) {
		if err == nil {
			err = s.sighted(ctx, at)
		}
		switch {
		case ctx.Err() != nil:
		case err != nil && !failing:
			failing = true
			s.logger.Error("following the key store's changes; keys are served from memory until max_staleness", zap.Error(err))
		case err == nil && failing:
			failing = false
			s.logger.Info("following the key store's changes again", zap.Uint64("revision", s.snap.Load().Revision()))
		}
	})
	if err != nil && ctx.Err() == nil {
		s.logger.Error("following the key store's changes has ended; restart this process", zap.Error(err))
	}
}

// sighted compares memory with the backend's head, and catches up if it is behind.
func (s *Store) sighted(ctx context.Context, at Sighting) error {
	head := s.snap.Load().head
	s.fresh.sighted.Store(at.Head.Revision)
	switch {
	case at.Head == head:
		if err := s.meet(ctx); err != nil {
			return err
		}
		s.confirm(at.At)
		return nil
	case at.Head.Revision > head.Revision:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return nil
		}
		if s.pending != nil { // it holds the index; the backend knows what became of it
			ctx, cancel := context.WithTimeout(ctx, commitTimeout)
			defer cancel()
			return s.settleLocked(ctx)
		}
		if err := s.catchUpLocked(ctx); err != nil {
			return err
		}
		if s.head.Revision >= at.Head.Revision {
			s.confirm(at.At)
		}
		return nil
	}
	if advanced := s.advanced.Load(); advanced != nil && at.At.After(*advanced) {
		// The database was put back to an older state, or another one stands in its place. Fail closed: without a head that
		// is confirmed this node stops accepting keys.
		return fmt.Errorf("the database is at revision %d and this node at %d: it was set back, or is another one; restart this process to load it", at.Head.Revision, head.Revision)
	}
	return nil // seen before a commit of our own
}

// meet is meetLocked for who does not hold the lock.
func (s *Store) meet(ctx context.Context) error {
	if s.met.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meetLocked(ctx)
}

// catchUpLocked applies what others have committed. How old that may be is not for it to say: see [Sighting].
func (s *Store) catchUpLocked(ctx context.Context) error {
	if err := s.meetLocked(ctx); err != nil {
		return err
	}
	// An import of a million keys takes as long as it takes. What must not last is that nothing arrives.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(commitTimeout, func() { cancel(context.DeadlineExceeded) })
	defer idle.Stop()
	a := &application{store: s, idle: idle}
	defer a.abort()
	head, err := s.shared.Changes(ctx, s.head.Revision, a.apply)
	if err != nil {
		return fmt.Errorf("reading what other nodes have changed: %w", err)
	}
	switch {
	case head == s.head:
		return nil
	case head.Revision <= s.head.Revision:
		return fmt.Errorf("the database is at revision %d and this node at %d: it was set back, or is another one", head.Revision, s.head.Revision)
	}
	if err := s.checkHistory(ctx); err != nil {
		return err
	}
	if err := s.checkNewest(ctx, head); err != nil {
		return err
	}
	a.finish(head)
	s.turnKeyset(ctx)
	return nil
}

// checkHistory looks whether what memory is at is still part of the backend's history. It is not if a database has lost
// commits, as one that took over from another may have, and others have gone on from there: the numbers alone would fit.
func (s *Store) checkHistory(ctx context.Context) error {
	if s.head.Events == 0 {
		return nil
	}
	ours := false
	err := s.backend.Events(ctx, s.head.Events, s.head.Events, false, func(e EventRow) error {
		ours = sha256.Sum256(e.Body) == s.head.Hash
		return nil
	})
	if err == nil && !ours {
		err = fmt.Errorf("the database has lost changes that this node has applied (event %d); restart this process to load what it holds", s.head.Events)
	}
	return err
}

// checkNewest compares the newest event with a head, and notes its id: ids rise along the chain, whoever makes them.
func (s *Store) checkNewest(ctx context.Context, head Head) error {
	if head.Events == 0 {
		return nil
	}
	seen := false
	err := s.backend.Events(ctx, head.Events, head.Events, false, func(e EventRow) error {
		seen = sha256.Sum256(e.Body) == head.Hash
		s.ids.seen(eventID(e.Body))
		if newest, err := DecodeEvent(e.Body); err == nil && s.aged == nil {
			s.newest = newest.Time
		}
		return nil
	})
	if err == nil && !seen {
		err = fmt.Errorf("the newest event (%d) is missing or is not the one that the store's head names", head.Events)
	}
	return err
}

// application puts rows that others have committed into memory. A few of them become visible at once with their head. Of
// many, batch after batch does, before the head: who looks sees rows that are too new for the head, and never the head
// without its rows.
type application struct {
	store   *Store
	txn     *memdb.Txn
	found   loaded
	keys    []*Key // that changed
	newer   int    // of them were not in memdb before
	newKeys int
	due     bool
	idle    *time.Timer // ends it when nothing comes any more

	rows  []Row // all of them, for the copy, unless there are too many
	bytes int
}

func (a *application) apply(rows []Row) error {
	a.idle.Reset(commitTimeout)
	if a.txn != nil {
		a.publish(a.store.head)
	}
	a.txn = a.store.db.Txn(true)
	for _, r := range rows {
		if err := a.row(r); err != nil {
			return fmt.Errorf("%s %q: %w", r.Table, r.ID, err)
		}
		a.bytes += len(r.ID) + len(r.Data)
	}
	if a.rows = append(a.rows, rows...); a.bytes > maxNoted {
		a.rows = nil
	}
	return nil
}

// maxNoted is how many bytes of rows are added to the copy at once. More are reason enough to write it anew.
const maxNoted = 8 << 20

func (a *application) row(r Row) error {
	table := r.Table.memoryTable()
	if table == "" {
		return errors.New("written by a newer version of the program")
	}
	a.store.ids.seen(r.ID)
	if r.Table == TableKey {
		return a.key(r)
	}
	old, err := a.txn.First(table, indexID, r.ID)
	if err != nil {
		return err
	}
	if r.Data == nil {
		if old == nil {
			return nil
		}
		return a.txn.Delete(table, old)
	}
	if err := a.store.loadRow(a.txn, r, &a.found); err != nil {
		return err
	}
	now, err := a.txn.First(table, indexID, r.ID)
	if err != nil {
		return err
	}
	if now, ok := now.(*AdminToken); ok { // nobody else sees it yet
		if was, _ := old.(*AdminToken); was != nil {
			now.usage = was.usage
		}
	}
	return nil
}

func (a *application) key(r Row) error {
	if r.Data == nil {
		return errors.New("it was removed, which nobody does: the key of a token that was ever valid stays known; restart this process")
	}
	s := a.store
	now, err := decodeKey(s.intern, r.ID, r.Data)
	if err != nil {
		return err
	}
	if now.Imported {
		s.imported.Store(true)
	}
	keys := keyView{a.txn, s.snap.Load().base}
	was, known := keys.byID(r.ID)
	if known && (now.Revision < was.Revision || bytes.Equal(was.encode(), r.Data)) {
		// While an import is handed on, changes of its keys come ahead of it: what it brought must not bring back what they took
		// away. And an import that could not be applied to its end comes once more: what is there already costs little then.
		// Of the same revision and another content is what was sealed anew.
		return nil
	}
	a.due = a.due || !now.due().IsZero()
	if !keys.changed(r.ID) {
		a.newer++
	}
	if known {
		now.usage, now.version = was.usage, was.version
	} else {
		a.newKeys++
		if arriving := s.arrival; arriving != nil && !arriving.durable {
			arriving.created = append(arriving.created, now.Digest)
		}
	}
	now.version++
	a.keys = append(a.keys, now)
	return a.txn.Insert(tableKeys, now)
}

// publish makes visible what was applied so far.
func (a *application) publish(head Head) {
	s := a.store
	if a.txn != nil {
		a.txn.Commit()
		a.txn = nil
	}
	for _, account := range a.found.accounts {
		s.directory.put(account)
	}
	s.head = head
	s.show(a.keys, a.newKeys, a.newer)
	a.found.accounts, a.keys, a.newKeys, a.newer = nil, nil, 0, 0
}

// finish makes everything visible, with the head that it leads to.
func (a *application) finish(head Head) {
	s := a.store
	a.publish(head)
	s.noteCopy(head, a.rows, a.bytes <= maxNoted)
	s.moved()
	if a.due {
		s.wakeScheduler()
	}
	s.changed.send()
}

func (a *application) abort() {
	if a.txn != nil {
		a.txn.Abort()
	}
}

// moved notes that memory is at another head than before.
func (s *Store) moved() {
	if s.shared == nil {
		return
	}
	now := time.Now()
	s.advanced.Store(&now)
	select {
	case s.applied <- struct{}{}:
	default:
	}
}

// committed says whether a commit whose answer was lost is part of the backend's history, now that others have committed
// on top of it, or in its place.
func (s *Store) committed(ctx context.Context, c *Commit, head Head) (happened bool, err error) {
	first := c.Events[0]
	if head.Events < first.Seq {
		return false, nil
	}
	seen := false
	err = s.backend.Events(ctx, first.Seq, first.Seq, false, func(e EventRow) error {
		seen, happened = true, sha256.Sum256(e.Body) == sha256.Sum256(first.Body)
		return nil
	})
	if err == nil && !seen { // somebody else has answered than who knew the head, as a standby that is behind
		err = fmt.Errorf("event %d is missing, and the head is at %d", first.Seq, head.Events)
	}
	return happened, err
}
