package caddymodule

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// benchWriter is a response writer that keeps nothing.
type benchWriter struct{ header http.Header }

func (w *benchWriter) Header() http.Header         { return w.header }
func (w *benchWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *benchWriter) WriteHeader(int)             {}

// benchRequest is a request as clients of the API send it, made anew for each round as the server does.
func benchRequest(method, path, authorization string) *http.Request {
	return &http.Request{
		Method: method, URL: &url.URL{Path: path}, RequestURI: path, Host: "api.example.com",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "198.51.100.9:4711", Body: http.NoBody,
		Header: http.Header{
			"Accept":                     {"*/*"},
			"Accept-Encoding":            {"gzip"},
			"Authorization":              {authorization},
			"Content-Type":               {"application/x-www-form-urlencoded"},
			"Stripe-Version":             {"2024-06-20"},
			"User-Agent":                 {"Stripe/v1 GoBindings/85.0.0"},
			"X-Stripe-Client-User-Agent": {`{"bindings_version":"85.0.0","lang":"go"}`},
		},
	}
}

// BenchmarkHandler is the whole handler with a next handler that does nothing. "caddy" is what the rounds cost without
// it: making the request, and what Caddy's server prepares for each. Subtract it.
func BenchmarkHandler(b *testing.B) {
	g := newGateway(b, nil)
	_, narrow := g.restricted(readCustomers())
	_, limited := g.key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"198.51.100.0/24"}})
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	cases := []struct{ name, method, path, authorization string }{
		{"caddy", "GET", "/v1/charges", "Bearer " + g.live},
		{"secret", "GET", "/v1/charges", "Bearer " + g.live},
		{"restricted", "GET", "/v1/customers/cus_123", "Bearer " + narrow},
		{"sandbox", "POST", "/v1/charges", "Bearer " + g.test},
		{"limited", "GET", "/v1/charges", "Bearer " + limited},
		{"denied", "POST", "/v1/customers", "Bearer " + narrow},
		{"missing", "GET", "/v1/charges", ""},
		{"throttled", "GET", "/v1/charges", "Bearer sk_live_guess"},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			w := &benchWriter{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				r := benchRequest(c.method, c.path, c.authorization)
				if c.authorization == "" {
					delete(r.Header, "Authorization")
				}
				clear(w.header)
				r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
				if c.name == "caddy" {
					continue
				}
				if err := g.handler.ServeHTTP(w, r, next); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecision is the way from the headers to the decision alone. It does not allocate on a hit in the cache.
func BenchmarkDecision(b *testing.B) {
	g := newGateway(b, nil)
	r := caddyhttp.PrepareRequest(benchRequest("GET", "/v1/charges", ""), caddy.NewReplacer(), nil, nil)
	credential := []string{"Bearer " + g.live}
	x := &exchange{handler: g.handler, gate: g.handler.app.gate()}
	x.start = x.gate.now()
	b.ReportAllocs()
	for b.Loop() {
		r.Header["Authorization"] = credential
		x.verdict, x.mask = verdict{}, ""
		x.judge(r)
		if !x.verdict.decision.Allowed() {
			b.Fatal(x.verdict.decision.Reason)
		}
	}
}

// TestAllocationsOfTheHandler guards what the benchmarks show: nothing from the headers to the decision, and eight
// allocations for the whole handler with identity headers, placeholders and record.
func TestAllocationsOfTheHandler(t *testing.T) {
	g := newGateway(t, nil)
	r := caddyhttp.PrepareRequest(benchRequest("GET", "/v1/charges", ""), caddy.NewReplacer(), nil, nil)
	credential := []string{"Bearer " + g.live}
	x := &exchange{handler: g.handler, gate: g.handler.app.gate()}
	x.start = x.gate.now()
	judge := func() {
		r.Header["Authorization"] = credential
		x.verdict, x.mask = verdict{}, ""
		x.judge(r)
	}
	digest := policy.DigestOf(g.live)
	for i := 0; ; i++ { // the cache fills itself in the background
		if _, cached := g.store.Lookup(&digest); cached {
			break
		}
		if i == 10_000 {
			t.Fatal("the key does not get into the cache")
		}
		time.Sleep(time.Millisecond)
	}
	decision := testing.AllocsPerRun(1000, judge)
	if !x.verdict.decision.Allowed() {
		t.Fatalf("decision %v, want allowed", x.verdict.decision.Reason)
	}

	w := &benchWriter{header: make(http.Header)}
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	prepare := func() *http.Request {
		clear(w.header)
		return caddyhttp.PrepareRequest(benchRequest("GET", "/v1/charges", credential[0]), caddy.NewReplacer(), w, nil)
	}
	without := testing.AllocsPerRun(1000, func() { prepare() })
	with := testing.AllocsPerRun(1000, func() { _ = g.handler.ServeHTTP(w, prepare(), next) })
	if raceEnabled {
		t.Logf("under the race detector, where more is allocated: decision %v, handler %v", decision, with-without)
		return
	}
	if decision != 0 {
		t.Errorf("from the headers to the decision: %v allocations, want none", decision)
	}
	if with-without > 8 {
		t.Errorf("the whole handler: %v allocations, want at most 8", with-without)
	}
}

// BenchmarkStrip is the pass over the headers of a request alone.
func BenchmarkStrip(b *testing.B) {
	screen := newHeaderScreen(testHeaders, "", nil)
	h := benchRequest("GET", "/", "Bearer x").Header
	b.ReportAllocs()
	for b.Loop() {
		screen.strip(h, false)
	}
}
