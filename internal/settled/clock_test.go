package settled

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// bench is a clock that can be set, beside the time that passes.
type bench struct {
	now     time.Time
	elapsed time.Duration
	told    []time.Duration
}

func (b *bench) pass(d time.Duration) { b.now, b.elapsed = b.now.Add(d), b.elapsed+d }

func (b *bench) options() Options {
	return Options{
		Wait: time.Hour, Now: func() time.Time { return b.now }, Elapsed: func() time.Duration { return b.elapsed },
		Told: func(ahead time.Duration) { b.told = append(b.told, ahead) },
	}
}

// TestClockThatJumps: the settled clock goes with the clock, but for jumps ahead, which it makes after a while only.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	begin := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		from  time.Time
		steps []time.Duration // in turn: what is added to the clock, and what passes then
		want  time.Time
		told  []time.Duration
	}{
		{name: "goes on", steps: []time.Duration{0, day, 0, 30 * day}, want: begin.Add(31 * day)},
		{name: "drifts", steps: []time.Duration{30 * time.Second, day, 50 * time.Second, day}, want: begin.Add(2*day + 80*time.Second)},
		{name: "is set back", steps: []time.Duration{-40 * day, time.Minute}, want: begin.Add(time.Minute - 40*day)},
		{name: "is ahead", steps: []time.Duration{40 * day, 30 * time.Minute}, want: begin.Add(30 * time.Minute), told: []time.Duration{40 * day}},
		{
			name: "is ahead and put right", steps: []time.Duration{40 * day, 30 * time.Minute, -40 * day, time.Minute},
			want: begin.Add(31 * time.Minute), told: []time.Duration{40 * day, 0},
		},
		{name: "stays ahead", steps: []time.Duration{40 * day, time.Hour}, want: begin.Add(40*day + time.Hour), told: []time.Duration{40 * day, 0}},
		{
			name: "jumps again", steps: []time.Duration{40 * day, 50 * time.Minute, 2 * day, 50 * time.Minute},
			want: begin.Add(40*day + 100*time.Minute), told: []time.Duration{40 * day, 42 * day},
		},
		{
			name: "jumps again, and stays there", steps: []time.Duration{40 * day, 50 * time.Minute, 2 * day, time.Hour},
			want: begin.Add(42*day + 110*time.Minute), told: []time.Duration{40 * day, 42 * day, 0},
		},
		{
			name:  "jumps again and again", // the later jumps wait together, from the last of them on
			steps: []time.Duration{day, 20 * time.Minute, day, 20 * time.Minute, day, 50 * time.Minute},
			want:  begin.Add(day + 90*time.Minute), told: []time.Duration{day, 2 * day, 3 * day},
		},
		{
			name: "jumps again, and that is put right", steps: []time.Duration{day, 50 * time.Minute, 40 * day, 50 * time.Minute, -40 * day, time.Minute},
			want: begin.Add(day + 101*time.Minute), told: []time.Duration{day, 41 * day, 0},
		},
		{
			name:  "jumps again, that is put right, and comes back",
			steps: []time.Duration{day, 10 * time.Minute, 40 * day, 40 * time.Minute, -40 * day, time.Minute, 40 * day, 30 * time.Minute},
			want:  begin.Add(day + 81*time.Minute), told: []time.Duration{day, 41 * day, 41 * day},
		},
		{
			name: "is put right in part", steps: []time.Duration{40 * day, 30 * time.Minute, -38 * day, 30 * time.Minute},
			want: begin.Add(2*day + time.Hour), told: []time.Duration{40 * day, 0},
		},
		{
			name: "is put right in part, and jumps", steps: []time.Duration{40 * day, 50 * time.Minute, -38 * day, time.Minute, 38 * day, 30 * time.Minute},
			want: begin.Add(2*day + 81*time.Minute), told: []time.Duration{40 * day, 40 * day},
		},
		{
			name: "is ahead often", steps: []time.Duration{40 * day, 50 * time.Minute, -40 * day, time.Minute, 40 * day, 50 * time.Minute},
			want: begin.Add(101 * time.Minute), told: []time.Duration{40 * day, 0, 40 * day},
		},
		{name: "is ahead for centuries", steps: []time.Duration{math.MaxInt64, 59 * time.Minute}, want: begin.Add(59 * time.Minute), told: []time.Duration{math.MaxInt64}},
		{
			name: "to and fro", steps: []time.Duration{-day, time.Minute, day, time.Minute},
			want: begin.Add(2*time.Minute - day), told: []time.Duration{day},
		},
		{name: "starts after a pause", from: begin.Add(-3 * day), steps: []time.Duration{0, time.Minute}, want: begin.Add(time.Minute - 3*day), told: []time.Duration{3 * day}},
		{name: "has paused", from: begin.Add(-3 * day), steps: []time.Duration{0, time.Hour}, want: begin.Add(time.Hour), told: []time.Duration{3 * day, 0}},
		{name: "starts before its time", from: begin.Add(day), steps: []time.Duration{0, time.Minute}, want: begin.Add(time.Minute)},
	}
	for _, test := range tests {
		b := &bench{now: begin}
		o := b.options()
		o.From.At = test.from
		c := New(o)
		got := c.Now()
		for i := 0; i < len(test.steps); i += 2 {
			b.now = b.now.Add(test.steps[i])
			c.Now()
			for passed := time.Duration(0); passed < test.steps[i+1]; passed += time.Minute {
				b.pass(time.Minute)
				got = c.Now()
			}
		}
		if !got.Equal(test.want) || !slices.Equal(b.told, test.told) {
			t.Errorf("%s: got %v, told %v; want %v, %v", test.name, got, b.told, test.want, test.told)
		}
	}
}

