package requestlog

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestMinorRecordsAreGivenUpFirst: a flood of refusals, which anybody can make, takes one half of the queue. The other half is
// there for requests that were served; what is given up is counted and told by a gap record like anything else.
func TestMinorRecordsAreGivenUpFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{block: make(chan struct{})}
		l := openLog(t, Options{Store: store, QueueSize: 64})
		appendN(l, 0, 1)
		time.Sleep(MaxFlushInterval)
		synctest.Wait() // the writer has taken the one and hangs in Write
		kept := 0
		for range 1000 {
			if l.AppendMinor(l.NewRecord()) {
				kept++
			}
		}
		if kept != 32 || !l.Ready() || !l.ReadyForAnyone() {
			t.Errorf("%d of 1000 minor records were kept, ready %v, for anyone %v; want half of the queue, and room for others", kept, l.Ready(), l.ReadyForAnyone())
		}
		if got := appendN(l, 0, 8); got != 8 || l.ReadyForAnyone() || !l.Ready() {
			t.Errorf("%d of 8 others were kept, ready %v, for anyone %v; want room for those with a key only", got, l.Ready(), l.ReadyForAnyone())
		}
		if got := appendN(l, 0, 8); got != 8 || l.Ready() {
			t.Errorf("%d of 8 more were kept, ready %v; want no room for new requests", got, l.Ready())
		}
		if got := appendN(l, 0, 100); got != 16 {
			t.Errorf("%d of 100 more were kept, want what was left: 16", got)
		}
		close(store.block)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		s := checkSum(t, l, 1+1000+8+8+100)
		if _, gaps, lost := store.split(); s.Dropped != 968+84 || lost != s.Dropped || len(gaps) == 0 {
			t.Errorf("%d were given up, gap records tell of %d, want %d", s.Dropped, lost, 968+84)
		}
	})
}

// TestRecordsOfAnyoneLeaveRoomForOthers: requests that anybody can make and that are served, as those on open routes are, take
// five eighths of the queue and nothing more, also if minor records came before, and if nobody asked whether there is room.
func TestRecordsOfAnyoneLeaveRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{block: make(chan struct{})}
		l := openLog(t, Options{Store: store, QueueSize: 64})
		appendN(l, 0, 1)
		time.Sleep(MaxFlushInterval)
		synctest.Wait() // the writer has taken the one and hangs in Write
		for range 100 {
			l.AppendMinor(l.NewRecord())
		}
		kept := 0
		for range 1000 {
			if l.AppendForAnyone(l.NewRecord()) {
				kept++
			}
		}
		if l.AppendMinor(l.NewRecord()) {
			t.Error("a minor record was kept beside more than half a queue of others")
		}
		if kept != 8 || l.ReadyForAnyone() || !l.Ready() {
			t.Errorf("%d of 1000 were kept behind half a queue, ready %v, for anyone %v; want 8, and room for those with a key only", kept, l.Ready(), l.ReadyForAnyone())
		}
		if got := appendN(l, 0, 100); got != 24 || l.Ready() {
			t.Errorf("%d of 100 others were kept, ready %v; want what was left: 24", got, l.Ready())
		}
		checkSum(t, l, 1+100+1000+1+100)
		close(store.block)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		s := checkSum(t, l, 1+100+1000+1+100)
		if _, gaps, lost := store.split(); s.Dropped != 68+992+1+76 || lost != s.Dropped || len(gaps) == 0 {
			t.Errorf("%d were given up, gap records tell of %d, want %d", s.Dropped, lost, 68+992+1+76)
		}
	})
}

// TestBoundedRecordsWakeTheWriter: a queue may reach the bound of such records without passing the position at which the writer
// is told that it is half full. Then the first that is given up tells it.
func TestBoundedRecordsWakeTheWriter(t *testing.T) {
	for name, add := range map[string]func(*Log, *Record) bool{"minor": (*Log).AppendMinor, "anyone": (*Log).AppendForAnyone} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := openLog(t, Options{Store: &fakeStore{}, QueueSize: 1024})
				defer l.Close()
				for range 100 { // from here no such position comes between half a queue and the bounds
					l.Append(l.NewRecord())
				}
				if err := l.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				for add(l, l.NewRecord()) {
				}
				synctest.Wait()
				if s := l.Stats(); s.Queued != 0 || s.Dropped != 1 {
					t.Errorf("%d records wait, %d were given up; want 0 and 1", s.Queued, s.Dropped)
				}
			})
		})
	}
}

// TestMinorRecordsWakeTheWriter: half a queue of them is written at once, as any half is, and not given up until the writer
// would have woken by itself.
func TestMinorRecordsWakeTheWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		l := openLog(t, Options{Store: store, QueueSize: 64})
		defer l.Close()
		for range 100 {
			l.AppendMinor(l.NewRecord())
			synctest.Wait()
		}
		if s := l.Stats(); s.Dropped > 1 || s.Stored < 64 {
			t.Errorf("of 100 records %d are stored at once and %d were given up", s.Stored, s.Dropped)
		}
	})
}
