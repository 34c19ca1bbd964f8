package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/policy"
)

func init() {
	caddy.RegisterModule(AdminSite{})
	httpcaddyfile.RegisterHandlerDirective("keystile_admin", parseAdminSite)
	// Before the directives that answer: a fallback like `respond 404` must not hide it. What redirects, rewrites or asks for
	// a login comes earlier.
	httpcaddyfile.RegisterDirectiveOrder("keystile_admin", httpcaddyfile.Before, "respond")
}

// AdminSite serves Keystile's dashboard at /, and its admin API under /v1, to callers with an admin token
// (`Authorization: Bearer adm_…`) and to members who have signed in (a cookie). The API's document at /v1/openapi.json and its
// readable form at /v1/docs are open. It answers every request and calls no handler after it.
//
// With the app's `verification log` it must listen on loopback addresses only: anything else is refused at load.
//
// Requests that a browser makes for another site are refused. An address that tries ten invalid tokens is locked out for a
// minute, with whatever token it comes then; who the client is behind a proxy is told by Caddy's `trusted_proxies`.
//
// It needs the app `keystile`, and makes it with its defaults if the configuration has none.
type AdminSite struct {
	app    *App
	server *caddyhttp.Server // nil outside of a server
	ending context.Context   // done when the server begins to shut down
	log    *accessLog        // keeps verification codes out of Caddy's
}

// CaddyModule returns the Caddy module information.
func (AdminSite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.keystile_admin",
		New: func() caddy.Module { return new(AdminSite) },
	}
}

// Provision finds the app, and sees to it that event streams end with the server: it would wait for them for ever.
func (s *AdminSite) Provision(ctx caddy.Context) error {
	app, err := ctx.App("keystile")
	if err != nil {
		return fmt.Errorf("getting keystile app: %w", err)
	}
	s.app = app.(*App)
	s.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if err := s.app.checkLoopback(s.server); err != nil {
		return err
	}
	s.log = newAccessLog(ctx, s.server, auth.VerificationCodeHeader)
	ending, end := context.WithCancel(context.Background())
	s.ending = ending
	if s.server != nil {
		s.server.RegisterOnShutdown(end)
	}
	context.AfterFunc(ctx, end)
	return nil
}

// tailPath is the API's one call that has no end of its own; the dashboard passes it on at a path of its own.
const (
	tailPath     = "/v1/request_logs/tail"
	pageTailPath = "/logs/tail"
)

// ServeHTTP answers one request. The next handler is never called: a site's fallback must not answer in the API's place.
func (s *AdminSite) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if e := s.log.begin(w, r); e != nil {
		recorder, began := caddyhttp.NewResponseRecorder(w, nil, nil), time.Now()
		w = recorder
		defer func() { e.write(recorder, time.Since(began)) }()
	}
	api.Receive(w, r) // before the first answer
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	if foreignOrigin(r) {
		return writeAdminError(w, http.StatusForbidden, string(api.TypeInvalidRequest), "cross_origin_refused",
			"This request was made by a page of another site. The admin API answers programs, and pages of its own site.")
	}
	handler, err := s.app.run.site()
	if err != nil {
		s.app.run.settings.logger.Error("admin API is unavailable", zap.Error(err))
		return writeAdminError(w, http.StatusServiceUnavailable, string(api.TypeAPI), policy.ReasonGatewayUnavailable.Code(),
			"The key store is not open.")
	}
	ctx := r.Context()
	if r.URL.Path == tailPath || strings.HasSuffix(r.URL.Path, pageTailPath) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
	}
	trusted := trustedPeer(ctx)
	client := auth.Client{
		Address: clientAddress(r, s.server, trusted), Secure: r.TLS != nil || trusted && forwardedTLS(r), Prefix: mountPrefix(r),
	}
	handler.ServeHTTP(w, r.WithContext(auth.WithClient(ctx, client)))
	return nil
}

