package settled

import (
	"slices"
	"testing"
	"time"
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
			want: begin.Add(100 * time.Minute), told: []time.Duration{40 * day, 42 * day},
		},
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
		o.From = test.from
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
