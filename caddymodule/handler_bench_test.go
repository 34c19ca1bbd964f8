package caddymodule

import (
	"net/http"
	"net/url"
	"testing"

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

// BenchmarkStrip is the pass over the headers of a request alone.
func BenchmarkStrip(b *testing.B) {
	screen := newHeaderScreen(testHeaders, "", nil)
	h := benchRequest("GET", "/", "Bearer x").Header
	b.ReportAllocs()
	for b.Loop() {
		screen.strip(h, false)
	}
}
