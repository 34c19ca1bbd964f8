package requestlog

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestNewIDSortsByTimeAndStepsOverTheClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	var ids []string
	for _, step := range []time.Duration{0, 0, time.Millisecond, time.Hour, -2 * time.Hour, 0, 24 * time.Hour} {
		now = now.Add(step)
		ids = append(ids, NewID(now))
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids do not sort: %q", ids)
	}
	for _, id := range ids {
		if len(id) != 23 || !strings.HasPrefix(id, "req_") || !ValidID(id) {
			t.Errorf("id %q: want req_ and 19 base62 characters", id)
		}
	}
}

func TestNewIDIsUniqueUnderConcurrency(t *testing.T) {
	t.Parallel()
	const workers, each = 8, 5000
	now := time.Now()
	lists := make([][]string, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range each {
				lists[w] = append(lists[w], NewID(now))
			}
		})
	}
	wg.Wait()
	seen := make(map[string]bool, workers*each)
	for _, list := range lists {
		if !slices.IsSorted(list) {
			t.Error("ids of one goroutine do not increase")
		}
		for _, id := range list {
			seen[id] = true
		}
	}
	if len(seen) != workers*each {
		t.Errorf("got %d different ids, want %d", len(seen), workers*each)
	}
}

// Two processes that make an id in the same millisecond differ by what each drew at its start.
func TestIDsOfTwoProcessesDiffer(t *testing.T) {
	t.Parallel()
	if a, b := newProcessSuffix(), newProcessSuffix(); a == b {
		t.Errorf("two processes drew the same suffix %q", a)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id   string
		want bool
	}{
		{"req_0123456789ABCDEFGHI", true},
		{"gap_0123456789ABCDEFGHI", true},
		{"", false},
		{"req_", false},
		{"key_0123456789ABCDEFGHI", false},
		{"req_0123456789ABCDEFGH", false},
		{"req_0123456789ABCDEFGHIJ", false},
		{"req_0123456789ABCDEFGH-", false},
		{"req_zzzzzzzzzzz00000000", false}, // beyond 64 bits
		{cursorBefore(1<<64 - 2), true},
	}
	for _, tt := range tests {
		if got := ValidID(tt.id); got != tt.want {
			t.Errorf("ValidID(%q): got %v, want %v", tt.id, got, tt.want)
		}
	}
	at := time.UnixMilli(1234567890123)
	position, ok := parseID("req_" + encodedPosition(positionOf(at)+5) + "zzzzzzzz")
	if !ok || millisecondOf(position) != at.UnixMilli() {
		t.Errorf("position: got %d (%v), want the millisecond %d", millisecondOf(position), ok, at.UnixMilli())
	}
}

func encodedPosition(v uint64) string {
	var b [positionLen]byte
	putPosition(b[:], v)
	return string(b[:])
}

func TestCursorBeforeStandsBetweenPositions(t *testing.T) {
	t.Parallel()
	c := cursorBefore(1000)
	at := "req_" + encodedPosition(1000) + "zzzzzzzz"
	above := "req_" + encodedPosition(1001) + "00000001"
	if CompareIDs(at, c) >= 0 || CompareIDs(above, c) <= 0 {
		t.Errorf("cursor %s: want it above %s and below %s", c, at, above)
	}
}
