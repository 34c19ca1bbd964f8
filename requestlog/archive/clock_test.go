package archive

import (
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// TestClockAheadDeletesNothing: a clock that is ahead of its time for a while deletes no record, also if the process starts with it, or
// again. What it says is believed once it has stayed there.
func TestClockAheadDeletesNothing(t *testing.T) {
	t.Parallel()
	const ahead = 40 * 24 * time.Hour
	begin := func(t *testing.T) (*fakeClock, Options, *Archive, []*requestlog.Record) {
		clock := newFakeClock(requestlogtest.Begin)
		o := Options{Dir: t.TempDir(), Now: clock.now, Elapsed: clock.elapsed}
		a := openArchive(t, o)
		records := hours(t, a, 6)
		clock.set(requestlogtest.Begin.Add(6 * time.Hour))
		a.keep(t.Context())
		return clock, o, a, records
	}
	pass := func(t *testing.T, a *Archive, clock *fakeClock, d time.Duration) {
		for range int(d / (10 * time.Minute)) {
			clock.set(clock.now().Add(10 * time.Minute))
			a.journal.SetRetention(0, 0) // looks
			a.keep(t.Context())
		}
	}
	t.Run("for a while", func(t *testing.T) {
		t.Parallel()
		clock, _, a, records := begin(t)
		clock.step(ahead)
		pass(t, a, clock, time.Hour)
		checkIDs(t, a, records)
		clock.step(-ahead)
		pass(t, a, clock, 12*time.Hour)
		checkIDs(t, a, records)
		closeArchive(t, a)
	})
	t.Run("at starts", func(t *testing.T) {
		t.Parallel()
		clock, o, a, records := begin(t)
		closeArchive(t, a)
		clock.step(ahead)
		for range 3 { // each writes a record of that time
			a = openArchive(t, o)
			late := requestlogtest.Records(1, uint64(clock.now().Unix()))
			late[0].Time = clock.now()
			late[0].ID = requestlogtest.ID(late[0].Time, 0)
			write(t, a, late)
			settle(a)
			records = append(records, late...)
			pass(t, a, clock, time.Hour)
			checkIDs(t, a, records)
			closeArchive(t, a)
		}
		clock.step(-ahead)
		a = openArchive(t, o)
		pass(t, a, clock, 12*time.Hour)
		checkIDs(t, a, records)
		closeArchive(t, a)
	})
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		clock, o, a, _ := begin(t)
		closeArchive(t, a)
		clock.step(ahead) // the machine was off
		a = openArchive(t, o)
		pass(t, a, clock, 7*time.Hour)
		checkIDs(t, a, nil)
		closeArchive(t, a)
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		clock, _, a, records := begin(t)
		clock.step(ahead)
		one := a.Stats().Bytes / 6
		a.SetRetention(0, 3*one+one/2) // room is room, whatever the time
		a.keep(t.Context())
		checkIDs(t, a, records[30:])
		closeArchive(t, a)
	})
}
