package caddymodule

import (
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// proxies are those of the running config in the order of its routes.
func (c *caddyProcess) proxies() (found []*reverseproxy.Handler) {
	c.t.Helper()
	app, err := activeApp()
	if err != nil {
		c.t.Fatal(err)
	}
	http, err := app.run.ctx.App("http")
	if err != nil {
		c.t.Fatal(err)
	}
	var walk func(caddyhttp.RouteList)
	walk = func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				switch h := handler.(type) {
				case *caddyhttp.Subroute:
					walk(h.Routes)
				case *reverseproxy.Handler:
					found = append(found, h)
				}
			}
		}
	}
	for _, server := range http.(*caddyhttp.App).Servers {
		walk(server.Routes)
	}
	return found
}

func isLazy(p *reverseproxy.Handler) bool {
	logger := *(**zap.Logger)(reflect.ValueOf(p).Elem().FieldByName("logger").Addr().UnsafePointer())
	_, lazy := logger.Core().(lazyFields)
	return lazy
}

// TestProxyDefaults: a reverse_proxy behind the directive, however deep, gets them; one before it, and what the operator has
// said of idle connections, stays as it is.
func TestProxyDefaults(t *testing.T) {
	c := newCaddy(t)
	for name, test := range map[string]struct {
		site string
		lazy []bool
		idle []int
	}{
		"behind":   {"keystile\nreverse_proxy 127.0.0.1:1", []bool{true}, []int{1024}},
		"in parts": {"keystile\nhandle /a/* {\nreverse_proxy 127.0.0.1:1\n}\nhandle {\nreverse_proxy 127.0.0.1:2\n}", []bool{true, true}, []int{1024, 1024}},
		"in route": {"route {\nreverse_proxy /open/* 127.0.0.1:1\nkeystile\nreverse_proxy 127.0.0.1:2\n}", []bool{false, true}, []int{32, 1024}},
		"said otherwise": {
			"keystile\nreverse_proxy 127.0.0.1:1 {\ntransport http {\nkeepalive_idle_conns_per_host 32\n}\n}", []bool{true}, []int{32},
		},
		"another site": {"keystile\n}\nhttp://127.0.0.2:4711 {\nreverse_proxy 127.0.0.1:1", []bool{false}, []int{32}},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			c.mustLoad(c.config("", wireCatalog, test.site))
			var lazy []bool
			var idle []int
			for _, p := range c.proxies() {
				lazy = append(lazy, isLazy(p))
				idle = append(idle, p.Transport.(*reverseproxy.HTTPTransport).Transport.MaxIdleConnsPerHost)
			}
			if !reflect.DeepEqual(lazy, test.lazy) || !reflect.DeepEqual(idle, test.idle) {
				t.Errorf("lazy %v, want %v; idle connections %v, want %v", lazy, test.lazy, idle, test.idle)
			}
		})
	}
	c.t = t
}

// TestLazyFields: nothing is encoded for a line that is not written; one that is has all its fields.
func TestLazyFields(t *testing.T) {
	core, entries := observer.New(zap.InfoLevel)
	logger := zap.New(lazyFields{core})
	encoded := 0
	counted := zap.Inline(zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
		encoded++
		enc.AddString("request", "GET /")
		return nil
	}))
	with := logger.With(counted)
	if c := with.Check(zap.DebugLevel, "upstream roundtrip"); c != nil || encoded != 0 {
		t.Errorf("a line at level DEBUG: %v, %d times encoded", c, encoded)
	}
	with.Error("aborting with incomplete response")
	if all := entries.All(); len(all) != 1 || all[0].ContextMap()["request"] != "GET /" {
		t.Errorf("the entry is %v", all)
	}
}
