// Package settled tells the time by which old things are deleted. What is deleted is gone for good, and clocks are wrong now and then: a
// machine starts with a date of next year and is put right a minute later. So a clock that jumps ahead is not believed before it has
// stayed there for a while.
package settled

import (
	"sync"
	"time"
)

// tolerance is how far a clock may be ahead of what has passed since the last look, and still be believed at once.
const tolerance = time.Minute

// Options configure [New]. Wait must be given.
type Options struct {
	// From is the last time that is known to have come, as of a file that was written then. Zero: whatever the clock says.
	From time.Time
	// Wait is how long a clock that jumps ahead has to stay there.
	Wait time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Elapsed is how much time has passed since some moment, whatever is done to the clock. Default: since New.
	Elapsed func() time.Duration
	// Told hears that the clock has jumped ahead, by how much, or (0) that it is believed again. It must not ask the clock.
	Told func(ahead time.Duration)
}

// Clock goes as the clock does, but for jumps ahead. These it makes only after a while; until then it goes on evenly from where it was.
type Clock struct {
	o Options

	mu    sync.Mutex
	at    time.Time     // what it said at the last look
	seen  time.Duration // elapsed by then
	ahead time.Duration // how far the clock has jumped, 0: it has not
	since time.Duration // elapsed when it did
}

// New makes a clock.
func New(o Options) *Clock {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		begun := time.Now() // the reading of a monotonic clock is in it
		o.Elapsed = func() time.Duration { return time.Since(begun) }
	}
	if o.Told == nil {
		o.Told = func(time.Duration) {}
	}
	if now := o.Now(); o.From.IsZero() || o.From.After(now) {
		o.From = now
	}
	return &Clock{o: o, at: o.From, seen: o.Elapsed()}
}

// Now is the time that may delete: the clock's, or an earlier one.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, elapsed := c.o.Now(), c.o.Elapsed()
	even := c.at.Add(elapsed - c.seen)
	ahead := now.Sub(even)
	was := c.ahead
	switch {
	case ahead <= tolerance: // also one that is set back: nothing is deleted too early by it
		even, c.ahead = now, 0
	case ahead > was+tolerance: // it jumps, or jumps again
		c.ahead, c.since = ahead, elapsed
	case elapsed-c.since >= c.o.Wait:
		even, c.ahead = now, 0
	}
	c.at, c.seen = even, elapsed
	if was != c.ahead {
		c.o.Told(c.ahead)
	}
	return even
}
