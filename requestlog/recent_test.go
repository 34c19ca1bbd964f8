package requestlog

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestRecentKeepsTheLast(t *testing.T) {
	t.Parallel()
	var m recent
	for i := range 3*recentIDs + 7 {
		m.addLocked(strconv.Itoa(i))
		last, ok := m.afterLocked(strconv.Itoa(i))
		if !ok || len(last) != 0 {
			t.Fatalf("behind the last of %d: got %d ids, %v, want none", i+1, len(last), ok)
		}
	}
	newest := 3*recentIDs + 6
	got, ok := m.afterLocked(strconv.Itoa(newest - 3))
	if want := []string{strconv.Itoa(newest - 2), strconv.Itoa(newest - 1), strconv.Itoa(newest)}; !ok || !slices.Equal(got, want) {
		t.Errorf("behind the fourth last: got %v, %v, want %v", got, ok, want)
	}
	if got, ok := m.afterLocked(strconv.Itoa(newest - recentIDs + 1)); !ok || len(got) != recentIDs-1 {
		t.Errorf("behind the oldest: got %d ids, %v, want %d", len(got), ok, recentIDs-1)
	}
	if _, ok := m.afterLocked(strconv.Itoa(newest - recentIDs)); ok {
		t.Error("an id that was pushed out is still known")
	}
}

// TestFollowAfterLosesNothing: readers who go away and come again, while others write, get every record once and in the order
// in which they were stored.
func TestFollowAfterLosesNothing(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Store: &fakeStore{}, FlushInterval: time.Millisecond})
	defer l.Close()
	const total = 600
	first, err := l.Follow(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	appendN(l, 0, 1)
	records, err := first.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := []string{records[0].ID}
	var writers sync.WaitGroup
	writers.Go(func() {
		for range total {
			appendN(l, 0, 1)
			_ = l.Flush(t.Context())
		}
	})
	for len(got) <= total {
		f, missed, known, err := l.FollowAfter(Filter{}, got[len(got)-1])
		if err != nil || !known {
			t.Fatalf("FollowAfter: known %v, %v", known, err)
		}
		if got = append(got, missed...); len(got) <= total {
			records, err := f.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				got = append(got, r.ID)
			}
		}
		f.Close()
	}
	writers.Wait()
	var want []string
	for want = nil; len(want) <= total; {
		var rest []*Record
		if rest, err = first.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = []string{got[0]}
		}
		for _, r := range rest {
			want = append(want, r.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d records in parts, want the %d that one tail got, in their order", len(got), len(want))
	}
	if _, _, known, err := l.FollowAfter(Filter{}, NewID(time.Now())); known || err != nil {
		t.Errorf("FollowAfter an id that was never stored: known %v, %v", known, err)
	}
}

// A stranger who names somebody's account in a request does not get into that account's view of the log.
func TestConcerns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		record Record
		id     string
		want   bool
	}{
		{Record{Account: "acct_1", Owner: "acct_1"}, "acct_1", true},
		{Record{Account: "acct_1", Owner: "org_1"}, "acct_1", true},
		{Record{Account: "acct_1", Owner: "org_1"}, "org_1", true},
		{Record{Account: "acct_1", Owner: "org_1"}, "acct_2", false},
		{Record{Account: "acct_1", Owner: "acct_2", Decision: "account_invalid"}, "acct_1", false},
		{Record{Account: "acct_1", Owner: "acct_2", Decision: "account_invalid"}, "acct_2", true},
		{Record{Account: "acct_1", Owner: "acct_2", Decision: "permission_denied"}, "acct_1", true},
		{Record{}, "", false},
	} {
		if got := tt.record.Concerns(tt.id); got != tt.want {
			t.Errorf("%+v concerns %q: got %v", tt.record, tt.id, got)
		}
		f := Filter{Within: []string{tt.id}}
		if got := f.Match(&tt.record); got != tt.want {
			t.Errorf("%+v within %q: got %v", tt.record, tt.id, got)
		}
	}
}
