// Package settled tells the time by which old things are deleted. What is deleted is gone for good, and clocks are wrong now and then: a
// machine starts with a date of next year and is put right a minute later. So a clock that jumps ahead is not believed before it has
// stayed there for a while.
//
// The rule: a time is believed once the clock was seen there, or later, for the whole of the wait, and never before it meanwhile. Only time
// in which a process ran counts, that of earlier processes too (see [State]). To a process, a night in which the machine was off or slept
// looks like a jump. So the first jump waits by itself, and what jumps behind it does not make it begin anew: those jumps wait together,
// from the last of them on, and are the first when that is believed. Each jump is believed after twice the wait at the latest.
package settled

import (
	"sync"
	"time"
)

// tolerance is how far a clock may be ahead of what has passed since the last look, and still be believed at once.
const tolerance = time.Minute

// Options configure [New]. Wait must be given.
type Options struct {
	// From is what is known of an earlier time, as of a file that was written then. If it has no time: whatever the clock says.
	From State
	// Wait is how long a clock that jumps ahead has to stay there.
	Wait time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Elapsed is how much time has passed since some moment, whatever is done to the clock. Default: since New.
	Elapsed func() time.Duration
	// Told hears that the clock has jumped ahead, by how much in all, or (0) that it is believed again. It must not ask the clock.
	Told func(ahead time.Duration)
}

// State is what a clock knows. One that is made of it goes on from there.
type State struct {
	At    time.Time // the last time that is believed to have come
	First Jump      // which is believed next
	Rest  Jump      // those behind it, together
}

// Jump is one that is not believed yet; of no length: there is none.
type Jump struct {
	Ahead  time.Duration
	Stayed time.Duration // how long the clock was seen there
}

// Clock goes as the clock does, but for jumps ahead. These it makes only after a while; until then it goes on evenly from where it was.
type Clock struct {
	o Options

	mu    sync.Mutex
	state State         // as of the last look
	seen  time.Duration // elapsed by then
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
	c := &Clock{o: o, state: o.From, seen: o.Elapsed()}
	c.state.At = c.state.At.Round(0)
	if first, all := c.state.First.Ahead, c.state.ahead(); first <= 0 || all < first { // none, or nonsense, which must not count for anything
		c.state = State{At: c.state.At}
	}
	if now := c.read(); c.state.At.IsZero() || c.state.At.After(now) {
		c.state = State{At: now}
	}
	return c
}

// read asks the clock. What time.Now says has a reading of the monotonic clock beside it, and two such times are compared by that alone:
// no jump of the clock would ever be seen.
func (c *Clock) read() time.Time { return c.o.Now().Round(0) }

// Now is the time that may delete: the clock's, or an earlier one.
func (c *Clock) Now() time.Time { return c.State().At }

// State is what the clock knows now.
func (c *Clock) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, elapsed := c.read(), c.o.Elapsed()
	was := c.state.ahead()
	jumped := c.state.look(now, elapsed-c.seen, c.o.Wait)
	c.seen = elapsed
	if is := c.state.ahead(); jumped || was != 0 && is == 0 {
		c.o.Told(is)
	}
	return c.state
}

func (s *State) ahead() time.Duration { return s.First.Ahead + s.Rest.Ahead }

// look says what the clock says after so much time, and answers whether it has jumped.
func (s *State) look(now time.Time, passed, wait time.Duration) (jumped bool) {
	s.At = s.At.Add(passed)
	s.First.Stayed += passed
	s.Rest.Stayed += passed
	ahead := now.Sub(s.At)
	switch further := ahead - s.ahead(); {
	case ahead <= tolerance: // also a clock that is set back: nothing is deleted too early by it
		*s = State{At: now}
		return false
	case further > tolerance && s.First.Ahead == 0:
		s.First, jumped = Jump{Ahead: further}, true
	case further > tolerance:
		s.Rest, jumped = Jump{Ahead: s.Rest.Ahead + further}, true
	case further < 0: // it is put right in part; where it is now, it was all the time
		s.First.Ahead = min(s.First.Ahead, ahead)
		s.Rest.Ahead = ahead - s.First.Ahead
	}
	for s.First.Ahead != 0 && s.First.Stayed >= wait {
		s.At = s.At.Add(s.First.Ahead)
		s.First, s.Rest = s.Rest, Jump{}
	}
	if s.First.Ahead == 0 {
		*s = State{At: now}
	}
	return jumped
}
