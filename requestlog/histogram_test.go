package requestlog

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A stretch of which the query asks for less than a second is one of the answer: the list has its records too.
func TestHistogramCountsThePartOfASecondBehindABorder(t *testing.T) {
	t.Parallel()
	border := journalBegin.Truncate(time.Minute).Add(time.Minute)
	q := HistogramQuery{Filter: Filter{Since: border.Add(-time.Minute), Until: border.Add(400 * time.Millisecond)}, Bucket: time.Minute, By: ByStatusClass}
	tally := NewTally(q)
	for _, at := range []time.Duration{-time.Second, 0, 300 * time.Millisecond} {
		r := &Record{Time: border.Add(at), Status: 200}
		if !q.Filter.Match(r) {
			t.Fatalf("%v: the filter does not select it", at)
		}
		tally.AddRecord(r)
	}
	h := tally.Histogram(time.Time{})
	if len(h.Buckets) != 2 || h.Buckets[0].Total != 1 || h.Buckets[1].Total != 2 {
		t.Errorf("got %+v, want 1 and 2 records in two stretches", h.Buckets)
	}
}

// A column may hold what the answer calls the rest. It is counted there, once.
func TestHistogramOfAGroupCalledOther(t *testing.T) {
	t.Parallel()
	q := HistogramQuery{Filter: Filter{Since: journalBegin, Until: journalBegin.Add(time.Minute)}, Bucket: time.Minute, By: ByResource}
	tally := NewTally(q)
	tally.Add(GroupOther, journalBegin, 1000)
	for i := range MaxGroups + 5 {
		tally.Add(fmt.Sprintf("r%02d", i), journalBegin, int64(100-i))
	}
	h := tally.Histogram(time.Time{})
	if len(h.Groups) != MaxGroups+1 || slices.Index(h.Groups, GroupOther) != MaxGroups {
		t.Fatalf("groups: got %q, want %d and then other, once", h.Groups, MaxGroups)
	}
	if got := h.Buckets[0].Counts[MaxGroups]; got != 1000+80+79+78+77+76 {
		t.Errorf("other: got %d", got)
	}
}

// A histogram by key of very many keys stays small, its sums stay exact, and what stands out is still told apart.
func TestHistogramOfManyGroupsIsBounded(t *testing.T) {
	t.Parallel()
	q := HistogramQuery{Filter: Filter{Since: journalBegin, Until: journalBegin.Add(time.Hour)}, Bucket: time.Minute, By: ByKey}
	tally := NewTally(q)
	const keys = 2 * maxTallyCells
	for i := range keys {
		at := journalBegin.Add(time.Duration(i%60) * time.Minute)
		tally.Add(fmt.Sprintf("key_%d", i), at, 1)
		if i%10 == 0 {
			tally.Add("key_hot", at, 1)
		}
		if tally.cells > maxTallyCells+1000 { // a group that is there may grow
			t.Fatalf("after %d keys it holds %d counts", i, tally.cells)
		}
	}
	cells := 0
	for _, of := range tally.groups {
		cells += len(of.counts)
	}
	if cells != tally.cells {
		t.Errorf("it holds %d counts, and says %d", cells, tally.cells)
	}
	h := tally.Histogram(time.Time{})
	var total int64
	for _, b := range h.Buckets {
		total += b.Total
	}
	if total != keys+keys/10 || h.Groups[0] != "key_hot" || len(h.Groups) != MaxGroups+1 {
		t.Errorf("got %d records of %q, want %d and key_hot first", total, h.Groups, keys+keys/10)
	}
}
