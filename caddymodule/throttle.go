package caddymodule

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// The throttle of failed tries: how many invalid keys one address may try. Fixed by the contract's section 3.5.
const (
	throttleRate  = 20 // a second
	throttleBurst = 50
)

// The lock-out of the admin site: how many invalid admin tokens one address may try, and how long it is locked out once it
// has tried that many. Nobody mistypes a token, so that ten are plenty.
const (
	lockoutRate  = 1.0 / 6 // a second
	lockoutBurst = 10
	lockoutTime  = time.Minute
)

// The table is fixed in size, so that no flood of addresses makes it grow: 64 shards of 128 buckets of 56 bytes, 460 kB.
const (
	throttleShards = 64
	throttleSlots  = 128
	// throttleWays is how many slots an address may stand in. With one slot two busy neighbours would reset each other
	// all the time; with eight an attacker needs eight addresses of one set to push one out, and wins a burst by it.
	throttleWays = 8
)

// throttle slows the guessing of keys: a token bucket for each client address, /64 network for IPv6, since one host has
// a whole /64 to choose from. It is asked only once a key has turned out to be invalid, so that valid keys pay nothing
// and are never slowed by what others do from their address. It is safe for concurrent use and lives across reloads.
type throttle struct {
	rate, burst float32       // tokens a second, and at most
	lock        time.Duration // how long an address is locked out that has spent its last token; 0: it is not
	seed        maphash.Seed
	shards      [throttleShards]throttleShard
}

type throttleShard struct {
	mu    sync.Mutex
	slots [throttleSlots]throttleBucket
}

// throttleBucket is the state of one address: tokens at a time. A bucket that has been quiet long enough to be full
// again says nothing and may be taken over.
type throttleBucket struct {
	who    netip.Addr
	tokens float32
	used   bool
	at     time.Time
}

// newThrottle makes the throttle of failed tries.
func newThrottle() *throttle { return newBuckets(throttleRate, throttleBurst) }

// newBuckets makes an empty throttle.
func newBuckets(rate, burst float32) *throttle {
	return &throttle{rate: rate, burst: burst, seed: maphash.MakeSeed()}
}

// newLockout makes the throttle of the admin site.
func newLockout() *throttle {
	return &throttle{rate: lockoutRate, burst: lockoutBurst, lock: lockoutTime, seed: maphash.MakeSeed()}
}

// allow takes one token of the address's bucket and says whether there was one. The zero address, a client that is not
// known, is an address like any other: all unknown clients share one bucket.
func (t *throttle) allow(client netip.Addr, now time.Time) bool {
	who := throttleUnit(client)
	shard, ways := t.place(who)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	bucket := shard.find(who, ways)
	return bucket.take(t, who, now)
}

// locked says for how long the address is still locked out, 0 if it is not. It takes nothing, and looking does not make an
// address known.
func (t *throttle) locked(client netip.Addr, now time.Time) time.Duration {
	who := throttleUnit(client)
	shard, ways := t.place(who)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for i := range ways {
		// A clock that was put back must not lock anybody out for longer than the lock-out lasts.
		if b := &ways[i]; b.used && b.who == who && b.at.Sub(now) <= t.lock {
			return max(0, b.at.Sub(now))
		}
	}
	return 0
}

// place is where the address's bucket stands, if it has one.
func (t *throttle) place(who netip.Addr) (*throttleShard, []throttleBucket) {
	hash := t.hash(who)
	shard := &t.shards[hash%throttleShards]
	set := int(hash/throttleShards) % (throttleSlots / throttleWays) * throttleWays
	return shard, shard.slots[set : set+throttleWays]
}

// find answers the bucket of the address, or the one that may best be given to it: an unused one, else the one that has
// been quiet for longest.
func (s *throttleShard) find(who netip.Addr, ways []throttleBucket) *throttleBucket {
	best := &ways[0]
	for i := range ways {
		b := &ways[i]
		if b.used && b.who == who {
			return b
		}
		if best.used && (!b.used || b.at.Before(best.at)) {
			best = b
		}
	}
	*best = throttleBucket{}
	return best
}

// take refills the bucket for the time gone by and takes one token.
func (b *throttleBucket) take(t *throttle, who netip.Addr, now time.Time) bool {
	if !b.used {
		*b = throttleBucket{who: who, used: true, tokens: t.burst, at: now}
	}
	if gone := now.Sub(b.at); gone > 0 {
		b.tokens = min(t.burst, b.tokens+float32(gone.Seconds())*t.rate)
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	if b.tokens < 1 && t.lock > 0 {
		// Locked out: the bucket is full again, but only from then on.
		b.tokens, b.at = t.burst, now.Add(t.lock)
	}
	return true
}

// throttleUnit is what shares a bucket: an IPv4 address, an IPv6 /64.
func throttleUnit(client netip.Addr) netip.Addr {
	client = client.Unmap().WithZone("")
	if !client.Is6() {
		return client
	}
	prefix, err := client.Prefix(64)
	if err != nil {
		return client
	}
	return prefix.Addr()
}

// hash is seeded by the process, so that nobody outside can choose addresses of one set.
func (t *throttle) hash(who netip.Addr) uint64 {
	b := who.As16()
	return maphash.Comparable(t.seed, [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])})
}
