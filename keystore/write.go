package keystore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// commitTimeout bounds one commit of the backend. Whoever asked may be gone by then; a commit that has begun is not
// given up with its request, because half of the callers could then not know what happened.
const commitTimeout = 30 * time.Second

// write runs one change: stage validates and stages it, then it is made durable, then visible. One at a time. An error
// of stage leaves nothing behind. A change without rows and events is no commit.
//
// Where other nodes write too, stage may run several times, each time on a newer state: what it leaves in its caller's
// variables it must set and not add to.
func (s *Store) write(ctx context.Context, actor Actor, stage func(*change) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil { // whoever asked may have left while waiting
		return err
	}
	if s.closed {
		return unavailable("the key store is closed")
	}
	lasting := context.WithoutCancel(ctx)
	ctx, cancel := context.WithTimeout(lasting, s.commitTime())
	defer cancel()
	if err := s.settleLocked(ctx); err != nil {
		return err
	}
	if err := s.meetLocked(ctx); err != nil {
		s.logger.Error("meeting the key store's database", zap.Error(err))
		return unavailable("the key store cannot be read: nothing was changed")
	}
	asked, err := s.tryLocked(ctx, actor, stage, false)
	switch {
	case errors.Is(err, ErrStale) && s.shared == nil:
		return unavailable("another process has changed the key store; restart this one")
	case errors.Is(err, ErrStale):
		return s.retryLocked(ctx, actor, stage)
	case asked || s.shared == nil:
		return err
	}
	// It was refused, or changes nothing, by what memory knows. Others may know more.
	before := s.head
	if caughtUp := s.catchUpLocked(ctx); caughtUp != nil {
		s.logger.Error("catching up with the key store", zap.Error(caughtUp))
		return unavailable("the key store cannot be read now: nothing was changed")
	}
	if s.head == before {
		return err
	}
	return s.retryLocked(ctx, actor, stage)
}

// retryLocked makes a change on which others were faster, on top of theirs. It waits for its turn first: who has to catch up
// would else always come second to who does not.
func (s *Store) retryLocked(ctx context.Context, actor Actor, stage func(*change) error) error {
	done, err := s.shared.Turn(ctx)
	if err != nil {
		s.logger.Error("waiting for a turn to change the key store", zap.Error(err))
		return unavailable("the key store cannot be written to now: nothing was changed")
	}
	defer done()
	for range staleTries {
		if err := s.catchUpLocked(ctx); err != nil {
			s.logger.Error("catching up with the key store", zap.Error(err))
			return unavailable("the key store cannot be read: nothing was changed")
		}
		if _, err := s.tryLocked(ctx, actor, stage, true); !errors.Is(err, ErrStale) {
			return err
		}
	}
	return unavailable("other nodes change the key store all the time: nothing was changed; try again")
}

// commitTime bounds one commit. In a fleet nobody waits as long for a database as for a disk: while one commit waits, all
// others of this node do.
func (s *Store) commitTime() time.Duration {
	if s.shared != nil {
		return commitTimeout / 3
	}
	return commitTimeout
}

// tryLocked makes one change on the state that is in memory. The error is [ErrStale], and nothing has happened, if the
// backend is at another. asked says whether the backend was asked at all: what memory refuses is not.
func (s *Store) tryLocked(ctx context.Context, actor Actor, stage func(*change) error, turn bool) (asked bool, err error) {
	c := &change{
		store:    s,
		actor:    actor,
		now:      milliseconds(s.now()),
		revision: s.head.Revision + 1,
		txn:      s.db.Txn(true),
		base:     s.snap.Load().base,
	}
	defer func() {
		if s.pending != c {
			c.txn.Abort() // does nothing after a commit
		}
	}()
	if err := stage(c); err != nil {
		return false, err
	}
	if len(c.rows) == 0 && len(c.events) == 0 {
		return false, nil
	}
	if err := c.build(s.head); err != nil {
		return false, err
	}
	c.commit.Turn = turn
	if c.stage != "" { // a million keys take a while: the commit itself has all of its time
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
		defer cancel()
	}
	err = s.backend.Commit(ctx, c.commit)
	switch {
	case err == nil:
		s.publishLocked(c)
		return true, nil
	case errors.Is(err, ErrStale):
		return true, err
	}
	s.logger.Error("committing a change to the key store", zap.Uint64("revision", c.revision), zap.Error(err))
	if errors.Is(err, ErrUnchanged) {
		return true, unavailable("the key store cannot be written to now: nothing was changed")
	}
	// It may be durable all the same. Nothing is said before that is known.
	s.pending = c
	happened, settleErr := s.resolveLocked(ctx)
	switch {
	case settleErr != nil:
		return true, settleErr
	case happened:
		return true, nil
	}
	return true, unavailable("the key store could not save the change: nothing was changed")
}

