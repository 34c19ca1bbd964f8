package archive

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// generator makes the records of the benchmark: what an API of some size sees. 10,000 keys of 4,000 accounts, used as a Zipf
// law says; each key from a few addresses and with one or two clients; object ids and idempotency keys that never come again.
type generator struct {
	rng     *rand.Rand
	keys    *rand.Zipf
	begin   time.Time
	step    time.Duration
	made    int
	agents  []string
	objects []string
}

const (
	benchKeys     = 10_000
	benchAccounts = 4_000
	benchDays     = 10
)

// benchBegin is ten days before the day on which the benchmark looks back.
var benchBegin = time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC)

// newGenerator spreads n records over benchDays.
func newGenerator(n int) *generator {
	rng := rand.New(rand.NewPCG(7, 7))
	g := &generator{
		rng: rng, keys: rand.NewZipf(rng, 1.1, 1, benchKeys-1), begin: benchBegin,
		step:    benchDays * 24 * time.Hour / time.Duration(n),
		objects: []string{"charges", "customers", "payment_intents", "invoices", "subscriptions", "refunds", "products", "prices", "events", "payouts"},
	}
	for i := range 200 {
		g.agents = append(g.agents, fmt.Sprintf("Client/v1 %sBindings/%d.%d.0", []string{"Go", "Node", "Python", "Ruby", "Java"}[i%5], 60+i/10, i%10))
	}
	return g
}

func benchKey(rank uint64) string     { return fmt.Sprintf("key_%020d", rank*2654435761%1_000_000_007) }
func benchAccount(rank uint64) string { return fmt.Sprintf("acct_%016d", rank*40503%1_000_003) }

func (g *generator) text(n int) string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[g.rng.IntN(len(letters))]
	}
	return string(b)
}

// next makes the next record, in place. One in fifty is a late one, of a request that took up to a minute.
func (g *generator) next(r *requestlog.Record) {
	at := g.begin.Add(time.Duration(g.made) * g.step)
	g.made++
	took := time.Duration(2000+g.rng.ExpFloat64()*40_000) * time.Microsecond
	if g.rng.IntN(50) == 0 {
		took = time.Duration(g.rng.IntN(60_000)) * time.Millisecond
	}
	at = at.Add(-took).Truncate(time.Millisecond)
	rank := g.keys.Uint64()
	account := benchAccount(rank % benchAccounts)
	object := g.objects[g.rng.IntN(len(g.objects))]
	*r = requestlog.Record{
		ID: benchID(at, uint64(g.made)), Time: at, Duration: took, Upstream: took - time.Duration(60+g.rng.IntN(40))*time.Microsecond,
		Method: "GET", Path: "/v1/" + object, Host: "api.example.com", Status: 200, Decision: "allowed",
		RequiredPermission: object + "_read", Key: benchKey(rank), TokenMasked: fmt.Sprintf("rk_live_****%04d", rank*7%10000), Kind: "restricted", Mode: "live",
		Owner: account, Account: account, Resource: object, Access: "read",
		Client:    netip.AddrFrom4([4]byte{203, byte(rank % 13), byte(rank % 251), byte(g.rng.IntN(4))}),
		UserAgent: g.agents[(rank+uint64(g.rng.IntN(2)))%uint64(len(g.agents))], APIVersion: []string{"2026-01-01", "2025-06-30.basil"}[rank%2],
		BytesOut: int64(200 + g.rng.IntN(4000)), UpstreamAddress: fmt.Sprintf("10.0.0.%d:8080", g.rng.IntN(4)), Node: "node-1", TLS: "1.3", Protocol: "HTTP/2.0",
	}
	if rank%5 == 0 {
		r.Mode, r.Kind, r.Sandbox = "sandbox", "secret", "sbx_"+r.Account[5:]
	}
	switch p := g.rng.IntN(100); {
	case p < 35: // makes something
		r.Method, r.Access, r.RequiredPermission = "POST", "write", object+"_write"
		r.BytesIn, r.IdempotencyKey = int64(50+g.rng.IntN(800)), g.text(22)
		r.Target = r.Path
	case p < 70: // asks for one thing
		r.Path += "/" + object[:2] + "_" + g.text(14)
		r.Target = r.Path
	default: // lists
		r.Query = "limit="
		r.Target = r.Path + "?limit=***"
	}
	switch p := g.rng.IntN(1000); {
	case p < 20:
		r.Status, r.Decision, r.Upstream = 401, "api_key_expired", 0
		r.ErrorType, r.ErrorCode, r.ErrorMessage = "authentication_error", "api_key_expired", "Expired API key provided: "+r.TokenMasked
	case p < 25:
		r.Status, r.ErrorType, r.ErrorCode, r.ErrorMessage = 402, "card_error", "card_declined", "Your card was declined."
	case p < 45:
		r.Status, r.ErrorType, r.ErrorCode, r.ErrorMessage = 404, "invalid_request_error", "resource_missing", "No such object: '"+r.Path[4:]+"'"
	case p < 55:
		r.Status, r.Decision, r.ErrorType, r.ErrorCode = 429, "rate_limit", "rate_limit_error", "rate_limit"
	case p < 60:
		r.Status, r.Decision, r.ErrorType, r.ErrorCode = 502, "upstream_unavailable", "api_error", "upstream_unavailable"
	}
}

// benchID is an id as one process makes them, of any time.
func benchID(at time.Time, n uint64) string {
	const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := []byte("req_00000000000Zx3kQ9pA")
	for i, v := 14, uint64(at.UnixMilli())<<20|n&(1<<20-1); v > 0; i, v = i-1, v/62 {
		b[i] = base62[v%62]
	}
	return string(b)
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
