package archive

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

var errCrash = errors.New("the process is gone")

// ids lists the ids of everything that the archive answers, page by page, newest first.
func ids(t *testing.T, a *Archive) []string {
	t.Helper()
	var list []string
	for after := ""; ; {
		p, err := a.List(t.Context(), requestlog.Query{Limit: 100, After: after})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, r := range p.Records {
			list = append(list, r.ID)
		}
		if after = p.Next; !p.More {
			return list
		}
	}
}

func idsOf(records []*requestlog.Record) []string {
	list := make([]string, len(records))
	for i, r := range records {
		list[i] = r.ID
	}
	slices.SortFunc(list, func(a, b string) int { return requestlog.CompareIDs(b, a) })
	return list
}

// checkIDs wants each record exactly once, in order.
func checkIDs(t *testing.T, a *Archive, records []*requestlog.Record) {
	t.Helper()
	if got, want := ids(t, a), idsOf(records); !slices.Equal(got, want) {
		t.Errorf("got %d records, want %d, each once", len(got), len(want))
	}
}

// Whatever the last thing was that reached the disk, each record that Write took is there once afterwards: the process ends at
// every single change of the disk in turn, once before it and once, for writes, in the middle of it.
func TestCrashAtEveryPoint(t *testing.T) {
	t.Parallel()
	records := requestlogtest.Records(120, 1)
	for point := 0; ; point++ {
		dir := t.TempDir()
		disk := newDiskFS()
		left, crashed, where := point/2, false, ""
		disk.set(func(op, name string, n int) error {
			if crashed {
				return errCrash
			}
			if left--; left >= 0 {
				return nil
			}
			crashed, where = true, op+" "+name
			if op == "write" && point%2 == 1 {
				return &partErr{n / 2, errCrash}
			}
			return errCrash
		})
		kept := live(t, dir, disk, records)
		disk.set(func(string, string, int) error { return errCrash })
		disk.unlock()
		if !crashed {
			if point < 60 {
				t.Errorf("only %d points: the test does not reach what it is about", point)
			}
			t.Logf("%d points", point)
			return
		}

		a := openArchive(t, Options{Dir: dir})
		checkIDs(t, a, kept)
		settle(a)
		checkIDs(t, a, kept)
		checkSums(t, a, kept)
		if s := a.Stats(); s.SetAside > 0 {
			t.Errorf("stats: got %+v, want nothing set aside", s)
		}
		closeArchive(t, a)
		if t.Failed() {
			t.Fatalf("crashed at point %d: %s; left: %q", point, where, names(t, dir))
		}
	}
}

// live is the life of a process up to its crash. It answers the records that Write took.
func live(t *testing.T, dir string, disk *diskFS, records []*requestlog.Record) (kept []*requestlog.Record) {
	t.Helper()
	a, err := Open(Options{Dir: dir, FS: disk})
	if err != nil {
		return nil
	}
	for batch := range slices.Chunk(records, 40) {
		n, _ := a.Write(batch)
		kept = append(kept, batch[:n]...)
		settle(a)
	}
	a.house.Lock()
	a.unsaved = 1
	a.house.Unlock()
	_ = a.Close()
	return kept
}

// checkSums compares counts and what keys did with the records.
func checkSums(t *testing.T, a *Archive, records []*requestlog.Record) {
	t.Helper()
	q := requestlog.HistogramQuery{By: requestlog.ByStatusClass, Bucket: 60e9, Filter: requestlog.Filter{
		Since: requestlogtest.Begin, Until: requestlogtest.Begin.Add(3600e9),
	}}
	h, err := a.Histogram(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, b := range h.Buckets {
		total += b.Total
	}
	if int(total) != len(records) {
		t.Errorf("histogram: got %d records, want %d", total, len(records))
	}
	for _, key := range []string{"key_3", "key_7"} {
		want := int64(0)
		for _, r := range records {
			if r.Key == key {
				want++
			}
		}
		s, err := a.KeySummary(context.Background(), key)
		if err != nil || s.Requests != want {
			t.Errorf("%s: got %d requests, %v, want %d", key, s.Requests, err, want)
		}
	}
}
