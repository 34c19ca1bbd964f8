package requestlog

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestRingKeepsOrderAndBound(t *testing.T) {
	t.Parallel()
	q := newRing(5) // becomes 8
	for round := range 3 {
		for i := range 8 {
			if _, ok := q.push(&Record{BytesIn: int64(i)}); !ok {
				t.Fatalf("round %d: push %d refused", round, i)
			}
		}
		if _, ok := q.push(&Record{}); ok || q.len() != 8 {
			t.Fatalf("round %d: a full ring took one more, length %d", round, q.len())
		}
		for i := range 8 {
			if r := q.pop(); r == nil || r.BytesIn != int64(i) {
				t.Fatalf("round %d: pop %d: got %+v", round, i, r)
			}
		}
		if r := q.pop(); r != nil || q.len() != 0 {
			t.Fatalf("round %d: an empty ring gave %+v, length %d", round, r, q.len())
		}
	}
}

func TestRingLosesNothingUnderConcurrency(t *testing.T) {
	t.Parallel()
	const workers, each = 4, 20000
	q := newRing(64)
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for w := range workers {
		wg.Go(func() {
			n := 0
			for i := range each {
				if _, ok := q.push(&Record{Status: w, BytesIn: int64(i)}); ok {
					n++
				}
			}
			mu.Lock()
			accepted += n
			mu.Unlock()
		})
	}
	go func() {
		wg.Wait()
		q.close()
	}()
	got := 0
	last := [workers]int64{-1, -1, -1, -1}
	for !q.closed() || q.len() > 0 {
		r := q.pop()
		if r == nil {
			continue
		}
		if r.BytesIn <= last[r.Status] {
			t.Fatalf("worker %d: record %d behind %d", r.Status, r.BytesIn, last[r.Status])
		}
		last[r.Status] = r.BytesIn
		got++
	}
	if r := q.popClaimed(); r != nil {
		t.Errorf("a drained ring gave %+v", r)
	}
	if got != accepted {
		t.Errorf("got %d records, want the %d that were accepted", got, accepted)
	}
	if _, ok := q.push(&Record{}); ok {
		t.Error("a closed ring took a record")
	}
}

// TestRingBoundHoldsForManyAtOnce: none of many producers that end at the same instant gets beyond the limit.
func TestRingBoundHoldsForManyAtOnce(t *testing.T) {
	t.Parallel()
	q := newRing(64)
	for range 200 {
		var kept atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 16 {
					if _, ok := q.pushUpTo(40, &Record{}); ok {
						kept.Add(1)
					}
				}
			})
		}
		all.Wait()
		if kept.Load() != 40 || q.len() != 40 {
			t.Fatalf("%d were kept and %d are in the ring, want 40", kept.Load(), q.len())
		}
		for q.pop() != nil {
		}
	}
}
