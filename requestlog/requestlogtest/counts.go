package requestlogtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// testHistogram compares counts with those of the records that the filter selects.
func testHistogram(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	since, until := Begin.Add(-90*time.Second), Begin.Add(33*time.Minute+17*time.Second)
	for _, by := range []string{requestlog.ByStatusClass, requestlog.ByKey, requestlog.ByResource, requestlog.ByDecision} {
		for name, f := range map[string]requestlog.Filter{
			"all":          {},
			"a key":        {Key: "key_7"},
			"a status":     {StatusMin: 403, StatusMax: 403},
			"a class":      {StatusMin: 400, StatusMax: 499},
			"an account":   {Account: "acct_3"},
			"a mode":       {Mode: "live"},
			"a path":       {Path: "/v1/charges", Mode: "sandbox"},
			"within":       {Within: []string{"acct_1", "org_1"}},
			"nobody":       {Key: "key_77"},
			"within none":  {Within: []string{}},
			"a request id": {RequestID: records[42].ID},
		} {
			for _, bucket := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour} {
				f.Since, f.Until = since, until
				q := requestlog.HistogramQuery{Filter: f, Bucket: bucket, By: by}
				got, err := s.Histogram(context.Background(), q)
				if err != nil {
					t.Fatalf("Histogram(%+v): %v", q, err)
				}
				checkHistogram(t, fmt.Sprintf("%s by %s in %v", name, by, bucket), got, q, records)
			}
		}
	}
}

func checkHistogram(t *testing.T, what string, got *requestlog.Histogram, q requestlog.HistogramQuery, records []*requestlog.Record) {
	t.Helper()
	if !got.Complete || !got.From.Equal(q.Filter.Since) || got.Bucket != q.Bucket || got.By != q.By {
		t.Errorf("%s: got complete %v from %v, bucket %v, by %s", what, got.Complete, got.From, got.Bucket, got.By)
	}
	type cell struct {
		at    time.Time
		group string
	}
	want := make(map[cell]int64)
	for _, r := range records {
		if q.Filter.Match(r) {
			want[cell{r.Time.Truncate(q.Bucket), requestlog.GroupOf(r, q.By)}]++
		}
	}
	have := make(map[cell]int64)
	for i, b := range got.Buckets {
		if at := q.Filter.Since.Truncate(q.Bucket).Add(time.Duration(i) * q.Bucket); !b.Time.Equal(at) || !b.Time.Before(q.Filter.Until) {
			t.Errorf("%s: bucket %d begins at %v, want %v", what, i, b.Time, at)
		}
		var total int64
		for g, n := range b.Counts {
			if n > 0 {
				have[cell{b.Time, got.Groups[g]}] += n
			}
			total += n
		}
		if total != b.Total {
			t.Errorf("%s: bucket %d: total %d of %v", what, i, b.Total, b.Counts)
		}
	}
	if !maps.Equal(have, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, have, want)
	}
}

// testSummary compares what is kept of a key with its records.
func testSummary(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	for _, key := range []string{"key_0", "key_7", "key_19", "key_77", ""} {
		want := new(requestlog.KeySummary)
		sorted := slices.Clone(records)
		slices.SortFunc(sorted, func(a, b *requestlog.Record) int { return a.Time.Compare(b.Time) })
		addresses := make(map[string]time.Time)
		for _, r := range sorted {
			if key != "" && r.Key == key {
				want.Add(r)
				addresses[r.Client.String()] = r.Time
			}
		}
		got, err := s.KeySummary(context.Background(), key)
		if err != nil {
			t.Fatalf("KeySummary(%q): %v", key, err)
		}
		if got.Key != want.Key || got.Requests != want.Requests || got.Errors != want.Errors ||
			!got.FirstSeen.Equal(want.FirstSeen) || !got.LastSeen.Equal(want.LastSeen) {
			t.Errorf("KeySummary(%q):\n got %+v\nwant %+v", key, got, want)
		}
		if !slices.Equal(got.UserAgents, want.UserAgents) || !slices.EqualFunc(got.Resources, want.Resources, func(a, b requestlog.Seen) bool {
			return a.Value == b.Value && a.Requests == b.Requests && a.LastSeen.Equal(b.LastSeen)
		}) {
			t.Errorf("KeySummary(%q): got %v and %v, want %v and %v", key, got.UserAgents, got.Resources, want.UserAgents, want.Resources)
		}
		if len(got.Addresses) != min(requestlog.MaxSeen, len(addresses)) {
			t.Errorf("KeySummary(%q): %d addresses, want %d", key, len(got.Addresses), min(requestlog.MaxSeen, len(addresses)))
		}
		for i, a := range got.Addresses {
			if !a.LastSeen.Equal(addresses[a.Value]) || i > 0 && a.LastSeen.After(got.Addresses[i-1].LastSeen) {
				t.Errorf("KeySummary(%q): address %d is %v, last used %v", key, i, a, addresses[a.Value])
			}
		}
	}
}
