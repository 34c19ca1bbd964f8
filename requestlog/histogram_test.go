package requestlog

import (
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
