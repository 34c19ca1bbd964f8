package webhook

import (
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// TestClockAheadGivesNoEventUp: an event whose time is over by a clock that has jumped ahead is tried some times more, and given up after these.
func TestClockAheadGivesNoEventUp(t *testing.T) {
	t.Parallel()
	e := &keystore.Event{Time: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	now := e.Time.Add(40 * 24 * time.Hour)
	for attempts := 1; attempts < 8; attempts++ {
		next := retryAt(e, e.Time, now, attempts)
		if attempts >= tryAtLeast != next.IsZero() {
			t.Errorf("after %d attempts the next is at %v", attempts, next)
		}
		if !next.IsZero() && (!next.After(now) || next.After(now.Add(lastRetry))) {
			t.Errorf("after %d attempts the next is %v later", attempts, next.Sub(now))
		}
	}
}
