package keystore

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Expiry is judged by the clock at every request, to the millisecond, and no cache stands in between. A clock can be set
// back, and a key that was once seen past its end must not work again because of it (fail closed). Two things see to that:
//
//   - Whoever judges a key past its end leaves a mark in memory, shared by all versions of the key. The mark is the end that
//     was passed and not a yes or no: somebody may still hold a version of the key from before its end was moved.
//   - The scheduler is woken, and writes the end down. From then on the record says it, on every node and after a restart.
//
// A clock that goes forward by mistake ends the keys whose end it passes. That is the safe side of the same rule.

// endMark is the latest end of a key that somebody has seen passed, in milliseconds since 1970; 0: none.
type endMark struct{ atomic.Int64 }

// passed says whether the mark covers this end.
func (m *endMark) passed(end time.Time) bool { return m.Load() >= end.UnixMilli() }

// set raises the mark to this end, and says whether it was lower.
func (m *endMark) set(end time.Time) bool {
	at := end.UnixMilli()
	for {
		old := m.Load()
		if old >= at {
			return false
		}
		if m.CompareAndSwap(old, at) {
			return true
		}
	}
}

// pastEnd says whether the key's expiry has passed at now, or was seen passed before.
func (k *Key) pastEnd(now time.Time) bool {
	switch {
	case k.ExpiresAt.IsZero():
		return false
	case k.usage != nil && k.usage.end.passed(k.ExpiresAt):
		return true
	}
	return !now.Before(k.ExpiresAt)
}

// JudgedAt is the time at which a key, as Lookup gave it, is to be judged when the clock says now: now itself, or the key's
// end, if that was seen passed before. It costs nothing for keys without an expiry, and takes no lock for any.
func (s *Store) JudgedAt(k *Key, now time.Time) time.Time {
	if k.ExpiresAt.IsZero() || !k.pastEnd(now) {
		return now
	}
	if k.usage != nil && k.usage.end.set(k.ExpiresAt) && k.EndedAt.IsZero() {
		s.sawTime(now)
		s.wakeScheduler()
	}
	if now.Before(k.ExpiresAt) {
		return k.ExpiresAt
	}
	return now
}

// sawTime notes the latest time that anybody has judged by. A scheduler that reads an earlier one knows that the clock was
// set back.
func (s *Store) sawTime(now time.Time) {
	at := now.UnixMilli()
	for {
		old := s.latest.Load()
		if old >= at || s.latest.CompareAndSwap(old, at) {
			return
		}
	}
}

// expireBatch is how many ended keys are written down in one commit.
const expireBatch = 256

// expire writes down that keys have passed their end. What was sealed of their tokens is destroyed.
func (s *Store) expire(ctx context.Context, ids []string) error {
	return s.write(ctx, schedulerActor, func(c *change) error {
		for _, id := range ids {
			k, err := c.key("", id)
			if err != nil {
				return err
			}
			if k.Deleted || !k.EndedAt.IsZero() || !k.pastEnd(c.now) {
				continue // somebody was faster, or has moved the end
			}
			next := *k
			next.EndedAt = k.ExpiresAt
			c.end(&next)
			if err := c.putKey(&next); err != nil {
				return err
			}
			if err := c.keyEvent(EventKeyExpired, k, &next); err != nil {
				return err
			}
		}
		return nil
	})
}

// unwind puts right what a clock that was ahead has left behind: an overlap that would last longer than any may, and a
// schedule whose next time is further off than its interval. Both are brought to the longest that they can be from now.
func (s *Store) unwind(ctx context.Context, id string) error {
	return s.write(ctx, schedulerActor, func(c *change) error {
		k, err := c.liveKey(id, 0)
		if err != nil {
			return err
		}
		next := *k
		event := EventKeyUpdated
		if k.overlapTooLong(c.now) {
			next.ExpiresAt = c.now.Add(MaxRotationOverlap)
		}
		if k.Schedule.tooFar(c.now) {
			schedule := *k.Schedule
			schedule.At = c.now.Add(schedule.interval())
			next.Schedule, event = &schedule, EventKeyRotationScheduled
		}
		if next.ExpiresAt.Equal(k.ExpiresAt) && next.Schedule == k.Schedule {
			return nil
		}
		s.logger.Warn("the clock was set back; correcting an end or a schedule that was set before", zap.String("key", k.ID))
		if err := c.putKey(&next); err != nil {
			return err
		}
		return c.keyEvent(event, k, &next)
	})
}

func (k *Key) overlapTooLong(now time.Time) bool {
	return k.Successor != "" && k.ExpiresAt.After(now.Add(MaxRotationOverlap))
}