// settleLocked finds out what became of a commit whose outcome is still unknown. While that cannot be told, nothing can
// be written: the next change would stand on unknown ground.
func (s *Store) settleLocked(ctx context.Context) error {
	if s.pending == nil {
		return nil
	}
	_, err := s.resolveLocked(ctx)
	return err
}

// resolveLocked reads the backend's head back and finishes the pending change by it.
func (s *Store) resolveLocked(ctx context.Context) (happened bool, err error) {
	head, err := s.backend.Head(ctx)
	switch c := s.pending; {
	case err != nil:
		s.logger.Error("reading the key store's state back", zap.Error(err))
		return false, unavailable("the key store cannot say whether the change was saved; read the object again before repeating it")
	case head == c.commit.Next:
		s.publishLocked(c)
		return true, nil
	case head == c.commit.Previous:
		s.dropLocked()
		return false, nil
	case s.shared != nil:
		return s.resolveBehindLocked(ctx, head)
	}
	return false, unavailable("another process has changed the key store; restart this one")
}

// resolveBehindLocked finishes the pending change where others have committed meanwhile. If it happened, it is among what
// is caught up with.
func (s *Store) resolveBehindLocked(ctx context.Context, head Head) (happened bool, err error) {
	c := s.pending
	if happened, err = s.committed(ctx, c.commit, head); err != nil {
		s.logger.Error("reading the key store's state back", zap.Error(err))
		return false, unavailable("the key store cannot say whether the change was saved; read the object again before repeating it")
	}
	s.dropLocked()
	if err := s.catchUpLocked(ctx); err != nil {
		s.logger.Error("catching up with the key store", zap.Error(err))
		if happened {
			return false, unavailable("the change was saved, but cannot be read back yet")
		}
		return false, unavailable("the key store cannot be read: nothing was changed")
	}
	if happened && c.arrival != nil {
		close(c.arrival.done)
	}
	return happened, nil
}

func (s *Store) dropLocked() {
	s.pending.txn.Abort()
	if s.pending.arrival != nil {
		s.arrival = nil
	}
	s.pending = nil
}

// publishLocked makes a durable change visible. When it returns, every look-up that starts sees the new state: the
// versions that the cache holds of the changed keys are void before the snapshot shows newer ones.
func (s *Store) publishLocked(c *change) {
	if c.imported {
		s.imported.Store(true) // before the key can be found, or its first use would be refused without a look-up
	}
	c.txn.Commit()
	for _, a := range c.accounts {
		s.directory.put(a)
	}
	s.head = c.commit.Next
	s.show(c.keys, c.newKeys, c.newer)
	s.pending = nil
	s.forgetSeen(c.ended)
	s.noteCopy(s.head, c.rows, c.stage == "")
	s.moved()
	if c.arrival != nil {
		c.arrival.durable = true
		go s.arrive(c.arrival)
	}
	if c.due {
		s.wakeScheduler()
	}
	s.changed.send()
}

// show makes visible what is in memdb, at the store's head. The keys are those that changed; some of them are new, and some
// were not in memdb before.
func (s *Store) show(changed []*Key, newKeys, newer int) {
	old := s.snap.Load()
	for _, k := range changed {
		k.usage.version.Store(k.version)
	}
	next := &Snapshot{txn: s.db.Txn(false), base: old.base, head: s.head, keys: old.keys + newKeys, newer: old.newer + newer}
	s.snap.Store(next)
	if next.newer > next.base.room() {
		s.wakeFolding()
	}
}

// build turns what was staged into a commit: events get their places in the chain.
func (c *change) build(head Head) error {
	next := head
	next.Revision++
	events := make([]EventRow, 0, len(c.events))
	for _, e := range c.events {
		next.Events++
		e.Seq, e.Revision, e.Previous = next.Events, next.Revision, hexHash(next.Hash)
		body, err := e.encode()
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		next.Hash = sha256.Sum256(body)
		events = append(events, EventRow{Seq: e.Seq, Body: body})
	}
	if len(events) == 0 {
		return errors.New("a change without an event: no event, no change") // fail closed
	}
	c.commit = &Commit{Previous: head, Next: next, Rows: c.rows, Events: events, Stage: c.stage}
	return nil
}

func unavailable(message string) *Error { return &Error{Code: CodeUnavailable, Message: message} }

// milliseconds is t as it is stored.
func milliseconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}
