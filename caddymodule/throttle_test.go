package caddymodule

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestThrottle(t *testing.T) {
	t.Parallel()
	throttle := newThrottle()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	take := func(address string, n int) (allowed int) {
		for range n {
			if throttle.allow(netip.MustParseAddr(address), now) {
				allowed++
			}
		}
		return allowed
	}
	if got := take("192.0.2.1", 200); got != throttleBurst {
		t.Errorf("burst of %d, want %d", got, throttleBurst)
	}
	if got := take("192.0.2.2", 1); got != 1 {
		t.Error("another address is throttled too")
	}
	if got := take("::ffff:192.0.2.1", 1); got != 0 {
		t.Error("the mapped form of the address has a bucket of its own")
	}
	now = now.Add(500 * time.Millisecond)
	if got := take("192.0.2.1", 200); got != throttleRate/2 {
		t.Errorf("%d after half a second, want %d", got, throttleRate/2)
	}
	now = now.Add(time.Hour)
	if got := take("192.0.2.1", 200); got != throttleBurst {
		t.Errorf("%d after an hour, want the burst of %d", got, throttleBurst)
	}
	if a, b := take("2001:db8::1", 200), take("2001:db8::ffff:2", 10); a != throttleBurst || b != 0 {
		t.Errorf("%d and %d from one /64, want %d together", a, b, throttleBurst)
	}
	if got := take("2001:db8:0:1::1", 1); got != 1 {
		t.Error("another /64 is throttled too")
	}
	if got := take("2001:db8::1%eth0", 1); got != 0 {
		t.Error("a zone gives a bucket of its own")
	}
	// clients whose address is not known share a bucket
	allowed := 0
	for range 200 {
		if throttle.allow(netip.Addr{}, now) {
			allowed++
		}
	}
	if allowed != throttleBurst {
		t.Errorf("%d from unknown addresses, want %d", allowed, throttleBurst)
	}
	// a clock that goes back gives nothing away
	now = now.Add(-time.Hour)
	if got := take("192.0.2.1", 1); got != 0 {
		t.Error("a clock that went back refilled the bucket")
	}
}

// TestThrottleUnderFlood: a million addresses take no more memory than one, and an address that keeps trying stays
// throttled while they pass.
func TestThrottleUnderFlood(t *testing.T) {
	t.Parallel()
	throttle := newThrottle()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	guesser := netip.MustParseAddr("192.0.2.1")
	allowed := 0
	for i := range 100_000 {
		throttle.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
		if i%100 == 0 && throttle.allow(guesser, now) {
			allowed++
		}
		now = now.Add(time.Microsecond)
	}
	// a tenth of a second: the burst and two more, and another burst for each time that it was pushed out
	if allowed > 3*throttleBurst {
		t.Errorf("%d of 1000 tries within 0.1 s, want about %d", allowed, throttleBurst+2)
	}
}

func TestThrottleTogether(t *testing.T) {
	t.Parallel()
	throttle := newThrottle()
	now := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	allowed := 0
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if throttle.allow(netip.MustParseAddr("192.0.2.1"), now) {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if allowed != throttleBurst {
		t.Errorf("%d allowed, want %d", allowed, throttleBurst)
	}
}

func BenchmarkThrottle(b *testing.B) {
	for _, addresses := range []int{1, 100_000} {
		b.Run(fmt.Sprint(addresses), func(b *testing.B) {
			throttle := newThrottle()
			now := time.Now()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				throttle.allow(netip.AddrFrom4([4]byte{10, byte(i % addresses >> 16), byte(i % addresses >> 8), byte(i % addresses)}), now)
			}
		})
	}
}
