package caddymodule

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/policy"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	name := bucketName{id: "acct_1", mode: policy.ModeLive}
	tests := []struct {
		name         string
		limit        uint32
		nodes        int
		atOnce       int           // how many of many requests at one moment pass
		pause        time.Duration // and after a pause
		later        int
		retry        time.Duration // of the first that is refused
		firstLeft    int
		firstToFull  time.Duration
		deniedToFull time.Duration
	}{
		{"one node", 100, 1, 200, 500 * time.Millisecond, 50, 10 * time.Millisecond, 199, 10 * time.Millisecond, 2 * time.Second},
		{"a share of four", 100, 4, 50, time.Second, 25, 40 * time.Millisecond, 49, 40 * time.Millisecond, 2 * time.Second},
		{"one a second", 1, 1, 2, time.Second, 1, time.Second, 1, time.Second, 2 * time.Second},
		{"a share of less than one", 1, 5, 1, 5 * time.Second, 1, 5 * time.Second, 0, 5 * time.Second, 5 * time.Second},
		{"a long pause fills it once", 10, 1, 20, time.Hour, 20, 100 * time.Millisecond, 19, 100 * time.Millisecond, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLimiter()
			pass := func(at time.Time) (passed int, first, denied rateVerdict) {
				for i := range 1000 {
					v := rateVerdict{limit: tt.limit}
					l.take(name, &v, tt.nodes, at)
					if i == 0 {
						first = v
					}
					if v.denied {
						return i, first, v
					}
				}
				t.Fatal("nothing is refused")
				return
			}
			n, first, denied := pass(start)
			if n != tt.atOnce || denied.retry != tt.retry || denied.full != tt.deniedToFull || denied.remaining != 0 {
				t.Errorf("%d pass at once, then %+v; want %d, retry in %v, full in %v", n, denied, tt.atOnce, tt.retry, tt.deniedToFull)
			}
			if first.remaining != tt.firstLeft || first.full != tt.firstToFull {
				t.Errorf("after the first: %+v; want %d left, full in %v", first, tt.firstLeft, tt.firstToFull)
			}
			if n, _, _ := pass(start.Add(tt.pause)); n != tt.later {
				t.Errorf("%d pass after %v, want %d", n, tt.pause, tt.later)
			}
			other := rateVerdict{limit: tt.limit}
			l.take(bucketName{id: "acct_1", mode: policy.ModeSandbox}, &other, tt.nodes, start)
			if other.denied {
				t.Error("the modes share a bucket")
			}
			if n, _, _ := pass(start.Add(-time.Hour)); n == 0 {
				t.Error("a clock that was set back shuts the account out")
			}
		})
	}
}

// TestLimiterIsExact: of many parallel requests exactly as many pass as may.
func TestLimiterIsExact(t *testing.T) {
	t.Parallel()
	l, now := newLimiter(), time.Now()
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				v := rateVerdict{limit: 5}
				if l.take(bucketName{id: "key_1"}, &v, 1, now); !v.denied {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := passed.Load(); n != 10 {
		t.Errorf("%d of 1000 parallel requests pass, want 10", n)
	}
}

// TestLimiterForgets: buckets that are full again are dropped, those in use are not.
func TestLimiterForgets(t *testing.T) {
	t.Parallel()
	l, start := newLimiter(), time.Now()
	busy := bucketName{id: "busy"}
	for i := range 100_000 {
		now := start.Add(time.Duration(i) * time.Millisecond)
		v := rateVerdict{limit: 1000}
		l.take(bucketName{id: fmt.Sprint("acct_", i)}, &v, 1, now)
		for range 3 { // more than its limit all the time
			b := rateVerdict{limit: 1000}
			l.take(busy, &b, 1, now)
		}
	}
	held := 0
	for i := range l.shards {
		held += len(l.shards[i].buckets)
	}
	if most := 2 * limiterSweep * len(l.shards); held > most {
		t.Errorf("%d buckets are held of accounts that are idle, want at most %d", held, most)
	}
	v := rateVerdict{limit: 1000}
	if l.take(busy, &v, 1, start.Add(100*time.Second)); v.remaining > 1000 {
		t.Errorf("the bucket of a busy account was forgotten: %+v", v)
	}
}

func TestLimiterDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Log("allocations are not counted under the race detector")
		return
	}
	l, now, name := newLimiter(), time.Now(), bucketName{id: "acct_1", mode: policy.ModeLive}
	v := rateVerdict{limit: 1_000_000}
	if n := testing.AllocsPerRun(1000, func() { l.take(name, &v, 1, now) }); n > 0 {
		t.Errorf("a look at the limit allocates %v times", n)
	}
}
