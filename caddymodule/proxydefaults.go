package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func init() {
	caddy.RegisterModule(proxyDefaults{})
}

// caddyIdle is how many idle connections reverse_proxy keeps to a backend if nothing is said.
const caddyIdle = 32

// proxyDefaults gives each reverse_proxy that stands behind the directive what suits a gateway: enough idle connections, and
// a logger that encodes a request only for an entry that is written. Caddy's own encodes every request for a line at level
// DEBUG, a tenth of its CPU time, before it asks whether the line is wanted.
//
// Handlers that stand behind the directive are loaded after it. So it is put where Caddy loads last: it is the one handler of
// a named route that nothing invokes. Nobody configures it.
type proxyDefaults struct{ idle int }

// proxyDefaultsRoute is a name that no Caddyfile can give to a route.
const proxyDefaultsRoute = "keystile: defaults of proxies"

// CaddyModule returns the Caddy module information.
func (proxyDefaults) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.keystile_proxy_defaults",
		New: func() caddy.Module { return new(proxyDefaults) },
	}
}

// addProxyDefaults is called while the server's first handler of ours is provisioned: what stands behind it is still JSON.
func addProxyDefaults(s *caddyhttp.Server) {
	if s == nil || s.NamedRoutes[proxyDefaultsRoute] != nil {
		return
	}
	text := `{"handler":"keystile_proxy_defaults","idle":1024}`
	for i := range s.Routes {
		for _, raw := range s.Routes[i].HandlersRaw {
			if bytes.Contains(raw, []byte("max_idle_conns_per_host")) {
				text = `{"handler":"keystile_proxy_defaults"}` // loaded, 32 that were asked for look like Caddy's own
			}
		}
	}
	if s.NamedRoutes == nil {
		s.NamedRoutes = make(map[string]*caddyhttp.Route)
	}
	s.NamedRoutes[proxyDefaultsRoute] = &caddyhttp.Route{HandlersRaw: []json.RawMessage{json.RawMessage(text)}}
}

// UnmarshalJSON reads what addProxyDefaults writes.
func (d *proxyDefaults) UnmarshalJSON(text []byte) error {
	var config struct {
		Idle int `json:"idle"`
	}
	err := json.Unmarshal(text, &config)
	d.idle = config.Idle
	return err
}

// Provision goes through the routes of the server, which are loaded, and not in use yet.
func (d *proxyDefaults) Provision(ctx caddy.Context) error {
	if s, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		d.walk(s.Routes, false)
	}
	return nil
}

// walk looks for proxies in routes that a request takes one after the other, and answers whether the directive was met.
func (d *proxyDefaults) walk(routes caddyhttp.RouteList, behind bool) bool {
	for i := range routes {
		met := behind
		for _, handler := range routes[i].Handlers {
			switch h := handler.(type) {
			case *Handler:
				met = true
			case *caddyhttp.Subroute:
				met = d.walk(h.Routes, met)
			case *reverseproxy.Handler:
				if met {
					d.apply(h)
				}
			}
		}
		behind = behind || met && !routes[i].Terminal
	}
	return behind
}

func (d *proxyDefaults) apply(p *reverseproxy.Handler) {
	encodeOnDemand(p)
	t, ok := p.Transport.(*reverseproxy.HTTPTransport)
	if ok && t.Transport != nil && t.Transport.MaxIdleConnsPerHost == caddyIdle && d.idle > 0 {
		t.Transport.MaxIdleConnsPerHost = d.idle
	}
}

// ServeHTTP is never called.
func (*proxyDefaults) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// encodeOnDemand makes the proxy's logger a lazy one, and answers whether it could. Caddy offers no way to it but the field
// itself; if a later Caddy has another one, the logger stays as it is, and a test says so.
func encodeOnDemand(p *reverseproxy.Handler) bool {
	field := reflect.ValueOf(p).Elem().FieldByName("logger")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*zap.Logger]() {
		return false
	}
	logger := (**zap.Logger)(field.Addr().UnsafePointer())
	if *logger == nil {
		return false
	}
	*logger = (*logger).WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return lazyFields{core} }))
	return true
}

// lazyFields encodes the fields that are added to a logger when an entry is written. Caddy's server does the same for its own
// loggers.
type lazyFields struct{ zapcore.Core }

// With keeps the fields as they are.
func (c lazyFields) With(fields []zapcore.Field) zapcore.Core {
	return zapcore.NewLazyWith(c.Core, fields)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*proxyDefaults)(nil)
	_ caddyhttp.MiddlewareHandler = (*proxyDefaults)(nil)
)
