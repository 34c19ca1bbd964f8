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
	ctx, cancel := context.WithTimeout(lasting, commitTimeout)
	defer cancel()
	if err := s.settleLocked(ctx); err != nil {
		return err
	}

	c := &change{
		store:    s,
		actor:    actor,
		now:      milliseconds(s.now()),
		revision: s.head.Revision + 1,
		txn:      s.db.Txn(true),
	}
	defer func() {
		if s.pending != c {
			c.txn.Abort() // does nothing after a commit
		}
	}()
	if err := stage(c); err != nil {
		return err
	}
	if len(c.rows) == 0 && len(c.events) == 0 {
		return nil
	}
	if err := c.build(s.head); err != nil {
		return err
	}
	if c.stage != "" { // a million keys take a while: the commit itself has all of its time
		ctx, cancel = context.WithTimeout(lasting, commitTimeout)
		defer cancel()
	}
	err := s.backend.Commit(ctx, c.commit)
	if err == nil {
		s.publishLocked(c)
		return nil
	}
	// It may be durable all the same. Nothing is said before that is known.
	s.pending = c
	s.logger.Error("committing a change to the key store", zap.Uint64("revision", c.revision), zap.Error(err))
	if errors.Is(err, ErrStale) {
		s.dropLocked()
		return unavailable("another process has changed the key store; restart this one")
	}
	happened, settleErr := s.resolveLocked(ctx)
	switch {
	case settleErr != nil:
		return settleErr
	case happened:
		return nil
	}
	return unavailable("the key store could not save the change: nothing was changed")
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
	}
	return false, unavailable("another process has changed the key store; restart this one")
}

func (s *Store) dropLocked() {
	s.pending.txn.Abort()
	if s.pending.arrival != nil {
		s.arrival = nil
	}
	s.pending = nil
}

// publishLocked makes a durable change visible. When it returns, every look-up that starts sees the new state:
// memdb has swapped its root and then closed the watch channels of what changed, so that cached keys are void.
func (s *Store) publishLocked(c *change) {
	if c.imported {
		s.imported.Store(true) // before the key can be found, or its first use would be refused without a look-up
	}
	c.txn.Commit()
	for _, a := range c.accounts {
		s.directory.put(a)
	}
	s.head = c.commit.Next
	s.snap.Store(&Snapshot{
		txn:  s.db.Txn(false),
		head: s.head,
		keys: s.snap.Load().keys + c.newKeys,
	})
	s.pending = nil
	s.forgetSeen(c.ended)
	if c.arrival != nil {
		c.arrival.durable = true
		go s.arrive(c.arrival)
	}
	if c.due {
		s.wakeScheduler()
	}
	s.changed.send()
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
