package caddymodule

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Health{})
	httpcaddyfile.RegisterHandlerDirective("keystile_health", parseHealth)
	httpcaddyfile.RegisterDirectiveOrder("keystile_health", httpcaddyfile.Before, "respond")
}

// Health tells load balancers whether to send requests to this gateway: 200 while it judges keys, 503 while it has no key store,
// while it is cut off from a shared one for longer than max_staleness, and while the server is shutting down (see Caddy's
// `shutdown_delay`). It answers every request, needs no key, writes no record, and tells nothing else.
//
// It needs the app `keystile`, and makes it with its defaults if the configuration has none.
type Health struct{ app *App }

// CaddyModule returns the Caddy module information.
func (Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.keystile_health",
		New: func() caddy.Module { return new(Health) },
	}
}

// Provision finds the app.
func (h *Health) Provision(ctx caddy.Context) error {
	app, err := ctx.App("keystile")
	if err != nil {
		return fmt.Errorf("getting keystile app: %w", err)
	}
	h.app = app.(*App)
	return nil
}

// ServeHTTP answers one request. The next handler is never called.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	status, text := http.StatusOK, "ok"
	if why := h.unfit(r); why != "" {
		status, text = http.StatusServiceUnavailable, why
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	settleBody(w, r, r.Body, w.Header(), withDenied)
	w.WriteHeader(status)
	_, err := w.Write([]byte(text + "\n"))
	return err
}

// unfit says why this gateway should get no requests, "" if it should.
func (h *Health) unfit(r *http.Request) string {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if ending, _ := repl.Get("http.shutting_down"); ending == true {
			return "shutting down"
		}
	}
	g := h.app.gate()
	switch {
	case g == nil:
		return "the key store is not open"
	case g.store.Stale(time.Now()):
		return "cut off from the key store for longer than max_staleness"
	}
	return ""
}

// parseHealth sets up the handler of the directive. Syntax:
//
//	keystile_health [<matcher>]
func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	health := new(Health)
	if err := health.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return health, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. It has no options.
func (*Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return refuseBlock(d, "keystile_health")
}

// Interface guards
var (
	_ caddy.Module                = (*Health)(nil)
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddyfile.Unmarshaler       = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
)
