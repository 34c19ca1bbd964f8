package caddymodule

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// RateLimitConfig is how many requests a second each account may make, in each mode. An account may save up for one
// second: it may make twice as many at once. Accounts and keys may have limits of their own, which count here or not.
type RateLimitConfig struct {
	// Requests a second in live mode. 0: no limit.
	Live uint32 `json:"live,omitempty"`

	// Requests a second in sandbox mode. 0: no limit.
	Sandbox uint32 `json:"sandbox,omitempty"`
}

// rateBurst is how many seconds' worth of requests may be made at once.
const rateBurst = 2

// What the header with the reason of a 429 says.
const (
	limitedAccount = "global-rate"
	limitedKey     = "key-rate"
	limitedTries   = "failed-authentication"
)

// limiter counts the requests of accounts and keys. What it holds is bounded by who has a good key: nobody else is
// counted. It is safe for concurrent use and lives across reloads.
type limiter struct {
	seed   maphash.Seed
	shards [64]limiterShard
}

type limiterShard struct {
	mu      sync.Mutex
	buckets map[bucketName]time.Time
	sweep   int // how many buckets there may be before those that are full are dropped
}

// bucketName is whose requests are counted: an account's in a mode, or a key's.
type bucketName struct {
	id   string
	mode policy.Mode
}

// limiterSweep is how many buckets of a shard are kept at least.
const limiterSweep = 256

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// Destruct has nothing to close: the limiter is memory.
func (l *limiter) Destruct() error { return nil }

// rateVerdict is what a limit says of one request.
type rateVerdict struct {
	limit     uint32 // requests a second of the whole fleet; 0: there is no limit
	key       bool   // of the key, not of its account
	mode      policy.Mode
	denied    bool
	remaining int           // requests that may be made at once now, on this node
	full      time.Duration // until nothing is used up any more
	retry     time.Duration // of a denied request: until the next one may be made
}

// take counts one request against a limit of so many a second, of which this node has one of several equal shares, and
// fills in what came of it.
//
// A bucket is kept as the one time at which it will be full again: each request puts it off by what it costs, and a
// request that would put it off too far is refused and costs nothing.
func (l *limiter) take(name bucketName, v *rateVerdict, nodes int, now time.Time) {
	cost := time.Duration(int64(time.Second) * int64(nodes) / int64(v.limit))
	cost = max(cost, 1)
	most := max(rateBurst*time.Second, cost) // a share that is less than one request is one request now and then
	shard := &l.shards[maphash.String(l.seed, name.id)%uint64(len(l.shards))]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	full, known := shard.buckets[name]
	if !known || full.Before(now) || full.Sub(now) > most+cost { // as far ahead only a clock that was set back leaves it
		full = now
	}
	next := full.Add(cost)
	if used := next.Sub(now); used > most {
		v.denied, v.retry = true, used-most
		v.remaining, v.full = 0, full.Sub(now)
		return
	}
	if !known {
		shard.makeRoom(now)
	}
	shard.buckets[name] = next
	v.full = next.Sub(now)
	v.remaining = int((most - v.full) / cost)
}

// makeRoom drops the buckets that are full, which say nothing, if there are many.
func (s *limiterShard) makeRoom(now time.Time) {
	if s.buckets == nil {
		s.buckets, s.sweep = make(map[bucketName]time.Time), limiterSweep
	}
	if len(s.buckets) < s.sweep {
		return
	}
	for name, full := range s.buckets {
		if !full.After(now) {
			delete(s.buckets, name)
		}
	}
	s.sweep = max(limiterSweep, 2*len(s.buckets))
}

// limitRate counts an allowed request of a key, and refuses it if there were too many. A key with a limit of its own does
// not draw on its account's.
func (x *exchange) limitRate() {
	key, d := x.verdict.key, &x.verdict.decision
	if key == nil || !d.Allowed() {
		return
	}
	g, v := x.gate, &x.rate
	v.mode = key.Mode
	name := bucketName{id: d.Account, mode: key.Mode}
	switch {
	case key.RateLimit > 0:
		v.limit, v.key, name.id = key.RateLimit, true, key.ID
	default:
		if v.limit = g.store.AccountRateLimit(d.Account, key.Mode); v.limit == 0 {
			v.limit = g.rates.Of(key.Mode)
		}
	}
	if v.limit == 0 {
		return
	}
	g.limiter.take(name, v, g.store.LiveNodes(), x.start)
	if v.denied {
		d.Reason = policy.ReasonRateLimit
	}
}

// stamp tells the client of its limit, in the form of the IETF's draft on rate limit headers.
func (v *rateVerdict) stamp(h http.Header, values *valueArray) {
	if v.limit == 0 {
		return
	}
	name := `"` + v.mode.String() + `"`
	if v.key {
		name = `"key"`
	}
	h["Ratelimit-Policy"] = values.one(name + ";q=" + strconv.FormatUint(uint64(v.limit), 10) + ";w=1")
	h["Ratelimit"] = values.one(name + ";r=" + strconv.Itoa(v.remaining) + ";t=" + strconv.FormatInt(seconds(v.full), 10))
}

// seconds rounds up: who waits for so long has waited long enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// limited says in the headers of a 429 why, and for how long.
func (x *exchange) limited(h http.Header) {
	reason, wait := limitedTries, int64(1)
	if v := &x.rate; v.denied {
		reason, wait = limitedAccount, max(1, seconds(v.retry))
		if v.key {
			reason = limitedKey
		}
	}
	h["Retry-After"] = []string{strconv.FormatInt(wait, 10)}
	h[x.handler.names.rateLimitedReason] = []string{reason}
}

// resolveRates checks the configured limits.
func (a *App) resolveRates() (keystore.RateLimit, error) {
	if a.RateLimit == nil {
		return keystore.RateLimit{}, nil
	}
	r := keystore.RateLimit{Live: a.RateLimit.Live, Sandbox: a.RateLimit.Sandbox}
	for mode, limit := range map[string]uint32{"live": r.Live, "sandbox": r.Sandbox} {
		if limit > keystore.MaxRateLimit {
			return r, fmt.Errorf("rate_limit: %s: %d is more than %d requests a second", mode, limit, keystore.MaxRateLimit)
		}
	}
	return r, nil
}

// parseRateLimit sets up the option from Caddyfile tokens. Syntax:
//
//	rate_limit live <requests> sandbox <requests>
//
// Each of the modes may be left out.
func (a *App) parseRateLimit(d *caddyfile.Dispenser) error {
	a.RateLimit = new(RateLimitConfig)
	args := d.RemainingArgs()
	if len(args) == 0 || len(args)%2 != 0 {
		return d.Errf("rate_limit takes a mode and a number of requests a second, or two of these: live 100 sandbox 25")
	}
	var seen []string
	for ; len(args) > 0; args = args[2:] {
		mode := args[0]
		if slices.Contains(seen, mode) {
			return d.Errf("rate_limit: %s stands there twice", mode)
		}
		seen = append(seen, mode)
		limit, err := strconv.ParseUint(args[1], 10, 32)
		if err != nil || limit < 1 || limit > keystore.MaxRateLimit {
			return d.Errf("rate_limit: %q is no number of requests a second from 1 to %d", args[1], keystore.MaxRateLimit)
		}
		switch mode {
		case "live":
			a.RateLimit.Live = uint32(limit)
		case "sandbox":
			a.RateLimit.Sandbox = uint32(limit)
		default:
			return d.Errf("rate_limit: unrecognized mode %q: there is %q and %q", mode, "live", "sandbox")
		}
	}
	return refuseBlock(d, "rate_limit")
}
