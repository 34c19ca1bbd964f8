package caddymodule

import (
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
	if u.live, err = u.load(ctx, "LiveRaw", u.LiveRaw != nil); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	if u.sandbox, err = u.load(ctx, "SandboxRaw", u.SandboxRaw != nil); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

func (u *Upstreams) load(ctx caddy.Context, field string, given bool) (caddyhttp.Handler, error) {
	if !given {
		return nil, nil
	}
	module, err := ctx.LoadModule(u, field)
	if err != nil {
		return nil, err
	}
	middleware, ok := module.(caddyhttp.MiddlewareHandler)
	if !ok {
		return nil, fmt.Errorf("%T is no HTTP handler", module)
	}
	return terminal{middleware}, nil
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
