package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/keystile/keystile/policy"
)

// Upstreams sends requests on by the mode of their key, so that no live key ever reaches a sandbox backend or the other
// way round, whatever stands after the directive.
//
// A mode's handler `reverse_proxy` has all of Caddy's options and two other defaults: 1,024 idle connections are kept to each
// backend, and of several backends one that cannot be reached is left out for ten seconds, while its requests go to the
// others. Ordinary requests to backends that speak plain HTTP/1.1 take a shorter way to them than Caddy's, which does the
// same with less work: the short way is for requests without a body or with one of known length up to 16 kB. Whatever needs
// more (upgrades, streams to the backend, TLS, options that rewrite or look at answers) goes through Caddy's proxy.
type Upstreams struct {
	// The handler for live keys. Default: none; live keys are refused.
	LiveRaw json.RawMessage `json:"live,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	// The handler for sandbox keys. Default: none; sandbox keys are refused.
	SandboxRaw json.RawMessage `json:"sandbox,omitempty" caddy:"namespace=http.handlers inline_key=handler"`

	live, sandbox caddyhttp.Handler
}

// provision loads the handlers.
func (u *Upstreams) provision(ctx caddy.Context) (err error) {
	if u.LiveRaw == nil && u.SandboxRaw == nil {
		return errors.New("none given")
	}
	if u.live, err = u.load(ctx, "LiveRaw", &u.LiveRaw); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	if u.sandbox, err = u.load(ctx, "SandboxRaw", &u.SandboxRaw); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

func (u *Upstreams) load(ctx caddy.Context, field string, raw *json.RawMessage) (_ caddyhttp.Handler, err error) {
	if *raw == nil {
		return nil, nil
	}
	if *raw, err = withForwardDefaults(*raw); err != nil {
		return nil, err
	}
	// The module keeps nothing of it that could be looked at later.
	throughProxy := bytes.Contains(*raw, []byte("network_proxy"))
	module, err := ctx.LoadModule(u, field)
	if err != nil {
		return nil, err
	}
	middleware, ok := module.(caddyhttp.MiddlewareHandler)
	if !ok {
		return nil, fmt.Errorf("%T is no HTTP handler", module)
	}
	proxy, ok := middleware.(*reverseproxy.Handler)
	if ok {
		encodeOnDemand(proxy)
	}
	if ok && !throughProxy {
		if short := newShortWay(proxy); short != nil {
			return short, nil
		}
	}
	return terminal{middleware}, nil
}

// cleanup closes the connections that are kept to backends. It may be called on what was provisioned by half.
func (u *Upstreams) cleanup() {
	for _, h := range []caddyhttp.Handler{u.live, u.sandbox} {
		if short, ok := h.(*shortWay); ok {
			short.close()
		}
	}
}

// terminal ends a chain of handlers.
type terminal struct{ caddyhttp.MiddlewareHandler }

func (t terminal) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	return t.MiddlewareHandler.ServeHTTP(w, r, nothing)
}

// nothing is what runs after the last handler.
var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// forMode picks the handler. A key of a mode without one has been refused by now; a request without a key, on an open
// route, goes to the live backend if there is one.
func (u *Upstreams) forMode(p *policy.Principal) caddyhttp.Handler {
	switch {
	case p != nil && p.Mode == policy.ModeLive && u.live != nil:
		return u.live
	case p != nil && p.Mode == policy.ModeSandbox && u.sandbox != nil:
		return u.sandbox
	case p == nil && u.live != nil:
		return u.live
	case p == nil && u.sandbox != nil:
		return u.sandbox
	default:
		return refusing // fail closed
	}
}

// refusing answers nobody.
var refusing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
	return caddyhttp.Error(http.StatusServiceUnavailable, errors.New("no upstream for the mode of this key"))
})

// isDialError says whether no connection to the backend came about.
func isDialError(err error) bool {
	var dial reverseproxy.DialError
	return errors.As(err, &dial)
}

// errSwitched is the failure of a backend that switches to a protocol which nobody has asked for.
var errSwitched = errors.New("the backend switches protocols unasked")

// switchedUnasked says whether Caddy's proxy has met a 101 that nobody has asked for, when it has written nothing: the client would take
// an empty 200 for the backend's answer.
func switchedUnasked(r *http.Request) bool {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	status, _ := repl.Get("http.reverse_proxy.status_code")
	return status == http.StatusSwitchingProtocols
}
