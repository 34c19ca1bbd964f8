package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// The scheduler rotates keys that were told to be rotated, and writes down that keys have passed their end. What is due
// follows from the stored keys alone: nothing is lost by a restart, what was missed is done once, and doing it takes it
// off the list in the same transaction, so that it cannot be done twice.

const (
	// schedulerInterval is the longest that the scheduler sleeps, whatever is due next: clocks are set, and machines
	// suspended, under a running timer.
	schedulerInterval = 20 * time.Second
	// schedulerRetry is how soon the scheduler tries again after a failure, at first, or while another node has the lease.
	schedulerRetry = time.Second
)

// schedulerActor is who did it, in events and in CreatedBy.
var schedulerActor = Actor{Kind: "system", Name: "scheduler"}

type scheduler struct {
	lease lease
	done  chan struct{} // closed when it has ended
	full  bool          // the next run looks at every key that will be due, not only at those that are
}

// StartScheduler starts the scheduler; Close ends it. node names this process to the others that share the backend: only
// one of them works at a time. A second call does nothing.
func (s *Store) StartScheduler(node string) error {
	w, err := newScheduler(node)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.scheduler != nil {
		return nil
	}
	s.scheduler = w
	go s.schedule(w)
	return nil
}

// newScheduler begins with a full run: the clock may have been set back while nobody was looking.
func newScheduler(node string) (*scheduler, error) {
	holder, err := newLeaseHolder(node)
	if err != nil {
		return nil, fmt.Errorf("starting the scheduler: %w", err)
	}
	return &scheduler{lease: lease{name: schedulerLease, holder: holder}, done: make(chan struct{}), full: true}, nil
}

// wakeScheduler makes the scheduler look again. It never waits.
func (s *Store) wakeScheduler() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

func (s *Store) schedule(w *scheduler) {
	defer close(w.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // what waits for the backend is given up when the store closes
		select {
		case <-s.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := schedulerRetry
	for {
		select {
		case <-s.stop:
			return
		case <-s.due:
		case <-timer.C:
		}
		err := s.runDue(ctx, w)
		wait := s.untilDue()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry = schedulerRetry
		case errors.Is(err, errLeaseHeld):
			wait = schedulerRetry
		default:
			s.logger.Error("running what is due for keys", zap.Error(err), zap.Duration("retry_in", retry))
			wait, retry = retry, min(2*retry, schedulerInterval)
		}
		timer.Reset(wait)
	}
}

// untilDue is how long nothing will be due.
func (s *Store) untilDue() time.Duration {
	k := s.snap.Load().keyView().walkDue()()
	if k == nil {
		return schedulerInterval
	}
	return min(max(k.due().Sub(s.now()), time.Millisecond), schedulerInterval)
}

// runDue does everything that is due. What fails is tried again by the next run, and does not keep the rest from being
// done.
func (s *Store) runDue(ctx context.Context, w *scheduler) error {
	now := s.now()
	if at := now.UnixMilli(); at < s.latest.Load() {
		w.full = true // the clock was set back: ends that were seen passed are not the first in the list any more
		s.latest.Store(at)
	}
	s.sawTime(now)
	held, progress := false, true
	for progress {
		snap := s.snap.Load()
		work := snap.dueWork(s.now(), w.full)
		if work.empty() {
			break
		}
		held = true
		if err := s.runWork(ctx, w, work); err != nil {
			return errors.Join(err, w.lease.release(ctx, s.backend))
		}
		// A clock that goes to and fro can make work of what is none a moment later; that must not become a busy loop.
		progress = s.snap.Load().Revision() != snap.Revision()
	}
	w.full = false
	if held {
		return w.lease.release(ctx, s.backend)
	}
	return nil
}

func (s *Store) runWork(ctx context.Context, w *scheduler, work *dueWork) error {
	var errs []error
	each := func(ids []string, size int, run func([]string) error) error {
		for len(ids) > 0 {
			if err := w.lease.take(ctx, s.backend, s.now()); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(size, len(ids))
			if err := run(ids[:n]); err != nil {
				errs = append(errs, fmt.Errorf("key %s: %w", ids[0], err))
			}
			ids = ids[n:]
		}
		return nil
	}
	err := each(work.expired, expireBatch, func(ids []string) error { return s.expire(ctx, ids) })
	if err == nil {
		err = each(work.rotate, 1, func(ids []string) error { return s.rotateScheduled(ctx, ids[0]) })
	}
	if err == nil {
		err = each(work.unwind, 1, func(ids []string) error { return s.unwind(ctx, ids[0]) })
	}
	return errors.Join(append(errs, err)...)
}

// rotateScheduled rotates a key whose time has come. If it has ended since then, it still gets its replacement: that is
// what was asked for.
func (s *Store) rotateScheduled(ctx context.Context, id string) error {
	return s.write(ctx, schedulerActor, func(c *change) error {
		old, err := c.key("", id)
		if err != nil {
			return err
		}
		if old.Schedule == nil || old.Schedule.At.After(c.now) {
			return nil // somebody was faster, or has changed the schedule
		}
		ends := c.now.Add(old.Schedule.Overlap)
		if !old.ExpiresAt.IsZero() && ends.After(old.ExpiresAt) {
			ends = old.ExpiresAt
		}
		_, _, err = c.rotate(old, ends, true)
		return err
	})
}
