package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// The limits of a schedule.
const (
	MaxRotationDays = 3650
	day             = 24 * time.Hour
)

// RotationSchedule says when a key is rotated by itself. A stored one is a constant.
type RotationSchedule struct {
	At        time.Time     // the next rotation; UTC, whole milliseconds
	EveryDays int           // how many days of 24 hours lie between two rotations; 0: there is only the one
	Overlap   time.Duration // how long the old key goes on beside its replacement, 0 to [MaxRotationOverlap]
}

// ScheduleParams is a new schedule. Exactly one of At and EveryDays is given.
type ScheduleParams struct {
	At         time.Time // once, at this time in the future
	EveryDays  int       // from now on every so many days, 1 to [MaxRotationDays]
	Overlap    time.Duration
	IfRevision uint64 // the revision that the key must have; 0: whatever it is
}

// ScheduleRotation tells a key to be rotated by itself, once or again and again, in place of what it was told before. A
// repeated schedule goes over to the key that replaces this one, so that it is a promise about the place where the key is
// used, not about one token. The same schedule once more is no change, and leaves the time of the next rotation.
func (s *Store) ScheduleRotation(ctx context.Context, by Actor, id string, p ScheduleParams) (*Key, error) {
	var now *Key
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.liveKey(id, p.IfRevision)
		if err != nil {
			return err
		}
		schedule, err := c.checkSchedule(old, &p)
		if err != nil {
			return err
		}
		if now = old; old.Schedule.same(schedule) {
			return nil
		}
		next := *old
		next.Schedule = schedule
		now = &next
		if err := c.putKey(now); err != nil {
			return err
		}
		return c.keyEvent(EventKeyRotationScheduled, old, now)
	})
	return result(now, err)
}

// UnscheduleRotation takes a key's schedule away. A key without one stays as it is: that is no change, and no error.
func (s *Store) UnscheduleRotation(ctx context.Context, by Actor, id string, ifRevision uint64) (*Key, error) {
	var now *Key
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.liveKey(id, ifRevision)
		if err != nil {
			return err
		}
		if now = old; old.Schedule == nil {
			return nil
		}
		next := *old
		next.Schedule = nil
		now = &next
		if err := c.putKey(now); err != nil {
			return err
		}
		return c.keyEvent(EventKeyRotationUnscheduled, old, now)
	})
	return result(now, err)
}

func (c *change) checkSchedule(k *Key, p *ScheduleParams) (*RotationSchedule, error) {
	at := milliseconds(p.At)
	switch {
	case k.Successor != "":
		return nil, conflict("", "key '%s' is being replaced by '%s' already; schedule that one", k.ID, k.Successor)
	case p.EveryDays == 0 && at.IsZero():
		return nil, missing("at", "give at, the time of one rotation, or every_days, the days between two")
	case p.EveryDays != 0 && !at.IsZero():
		return nil, invalid("at", "give at or every_days, not both")
	case p.EveryDays < 0 || p.EveryDays > MaxRotationDays:
		return nil, invalid("every_days", "the days between two rotations are 1 to %d", MaxRotationDays)
	case p.Overlap < 0 || p.Overlap > MaxRotationOverlap:
		return nil, invalid("overlap", "the old key may go on for at most 7 days, such as 24h; 0s ends it at once")
	}
	s := &RotationSchedule{At: at, EveryDays: p.EveryDays, Overlap: p.Overlap.Truncate(time.Millisecond)}
	param := "at"
	if p.EveryDays > 0 {
		s.At, param = c.now.Add(s.interval()), "every_days"
	} else if err := checkExpiry(param, at, c.now); err != nil {
		return nil, err
	}
	if !k.ExpiresAt.IsZero() && !s.At.Before(k.ExpiresAt) {
		return nil, invalid(param, "the key expires at %s, before it would be rotated", k.ExpiresAt.Format(time.RFC3339))
	}
	return s, nil
}

func (r *RotationSchedule) interval() time.Duration { return time.Duration(r.EveryDays) * day }

// same says whether a newly asked schedule is the one that is there. When a repeated one began is not what was asked for.
func (r *RotationSchedule) same(asked *RotationSchedule) bool {
	return r != nil && r.EveryDays == asked.EveryDays && r.Overlap == asked.Overlap && (r.EveryDays > 0 || r.At.Equal(asked.At))
}

// tooFar says whether the next time is further off than the interval: a clock that was ahead has set it.
func (r *RotationSchedule) tooFar(now time.Time) bool {
	return r != nil && r.EveryDays > 0 && r.At.After(now.Add(r.interval()))
}

// afterRotation is the schedule of the key that replaces this one, nil if there is none. It counts from the rotation that
// somebody makes by hand; one that was made by the schedule itself, late perhaps, does not move the later ones, and what
// was missed in between is not made up for.
func (r *RotationSchedule) afterRotation(now time.Time, scheduled bool) *RotationSchedule {
	if r == nil || r.EveryDays == 0 {
		return nil
	}
	next := *r
	if !scheduled {
		next.At = now.Add(r.interval())
		return &next
	}
	late := now.Sub(r.At) % r.interval()
	next.At = now.Add(r.interval() - late)
	return &next
}

func (r *RotationSchedule) encode() []byte {
	if r == nil {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(r.At.UnixMilli()))
	b = binary.AppendUvarint(b, uint64(r.EveryDays))
	return binary.AppendUvarint(b, uint64(r.Overlap.Milliseconds()))
}

func decodeSchedule(b []byte) (*RotationSchedule, error) {
	var values [3]uint64
	for i := range values {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<53 {
			return nil, errors.New("not a rotation schedule")
		}
		values[i], b = v, b[n:]
	}
	overlap := time.Duration(min(values[2], 1<<40)) * time.Millisecond
	if len(b) > 0 || values[0] == 0 || values[1] > MaxRotationDays || overlap > MaxRotationOverlap {
		return nil, errors.New("not a rotation schedule")
	}
	return &RotationSchedule{At: time.UnixMilli(int64(values[0])).UTC(), EveryDays: int(values[1]), Overlap: overlap}, nil
}

// summary is the schedule as events keep it.
func (r *RotationSchedule) summary() map[string]any {
	m := map[string]any{"at": r.At.Format(time.RFC3339Nano), "overlap": r.Overlap.String()}
	if r.EveryDays > 0 {
		m["every_days"] = r.EveryDays
	}
	return m
}
