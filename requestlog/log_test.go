package requestlog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func openLog(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

// appendN appends n records that carry their number, and answers how many were accepted.
func appendN(l *Log, from, n int) (accepted int) {
	for i := range n {
		r := l.NewRecord()
		r.ID, r.Time, r.BytesIn = NewID(l.now()), l.now(), int64(from+i)
		if l.Append(r) {
			accepted++
		}
	}
	return accepted
}

func checkSum(t *testing.T, l *Log, appended uint64) Stats {
	t.Helper()
	s := l.Stats()
	if s.Appended != appended || s.Appended != s.Stored+s.Dropped+uint64(s.Queued) {
		t.Errorf("stats: got %+v, want %d appended = stored + dropped + queued", s, appended)
	}
	return s
}

func TestOpenRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]Options{
		"directory":      {},
		"flush interval": {Store: &fakeStore{}, FlushInterval: time.Second},
		"queue size":     {Store: &fakeStore{}, QueueSize: -1},
	} {
		if l, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%+v): got %v, %v, want an error about the %s", o, l, err, want)
		}
	}
}

func TestRecordIsStoredWithinTheFlushInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		l := openLog(t, Options{Store: store})
		var observed atomic.Int64
		l.Observe(func(r *Record) { observed.Add(r.BytesIn) })
		for round := range 3 {
			appendN(l, round, 1)
			time.Sleep(99 * time.Millisecond)
			synctest.Wait()
			if got, _, _ := store.split(); len(got) != round {
				t.Errorf("round %d: got %d records before the interval ended, want %d: they are to be gathered", round, len(got), round)
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if got, _, _ := store.split(); len(got) != round+1 {
				t.Errorf("round %d: got %d records behind the interval, want %d", round, len(got), round+1)
			}
			time.Sleep(time.Hour)
		}
		if got := observed.Load(); got != 0+1+2 {
			t.Errorf("observer: got the sum %d, want 3", got)
		}
		if writes := store.count(); writes != 3 {
			t.Errorf("got %d writes, want 3: an idle log does nothing", writes)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestHalfFullQueueIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{}
		l := openLog(t, Options{Store: store, QueueSize: 1024})
		defer l.Close()
		appendN(l, 0, 800)
		synctest.Wait()
		if got, _, _ := store.split(); len(got) < 512 {
			t.Errorf("got %d records at once, want at least half of the queue", len(got))
		}
	})
}

func TestOverloadIsCountedAndLeavesAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{block: make(chan struct{})}
		l := openLog(t, Options{Store: store, QueueSize: 16})
		appendN(l, 0, 10)
		if !l.Ready() {
			t.Error("Ready: got false below three quarters")
		}
		time.Sleep(MaxFlushInterval)
		synctest.Wait() // the writer has taken the ten and hangs in Write
		begin := time.Now()
		if got := appendN(l, 10, 16); got != 16 {
			t.Errorf("Append to an empty queue: got %d accepted, want 16", got)
		}
		if l.Ready() {
			t.Error("Ready: got true with a full queue")
		}
		time.Sleep(3 * time.Second)
		if got := appendN(l, 26, 40); got != 0 {
			t.Errorf("Append to a full queue: got %d accepted, want 0", got)
		}
		time.Sleep(2 * time.Second)
		appendN(l, 66, 4)
		if s := checkSum(t, l, 70); s.Queued != 26 || s.Dropped != 44 {
			t.Errorf("stats: got %+v, want 26 queued and 44 dropped", s)
		}

		close(store.block)
		store.set(func() { store.block = nil })
		time.Sleep(MaxFlushInterval)
		synctest.Wait()
		requests, gaps, lost := store.split()
		if len(requests) != 26 || lost != 44 || len(gaps) != 1 {
			t.Fatalf("store: got %d records, %d gaps of %d, want 26, 1 of 44", len(requests), len(gaps), lost)
		}
		for i, r := range requests {
			if r.BytesIn != int64(i) {
				t.Errorf("record %d: got number %d", i, r.BytesIn)
			}
		}
		g := gaps[0]
		if from, to := begin.Add(3*time.Second), begin.Add(5*time.Second); !g.LostFrom.Equal(from) || !g.LostTo.Equal(to) {
			t.Errorf("gap: got %v to %v, want %v to %v", g.LostFrom, g.LostTo, from, to)
		}
		if !strings.HasPrefix(g.ID, "gap_") || g.Decision != DecisionGap || !g.IsGap() {
			t.Errorf("gap: got id %s, decision %s", g.ID, g.Decision)
		}
		if s := checkSum(t, l, 70); s.Gaps != 1 || s.Queued != 0 || !l.Ready() {
			t.Errorf("stats: got %+v, want one gap and nothing queued", s)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestRefusingStoreGetsTheSameRecordsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{refuse: true}
		l := openLog(t, Options{Store: store, QueueSize: 64})
		appendN(l, 0, 40)
		time.Sleep(time.Minute)
		if writes := store.count(); writes < 30 || writes > 70 {
			t.Errorf("got %d tries in a minute, want about one a second", writes)
		}
		s := checkSum(t, l, 40)
		if s.Queued != 40 || s.Errors == 0 {
			t.Errorf("stats while refused: got %+v, want 40 queued and errors", s)
		}
		store.set(func() { store.refuse, store.partial = false, 7 })
		time.Sleep(3 * time.Second)
		requests, gaps, _ := store.split()
		if len(requests) != 40 || len(gaps) != 0 {
			t.Fatalf("store: got %d records and %d gaps, want 40 and none", len(requests), len(gaps))
		}
		for i, r := range requests {
			if r.BytesIn != int64(i) {
				t.Errorf("record %d: got number %d", i, r.BytesIn)
			}
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		checkSum(t, l, 40)
	})
}

func TestCloseGivesUpWhatTheStoreRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{refuse: true}
		l := openLog(t, Options{Store: store})
		appendN(l, 0, 2500)
		begin := time.Now()
		err := l.Close()
		if err == nil || !strings.Contains(err.Error(), "2500 records") {
			t.Errorf("Close: got %v, want an error that names 2500 records", err)
		}
		if d := time.Since(begin); d > 2*closeGrace {
			t.Errorf("Close took %v", d)
		}
		if s := checkSum(t, l, 2500); s.Dropped != 2500 || s.Queued != 0 {
			t.Errorf("stats: got %+v, want 2500 dropped", s)
		}
		if !store.closed {
			t.Error("the store was not closed")
		}
	})
}

func TestPanicsOfStoreAndObserverAreSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{panics: 1}
		l := openLog(t, Options{Store: store})
		l.Observe(func(*Record) { panic("observer") })
		appendN(l, 0, 5)
		time.Sleep(time.Second)
		appendN(l, 5, 5)
		time.Sleep(time.Second)
		requests, _, lost := store.split()
		if len(requests) != 5 || lost != 5 {
			t.Errorf("store: got %d records and %d counted as lost, want 5 and 5", len(requests), lost)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		checkSum(t, l, 10)
	})
}

func TestAppendAndCloseTogetherLoseNothing(t *testing.T) {
	t.Parallel()
	for range 20 {
		store := &fakeStore{}
		l := openLog(t, Options{Store: store, QueueSize: 128})
		const workers, each = 4, 400
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() { accepted.Add(int64(appendN(l, w*each, each))) })
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wg.Wait()
		requests, _, _ := store.split()
		if int64(len(requests)) != accepted.Load() {
			t.Fatalf("store: got %d records, want the %d that Append accepted", len(requests), accepted.Load())
		}
		if s := checkSum(t, l, workers*each); s.Queued != 0 || s.Stored != uint64(accepted.Load()) {
			t.Fatalf("stats: got %+v, want %d stored and nothing queued", s, accepted.Load())
		}
	}
}

func TestClosedLog(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}})
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if l.Append(l.NewRecord()) || l.Ready() {
		t.Error("a closed log takes records")
	}
	if err := l.Flush(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Flush: got %v, want ErrClosed", err)
	}
	if err := l.Tail(context.Background(), Filter{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Tail: got %v, want ErrClosed", err)
	}
	checkSum(t, l, 1)
}

func TestFlushMakesRecordsVisible(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	l := openLog(t, Options{Store: store})
	defer l.Close()
	for i := range 50 {
		appendN(l, i, 1)
		if err := l.Flush(t.Context()); err != nil {
			t.Fatalf("Flush: %v", err)
		}
		if got, _, _ := store.split(); len(got) != i+1 {
			t.Fatalf("behind Flush: got %d records, want %d", len(got), i+1)
		}
	}
	store.set(func() { store.refuse = true })
	appendN(l, 0, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := l.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Flush to a refusing store: got %v, want the context's error", err)
	}
	store.set(func() { store.refuse = false })
}

func TestStoredRecordsAreClean(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir(), Node: "node-1"})
	defer l.Close()
	r := l.NewRecord()
	r.ID, r.Time, r.UserAgent = NewID(time.Now()), time.Now(), "curl\x1b[2J sk_live_"+body32+strings.Repeat("x", 1<<20)
	id := strings.Clone(r.ID)
	l.Append(r)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := l.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if want := `curl\x1b[2J sk_live_****`; !strings.HasPrefix(got.UserAgent, want) || len(got.UserAgent) > 512 || got.Node != "node-1" {
		t.Errorf("got user agent %.60q of %d bytes, node %q", got.UserAgent, len(got.UserAgent), got.Node)
	}
}

func TestRecordThatCannotBeCleanedIsCounted(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}})
	appendN(l, 0, 1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if w := (&writer{log: l, cleaner: newCleaner()}); w.clean(nil, time.Now()) {
		t.Error("a record that makes cleaning panic passes as clean")
	}
	if s := l.Stats(); s.Dropped != 1 || s.Errors != 1 {
		t.Errorf("stats: got %+v, want it dropped and counted as an error", s)
	}
}

// TestAppendedGap: a record that a caller marks as a gap is a request like any other, and does not unsettle the counts.
func TestAppendedGap(t *testing.T) {
	t.Parallel()
	store := new(fakeStore)
	l := openLog(t, Options{Store: store})
	r := l.NewRecord()
	r.Lost = 5
	l.Append(r)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if requests, gaps, _ := store.split(); len(requests) != 1 || len(gaps) != 0 {
		t.Errorf("%d requests and %d gaps are kept, want 1 and 0", len(requests), len(gaps))
	}
	if s := l.Stats(); s.Stored != 1 || s.Dropped != 0 || s.Queued != 0 {
		t.Errorf("counts: %+v", s)
	}
}