// stepped is what time.Now answers once the clock of the machine was set ahead: the reading of the monotonic clock beside it knows nothing
// of that. No function of the package time makes such a time.
func stepped(t *testing.T, by time.Duration) time.Time {
	t.Helper()
	now := time.Now()
	was := now
	*(*uint64)(unsafe.Pointer(&now)) += uint64(by/time.Second) << 30 // where a time with such a reading has its seconds
	if now.Sub(was) != 0 || now.Round(0).Sub(was.Round(0)) != by {
		t.Fatalf("package time has changed: %v is not %v, set ahead", now, was)
	}
	return now
}

// TestRealClockJumps: the readings of time.Now are compared by what the clock says. Each has that of the monotonic clock beside it, which
// would hide every jump.
func TestRealClockJumps(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	var ahead time.Duration
	b := &bench{}
	o := b.options()
	o.Now = func() time.Time { return stepped(t, ahead) }
	o.Elapsed = nil
	c := New(o)
	before := c.Now()
	ahead = 40 * day
	for range 3 {
		if now := c.Now(); now.Sub(before) > day {
			t.Errorf("the clock was set ahead by 40 days; at once %v is believed, after %v", now, before)
		}
	}
	if !slices.ContainsFunc(b.told, func(d time.Duration) bool { return d > 39*day }) {
		t.Errorf("it told %v, want a jump of 40 days", b.told)
	}
	ahead = 0
	c.Now()
	ahead = -40 * day
	if now := c.Now(); before.Sub(now) < 39*day {
		t.Errorf("the clock was set back by 40 days; %v is said, after %v", now, before)
	}
}

// TestNoMonotonicReading: what is believed is what the clock says and nothing beside it, so that who compares it sees jumps, too.
func TestNoMonotonicReading(t *testing.T) {
	t.Parallel()
	for name, from := range map[string]time.Time{"nothing known": {}, "a time before": time.Now().Add(-time.Second), "a jump": time.Now().Add(-time.Hour)} {
		c := New(Options{Wait: time.Hour, From: State{At: from}})
		for range 3 {
			if now := c.Now().String(); strings.Contains(now, "m=") || strings.Contains(c.state.At.String(), "m=") {
				t.Errorf("%s: got %s, kept %v", name, now, c.state.At)
			}
		}
	}
}

// TestShortDays: a machine that runs for less than the wait at a time, or sleeps every night, gets what it waits for: each process goes on
// from what the one before knew. Nor is a clock that is wrong at some starts believed.
func TestShortDays(t *testing.T) {
	t.Parallel()
	const (
		wait = 6 * time.Hour
		day  = 24 * time.Hour
		runs = 5 * time.Hour
	)
	for name, restarts := range map[string]bool{"a process a day": true, "one that sleeps": false} {
		b := &bench{now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
		o := b.options()
		o.Wait = wait
		c := New(o)
		for n := range 30 {
			if n > 0 && restarts {
				o.From = c.State()
				c = New(o)
			}
			off := b.now // in one night the clock is wrong, for less than the wait
			if n == 20 {
				b.now = off.Add(400 * day)
			}
			for passed := time.Duration(0); passed < runs; passed += 10 * time.Minute {
				now := c.Now()
				if late := off.Add(passed).Sub(now); late > 4*day || late < 0 {
					t.Fatalf("%s: on day %d, at %v, %v is believed", name, n, off.Add(passed), now)
				}
				b.pass(10 * time.Minute)
			}
			b.now = off.Add(day)
		}
	}
}

// TestNonsenseIsNotBelieved: a state that no clock has left behind gives nothing credit.
func TestNonsenseIsNotBelieved(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, s := range []State{
		{Rest: Jump{Ahead: time.Hour, Stayed: 9 * time.Hour}},
		{First: Jump{Ahead: -time.Hour, Stayed: 9 * time.Hour}, Rest: Jump{Ahead: time.Hour, Stayed: 9 * time.Hour}},
		{First: Jump{Ahead: time.Hour, Stayed: 9 * time.Hour}, Rest: Jump{Ahead: -2 * time.Hour}},
		{First: Jump{Ahead: math.MaxInt64, Stayed: 9 * time.Hour}, Rest: Jump{Ahead: math.MaxInt64}},
	} {
		b := &bench{now: begin.Add(24 * time.Hour)}
		o := b.options()
		s.At = begin
		o.From = s
		c := New(o)
		c.Now()
		b.pass(time.Minute)
		if got := c.Now(); !got.Equal(begin.Add(time.Minute)) {
			t.Errorf("%+v: got %v", s, got)
		}
	}
}
