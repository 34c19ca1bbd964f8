package caddymodule

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
)

// undisturbed is the time of one call in the fastest of many short batches: on a machine that does something else now and
// then, that is the batch in which it did not.
func undisturbed(call func()) float64 {
	const batches, calls = 500, 50
	best := math.MaxFloat64
	for range batches {
		began := time.Now()
		for range calls {
			call()
		}
		best = min(best, float64(time.Since(began))/calls)
	}
	return best
}

// BenchmarkUndisturbed tells what busy machines tell too: the fastest batch, and the whole handler against what Caddy's
// server prepares for each request anyway, measured in the same run.
func BenchmarkUndisturbed(b *testing.B) {
	g := newGateway(b, nil)
	_, narrow := g.restricted(readCustomers())
	w := &benchWriter{header: make(http.Header)}
	prepare := func(authorization string) *http.Request {
		clear(w.header)
		return caddyhttp.PrepareRequest(benchRequest("GET", "/v1/customers/cus_123", authorization), caddy.NewReplacer(), w, nil)
	}
	through := func(authorization string) func() {
		return func() { _ = g.handler.ServeHTTP(w, prepare(authorization), nothing) }
	}
	r := prepare("")
	credential := []string{"Bearer " + narrow}
	x := &exchange{handler: g.handler, gate: g.handler.app.gate()}
	x.start = x.gate.now()
	digest := policy.DigestOf(narrow)
	r.Header["Authorization"] = credential
	x.judge(r)
	report := func(name string, call func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() { // one round is enough: it measures itself
				base := undisturbed(func() { prepare("Bearer " + narrow) })
				own := undisturbed(call)
				b.ReportMetric(own, "best-ns/call")
				b.ReportMetric(own/base, "x-caddy")
			}
		})
	}
	report("good", through("Bearer "+narrow))
	report("bad", through("Bearer rk_live_00000000000000000000000000000000000000"))
	report("none", through(""))
	report("lookup", func() { g.store.Lookup(&digest) })
	report("verdict", func() { // from the token to the verdict, with the headers read
		key := x.lookup(narrow, false)
		_ = x.handler.rules.Decide(&key.Principal, &x.question, x.gate.store.Directory(), x.start)
	})
	report("decision", func() {
		r.Header["Authorization"] = credential
		x.verdict, x.mask = verdict{}, ""
		x.judge(r)
	})
	short := frugalShortWay(b)
	_, token := short.restricted(readCustomers())
	report("short way", func() { _ = short.handler.ServeHTTP(w, prepare("Bearer "+token), nothing) })
}
