package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/keystile/keystile/policy"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler checks the API key of every request and lets only allowed requests reach the handlers after it. Requests that
// are not allowed are answered with a JSON error. Each request leaves one record in the request log.
//
// It should cover a whole site, with `open` for what needs no key: a route that is limited to paths leaves other spellings
// of these paths to other handlers, with whatever identity headers the client sends.
//
// An OPTIONS request that is allowed, and that no rule of the catalog names, is answered with 204 and Allow.
//
// Of the protocols that a request may ask to switch to, WebSocket is served; a request for another one goes on as an ordinary
// request.
//
// It needs the app `keystile`, and makes it with its defaults if the configuration has none.
//
// This handler sets the following placeholders, "" where there is nothing to say:
//
// Placeholder | Description
// ------------|-------------
// `{keystile.request_id}` | The id of the request, also in the answer's Request-Id
// `{keystile.decision}` | `allowed`, `open`, `preflight`, or the error code
// `{keystile.required_permission}` | What the route asks for, as `charges_write`
// `{keystile.mode}` | `live` or `sandbox`
// `{keystile.account}` | The account acted on
// `{keystile.owner}` | The account or organization that holds the key
// `{keystile.connected}` | Whether the account acted on is a connected one
// `{keystile.sandbox}` | The sandbox acted in
// `{keystile.key_id}` | The id of the key; `{http.auth.user.id}` is the same
// `{keystile.key_kind}` | `secret`, `publishable`, `restricted` or `organization`
// `{keystile.resource}` | The resource of the route in the catalog
// `{keystile.access}` | The access that the route asks for, `read` or `write`
// `{keystile.version}` | The API version in force
type Handler struct {
	// Which keys are served: `live`, `sandbox` or `any`. A key of the other mode is refused. Default: `any`.
	Mode string `json:"mode,omitempty"`

	// Path patterns of routes that need no key. A key that is presented there is checked as everywhere; without one the
	// headers that name an account are not handed on, and a version must still be one that is served. Default: none.
	Open []string `json:"open,omitempty"`

	// The handlers that requests are sent to by the mode of their key, in place of the handlers after this one. A mode
	// without a handler is refused. Default: all requests go to the handlers after this one.
	Upstreams *Upstreams `json:"upstreams,omitempty"`

	// Whether handlers after this one, or upstreams, may rewrite the path or the method. What is decided on is the request as
	// it comes to this handler, so such a configuration is refused unless this says that the catalog is written for the
	// paths that clients send. Rewrites before this handler, and of the query alone, are always fine. Default: false.
	AllowRewrites bool `json:"allow_rewrites,omitempty"`

	// A further header that may carry the key, bare. Default: none; only Authorization is read. Caddy's logs show it as
	// REDACTED for requests that reach this handler; others are logged as they come.
	KeyHeader string `json:"key_header,omitempty"`

	// The origins whose scripts may call the API from a browser: `*`, or a list of scheme and host. Default: `*`.
	CORSOrigins []string `json:"cors_origins,omitempty"`

	// Whether allowed requests of a checked key carry a signed assertion to the backend, in the header `Keystile-Assertion`
	// (under the configured prefix): a JSON Web Token, signed with EdDSA over Ed25519, that is valid for 60 seconds. Its
	// public keys are a JSON Web Key Set at `/.well-known/jwks.json` of the admin API; on Caddy's admin endpoint that is
	// `/keystile/.well-known/jwks.json`. Its claims: `iss` is `keystile`, `sub` the id of the key, `aud` the host of the
	// request in lower case without its port, `iat`, `exp`, `jti` the request id; `kind`, `mode`, `account`, and, each only
	// where the identity header of that name is sent, `owner`, `connected` (true), `sandbox`, `resource`, `access`,
	// `version`; `method`, and `path`, decoded and without query, both as they were decided on. If no assertion can be made,
	// the request is refused with 503. Default: false.
	Sign bool `json:"sign,omitempty"`

	// What becomes of requests while the request log has no room for their records: `drop` lets them pass and counts the
	// records that are lost, `deny` refuses them with 503. Either way the records of what was refused without a key, or with one
	// that nobody has, are given up first (beyond half of the queue), then those of open routes, publishable keys and keys that
	// have ended (beyond five eighths, where `deny` begins to refuse such requests), so that nobody without a good key can take
	// the room of those with one. Default: `drop`.
	OnOverload string `json:"on_overload,omitempty"`

	// What of the headers and bodies of requests is kept in the request log. Default: nothing.
	Capture *CaptureConfig `json:"capture,omitempty"`

	// Who writes the answer to a request that is not allowed: `json`, the gateway; `handle_errors`, the error routes of
	// the site, with the status and the placeholders above. Default: `json`.
	Denials string `json:"denials,omitempty"`

	// A page on each error, whose address the error answers carry; `{code}` stands for the error code. Default: none.
	DocURL string `json:"doc_url,omitempty"`

	app     *App
	server  *caddyhttp.Server // nil outside of a server
	headers headerNames
	names   identityNames
	screen  *headerScreen
	cors    *crossOrigin
	rules   *policy.Rules
	keyName string // canonical KeyHeader, "" for none
	access  *accessLog
	asserts *asserter // nil: the site does not sign
	deny503 bool      // on_overload deny

	unreachable, unsigned *logLimit
	capture               *capturePlan
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.keystile",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision compiles what each request needs.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("keystile")
	if err != nil {
		return fmt.Errorf("getting keystile app: %w", err)
	}
	h.app = app.(*App)
	h.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if err := h.compile(h.app.config()); err != nil {
		return err
	}
	if err := h.checkPlace(ctx); err != nil {
		return err
	}
	h.access = newAccessLog(ctx, h.server, h.keyName)
	addProxyDefaults(h.server)
	if h.Upstreams != nil {
		if err := h.Upstreams.provision(ctx); err != nil {
			return fmt.Errorf("upstreams: %w", err)
		}
	} else if h.rules.Live && h.rules.Sandbox {
		h.app.config().logger.Info("live and sandbox keys are served by the same handlers: the backend must keep them apart by " +
			h.names.mode)
	}
	h.app.registerSite(h)
	return nil
}

