package webhook

import (
	"math/rand/v2"
	"time"

	"github.com/keystile/keystile/keystore"
)

const (
	firstRetry = 5 * time.Second // after the first failure; three times as long after each further one
	lastRetry  = 6 * time.Hour   // at most
	// giveUpAfter is how long after an event it is no longer tried.
	giveUpAfter = 72 * time.Hour
	// tryFor is how long an event is tried at least, for events that waited long before they were tried at all: behind
	// others, or because no gateway ran.
	tryFor = time.Hour
	// tryAtLeast is how often an event is tried, whatever the time: a clock that is ahead for a moment must not give it up.
	tryAtLeast = 5
)

// retryAt is when an event is tried again after an attempt that failed, the zero time if it is given up. Each waits three
// times as long as the one before, give or take a fifth, so that endpoints that failed together do not come back together.
func retryAt(e *keystore.Event, first, now time.Time, attempts int) time.Time {
	deadline := e.Time.Add(giveUpAfter)
	if least := first.Add(tryFor); least.After(deadline) {
		deadline = least
	}
	if !now.Before(deadline) {
		if attempts >= tryAtLeast {
			return time.Time{}
		}
		deadline = now.Add(lastRetry)
	}
	wait := firstRetry
	for i := 1; i < attempts && wait < lastRetry; i++ {
		wait *= 3
	}
	wait = min(wait, lastRetry)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
	if next := now.Add(wait); next.Before(deadline) {
		return next
	}
	return deadline
}
