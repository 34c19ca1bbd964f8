package caddymodule

import (
	"io"
	"net/http"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// frugalProxy is Caddy's own proxy in front of the frugal backend, as a production config has it.
func frugalProxy(b *testing.B) *reverseproxy.Handler {
	b.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	b.Cleanup(cancel)
	p := &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{&reverseproxy.Upstream{Dial: frugalBackend(b)}}}
	if err := p.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = p.Cleanup() })
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel)
	*(**zap.Logger)(reflect.ValueOf(p).Elem().FieldByName("logger").Addr().UnsafePointer()) = zap.New(core)
	return p
}

// BenchmarkUndisturbedProxy is Caddy's proxy alone, and behind the directive with what the directive makes of it: the same
// backend, the same requests, in the same run.
func BenchmarkUndisturbedProxy(b *testing.B) {
	g := newGateway(b, nil)
	_, token := g.restricted(readCustomers())
	plain, behind := frugalProxy(b), frugalProxy(b)
	new(proxyDefaults).apply(behind)
	w, server := &benchWriter{header: make(http.Header)}, new(caddyhttp.Server)
	through := func(h caddyhttp.MiddlewareHandler, next caddyhttp.Handler) func() {
		return func() {
			clear(w.header)
			r := benchRequest("GET", "/v1/customers/cus_123", "Bearer "+token)
			r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server)
			if err := h.ServeHTTP(w, r, next); err != nil {
				b.Fatal(err)
			}
		}
	}
	alone := through(plain, nothing)
	own := through(g.handler, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error { return behind.ServeHTTP(w, r, nothing) }))
	for b.Loop() { // one round is enough: it measures itself
		base, with := undisturbed(alone), undisturbed(own)
		b.ReportMetric(base, "proxy-ns/call")
		b.ReportMetric(with, "best-ns/call")
		b.ReportMetric(with/base, "x-proxy")
	}
}