// compile turns the words of the configuration into what a request needs.
func (h *Handler) compile(s *settings) (err error) {
	h.headers = s.headers
	h.names = newIdentityNames(s.headers.prefix)
	h.keyName = textproto.CanonicalMIMEHeaderKey(h.KeyHeader)
	h.deny503 = h.OnOverload == "deny"
	h.unreachable, h.unsigned = new(logLimit), new(logLimit)
	if h.capture, err = h.Capture.compile(h.keyName); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	h.asserts = newAsserter(h.Sign, s.headers.prefix)
	var addresses []string
	if h.server != nil {
		addresses = h.server.ClientIPHeaders
	}
	h.screen = newHeaderScreen(s.headers, h.keyName, addresses)
	if h.cors, err = newCrossOrigin(h.CORSOrigins, s.headers, h.keyName); err != nil {
		return err
	}
	h.rules = &policy.Rules{
		Catalog: s.catalog, Version: s.version,
		Live: h.Mode != "sandbox", Sandbox: h.Mode != "live",
		ContextHeader: s.headers.context, AccountHeader: s.headers.account, VersionHeader: s.headers.version,
	}
	if len(h.Open) > 0 {
		if h.rules.Open, err = policy.NewPathSet(h.Open); err != nil {
			return fmt.Errorf("open: %w", err)
		}
	}
	if h.Upstreams != nil {
		h.rules.Live = h.rules.Live && h.Upstreams.LiveRaw != nil
		h.rules.Sandbox = h.rules.Sandbox && h.Upstreams.SandboxRaw != nil
	}
	return nil
}

// Validate refuses what a JSON configuration could get wrong.
func (h *Handler) Validate() error {
	if err := oneOf("mode", h.Mode, "live", "sandbox", "any"); err != nil {
		return err
	}
	if err := oneOf("on_overload", h.OnOverload, "drop", "deny"); err != nil {
		return err
	}
	if err := oneOf("denials", h.Denials, "json", "handle_errors"); err != nil {
		return err
	}
	if err := h.validateKeyHeader(); err != nil {
		return err
	}
	if h.DocURL != "" {
		u, err := url.Parse(strings.ReplaceAll(h.DocURL, "{code}", "code"))
		if err != nil || u.Scheme == "" || u.Host == "" {
			return fmt.Errorf("doc_url: %q is no address; write it whole, as https://docs.example.com/errors#{code}", h.DocURL)
		}
	}
	if h.Upstreams != nil && !h.rules.Live && !h.rules.Sandbox {
		return fmt.Errorf("upstreams: none is for mode %q, so that every key would be refused", h.Mode)
	}
	return nil
}

// validateKeyHeader refuses names that mean something else already.
func (h *Handler) validateKeyHeader() error {
	if h.KeyHeader == "" {
		return nil
	}
	if !httpguts.ValidHeaderFieldName(h.KeyHeader) {
		return fmt.Errorf("key_header: %q is no header name", h.KeyHeader)
	}
	class, _ := newHeaderScreen(h.headers, "", nil).classify(h.KeyHeader)
	if class != classPlain || reservedHeaders[http.CanonicalHeaderKey(h.KeyHeader)] {
		return fmt.Errorf("key_header: %s has a meaning already; choose another name, as X-Api-Key", http.CanonicalHeaderKey(h.KeyHeader))
	}
	if strings.ContainsAny(h.KeyHeader, "_.") {
		return errors.New("key_header: Caddy drops headers with '_' and '.' in their names; use '-'")
	}
	return nil
}

func oneOf(field, value string, known ...string) error {
	if value == "" {
		return nil
	}
	for _, k := range known {
		if value == k {
			return nil
		}
	}
	return fmt.Errorf("%s: %q is none of %s", field, value, strings.Join(known, ", "))
}

// Cleanup closes the connections to backends.
func (h *Handler) Cleanup() error {
	if h.Upstreams != nil {
		h.Upstreams.cleanup()
	}
	return nil
}

// siteRules are what this site demands of a request, for explanations.
func (h *Handler) siteRules() *policy.Rules { return h.rules }

// denialsByCaddy says whether denials go to the site's error routes.
func (h *Handler) denialsByCaddy() bool { return h.Denials == "handle_errors" }

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
