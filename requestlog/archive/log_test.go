package archive

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

func openLog(t *testing.T, o Options, lo requestlog.Options) (*requestlog.Log, *Archive) {
	t.Helper()
	a := openArchive(t, o)
	lo.Store = a
	l, err := requestlog.Open(lo)
	if err != nil {
		t.Fatal(err)
	}
	return l, a
}

func appendOne(l *requestlog.Log, key string) string {
	r := l.NewRecord()
	now := time.Now()
	id := requestlog.NewID(now)
	r.ID, r.Time, r.Method, r.Path, r.Status, r.Decision, r.Key = id, now, "GET", "/v1/charges", 200, "allowed", key
	l.Append(r)
	return id
}

// tally reads everything: how many requests, and how many are missing by the gap records.
func tally(t *testing.T, a *Archive) (requests, lost uint64) {
	t.Helper()
	for after := ""; ; {
		p, err := a.List(t.Context(), requestlog.Query{Limit: requestlog.MaxLimit, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			if r.IsGap() {
				lost += uint64(r.Lost)
			} else {
				requests++
			}
		}
		if after = p.Next; !p.More {
			return requests, lost
		}
	}
}

// A record can be found at the latest one flush interval behind its request: the design bound is MaxFlushInterval, the promise
// a second. A busy machine may let the writer wait, so that the bound is the interval's, and the waiting for a condition.
func TestRecordIsVisibleWithinTheFlushInterval(t *testing.T) {
	t.Parallel()
	l, _ := openLog(t, Options{Dir: t.TempDir()}, requestlog.Options{})
	if requestlog.MaxFlushInterval > time.Second {
		t.Errorf("the longest flush interval is %v: more than the promise", requestlog.MaxFlushInterval)
	}
	for i := range 3 {
		id := appendOne(l, "key_1")
		eventually(t, "the record", func() bool {
			_, err := l.Get(context.Background(), id)
			return err == nil
		})
		s, err := l.KeySummary(t.Context(), "key_1")
		if err != nil || s.Requests != int64(i+1) {
			t.Errorf("what the key did: got %d requests, %v, want %d", s.Requests, err, i+1)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The accounting is exact through overload, a disk that fills and empties, archiving, and a restart: what was appended is
// stored or counted as dropped, and what was dropped stands in gap records.
func TestAccountingIsExact(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	dir := t.TempDir()
	var appended, stored, dropped uint64
	for life := range 3 {
		l, a := openLog(t, Options{Dir: dir, FS: disk, RollSize: 64 << 10}, requestlog.Options{QueueSize: 256})
		var full atomic.Bool
		full.Store(life > 0)
		disk.set(func(op, _ string, _ int) error {
			if op == "write" && full.Load() {
				return syscall.ENOSPC
			}
			return nil
		})
		var all sync.WaitGroup
		for w := range 4 {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := range 500 {
					appendOne(l, fmt.Sprint("key_", w))
					if i%50 == 0 {
						runtime.Gosched()
					}
				}
			}()
		}
		all.Wait()
		full.Store(false)
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if life == 1 {
			settle(a)
		}
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		s := l.Stats()
		if s.Appended != s.Stored+s.Dropped || s.Queued != 0 || s.Appended != 2000 {
			t.Errorf("life %d: got %+v, want 2000 appended, all stored or dropped", life, s)
		}
		if life > 0 && s.Dropped == 0 {
			t.Errorf("life %d: got %+v, want some dropped", life, s)
		}
		appended, stored, dropped = appended+s.Appended, stored+s.Stored, dropped+s.Dropped
	}
	a := openArchive(t, Options{Dir: dir})
	for range 2 {
		requests, lost := tally(t, a)
		if requests != stored || lost != dropped {
			t.Errorf("archive: got %d records and %d in gaps, want %d and %d of %d", requests, lost, stored, dropped, appended)
		}
		settle(a)
	}
	closeArchive(t, a)
}

// Queries, archiving and retention beside the writer: nothing comes twice, nothing is missed, no reader fails.
func TestReadersBesideArchiving(t *testing.T) {
	t.Parallel()
	l, a := openLog(t, Options{Dir: t.TempDir(), RollSize: 20 << 10}, requestlog.Options{FlushInterval: time.Millisecond})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 4000 {
			appendOne(l, fmt.Sprint("key_", i%10))
			if i%100 == 0 {
				_ = l.Flush(context.Background())
			}
		}
	}()
	last := uint64(0)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		floor := l.Stats().Stored
		requests, _ := tally(t, a)
		if requests < floor || requests < last {
			t.Fatalf("got %d records when %d were stored, and %d before", requests, floor, last)
		}
		last = requests
		s, err := l.KeySummary(t.Context(), "key_3")
		if err != nil || s.Requests > 400 {
			t.Fatalf("what a key did: %d requests, %v", s.Requests, err)
		}
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if requests, _ := tally(t, a); requests != 4000 {
		t.Errorf("in the end: got %d records, want 4000", requests)
	}
	if s, err := l.KeySummary(t.Context(), "key_3"); err != nil || s.Requests != 400 {
		t.Errorf("what a key did: got %d requests, %v, want 400", s.Requests, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if s := l.Stats(); s.Errors+s.Skipped+s.SetAside > 0 {
		t.Errorf("stats: %+v", s)
	}
}

// A cursor that is nonsense is the caller's mistake; no query ever panics over one.
func FuzzCursor(f *testing.F) {
	a, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { a.Close() })
	records := make([]*requestlog.Record, 100)
	for i := range records {
		at := benchBegin.Add(time.Duration(i) * time.Second)
		records[i] = &requestlog.Record{ID: benchID(at, uint64(i)), Time: at, Decision: "allowed", Status: 200}
	}
	if _, err := a.Write(records[:50]); err != nil {
		f.Fatal(err)
	}
	settle(a)
	if _, err := a.Write(records[50:]); err != nil {
		f.Fatal(err)
	}
	f.Add(records[3].ID, records[70].ID)
	f.Add(requestlog.CursorBefore(7), "req_zzzzzzzzzzzzzzzzzzz")
	f.Add("gap_00000000000########", strings.Repeat("0", 23))
	f.Fuzz(func(t *testing.T, after, id string) {
		p, err := a.List(context.Background(), requestlog.Query{Limit: 1000, After: after, Filter: requestlog.Filter{RequestID: ""}})
		if (err == nil) != (after == "" || requestlog.ValidID(after)) {
			t.Errorf("List after %q: %v", after, err)
		}
		for _, r := range p.Records {
			if after != "" && requestlog.CompareIDs(r.ID, after) >= 0 {
				t.Errorf("List after %q gives %q", after, r.ID)
			}
		}
		if _, err := a.Get(context.Background(), id); err != nil && !errors.Is(err, requestlog.ErrNotFound) {
			t.Errorf("Get(%q): %v", id, err)
		}
	})
}
