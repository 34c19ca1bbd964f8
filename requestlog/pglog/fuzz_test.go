package pglog

import (
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// FuzzStretches: whatever a cursor and the times of a filter say, the stretches that a query is cut into lie side by side and make
// up all of what it can meet: a list that goes from one to the next passes over no record and gives none twice.
func FuzzStretches(f *testing.F) {
	begin := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	id := requestlogtest.ID(begin, 1)
	f.Add("", int64(0), int64(0), int64(0), uint16(1), uint16(20412), []byte{1, 0, 9})
	f.Add(id, begin.Add(-50*time.Hour).UnixMilli(), begin.UnixMilli(), int64(1000), uint16(3), uint16(20412), []byte{200, 1, 1, 0, 40})
	f.Add(requestlog.CursorBefore(7), int64(1), int64(-1), int64(-1), uint16(0), uint16(0), []byte{255, 255})
	f.Add("gap_00000000000zzzzzzzz", begin.UnixMilli(), int64(1<<53), int64(1<<40), uint16(2), uint16(65535), []byte{3})
	f.Fuzz(func(t *testing.T, after string, since, until, skew int64, most, newest uint16, counts []byte) {
		if after != "" && !requestlog.ValidID(after) || len(counts) > 64 {
			return // List refuses the cursor
		}
		var filter requestlog.Filter
		if since != 0 {
			filter.Since = time.UnixMilli(since)
		}
		if until != 0 {
			filter.Until = time.UnixMilli(until)
		}
		whole := reachOf(&filter, after, time.Duration(skew&(1<<40-1)))
		if whole.empty() {
			return
		}
		var days []storedDay
		for i, n := range counts {
			days = append(days, storedDay{day: int(newest) - i, records: int64(n)})
		}
		high := whole.high
		list := whole.stretches(days, int64(most)+1)
		for i, part := range list {
			last := i == len(list)-1
			if part.high != high || part.empty() || last && part.low != whole.low {
				t.Fatalf("%+v is cut into %+v", whole, list)
			}
			if !last && !requestlog.ValidID(requestPrefix+part.low) {
				t.Fatalf("%+v ends at what is no cursor", part)
			}
			high = part.low
		}
	})
}