// foreignOrigin says whether a browser made the request for another site. It goes further than net/http's
// CrossOriginProtection, which lets reads through: nothing here is for other sites to read. Following a link to the
// documentation is no such request. Programs send neither header.
func foreignOrigin(r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		// "null" is the origin of sandboxed pages and files: nobody's. It is also what browsers make of ours in a form of a page
		// that tells no referrer, as the dashboard's do; they then say that it is the same one.
		if origin == "null" && ownForm(r) {
			continue
		}
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return true
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		if site == "same-origin" || site == "none" {
			continue
		}
		followed := r.Header.Get("Sec-Fetch-Mode") == "navigate" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
		if !followed {
			return true
		}
	}
	return false
}

// ownForm says whether the browser itself says that a page of ours sent the form. Pages cannot set this header; a sandboxed page
// and a file are cross-site to it.
func ownForm(r *http.Request) bool {
	lines := r.Header.Values("Sec-Fetch-Site")
	return len(lines) == 1 && lines[0] == "same-origin" && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// newSiteAdmin builds the admin API for sites.
func (a *App) newSiteAdmin() (http.Handler, error) {
	g, err := a.open()
	if err != nil {
		return nil, err
	}
	tokens := &auth.Tokens{Store: g.store, Now: g.now}
	mount := &auth.Mount{Sessions: a.run.store.sessions, Tokens: func(r *http.Request, client auth.Client) (*auth.Caller, error) {
		return g.admit(tokens, r, client.Address)
	}}
	config := a.apiConfig(g)
	config.Tokens = true
	config.Sessions, config.Caller = mount.Sessions, mount.Caller
	config.Verifier = auth.NewVerifier(mount.Sessions, g.members.codes)
	if g.members.oidc != nil {
		if config.OIDC, err = auth.NewOIDC(mount.Sessions, *g.members.oidc); err != nil {
			return nil, fmt.Errorf("oidc: %w", err)
		}
	}
	handler, err := api.New(config)
	if err != nil {
		return nil, err
	}
	pages, err := a.newDashboard(g, handler)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1" || strings.HasPrefix(r.URL.Path, "/v1/") || strings.HasPrefix(r.URL.Path, "/.well-known/") {
			handler.ServeHTTP(w, r)
			return
		}
		pages.ServeHTTP(w, r)
	}), nil
}

// forwardedTLS says whether a trusted proxy speaks TLS with the client.
func forwardedTLS(r *http.Request) bool {
	lines := r.Header.Values("X-Forwarded-Proto")
	return len(lines) == 1 && strings.EqualFold(lines[0], "https")
}

// admit finds the caller of a request, unless its address is locked out. Only invalid tokens count: none at all and an
// expired one are no guesses.
func (g *gate) admit(tokens *auth.Tokens, r *http.Request, client netip.Addr) (*auth.Caller, error) {
	now := g.now()
	if wait := g.lockout.locked(client, now); wait > 0 {
		return nil, &auth.Refusal{
			Status: http.StatusTooManyRequests, Code: auth.CodeLocked, RetryAfter: wait,
			Message: "too many invalid tokens came from this address: it is locked out for a while",
		}
	}
	caller, err := tokens.Caller(r, client)
	if refusal, ok := err.(*auth.Refusal); ok && refusal.Guess { //nolint:errorlint // its documented type
		g.lockout.allow(client, now)
		if g.lockout.locked(client, now) > 0 {
			g.logger.Warn("locked an address out of the admin site: too many invalid tokens", zap.Stringer("address", client))
		}
	}
	return caller, err
}

// parseAdminSite sets up the handler of the directive. Syntax:
//
//	keystile_admin [<matcher>]
func parseAdminSite(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	site := new(AdminSite)
	if err := site.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return site, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. It has no options.
func (*AdminSite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return refuseBlock(d, "keystile_admin")
}

// Interface guards
var (
	_ caddy.Module                = (*AdminSite)(nil)
	_ caddy.Provisioner           = (*AdminSite)(nil)
	_ caddyfile.Unmarshaler       = (*AdminSite)(nil)
	_ caddyhttp.MiddlewareHandler = (*AdminSite)(nil)
)
