package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// Config is what the admin API needs of the process around it.
type Config struct {
	// Store holds the keys. It must be set.
	Store *keystore.Store

	// Log holds the request records. It must be set.
	Log *requestlog.Log

	// Catalog answers the catalog in force: what permissions can be given on. It is asked on every call that needs it,
	// because a reload may have changed it. It must be set; it may answer nil, and then no permission can be given.
	Catalog func() *policy.Catalog

	// Rules answers the rules of the site that serves host, for explain; "" asks for the only or the default site. nil:
	// no site serves it. It must be set.
	Rules func(host string) *policy.Rules

	// Caller says who calls, and what they may do. Authentication is the mounting side's: an error ends the call, as it is
	// if it is an *Error or an *auth.Refusal, else as a bare 401. It must be set: fail closed, an API that forgot to ask who
	// calls does not come up.
	Caller func(*http.Request) (*auth.Caller, error)

	// Sessions signs members in and out. nil: the mounting side has no members' sessions, and the API no calls about them.
	Sessions *auth.Sessions

	// Verifier asks signed-in members for a code before they do what a stolen session must not do. It must be set if Sessions
	// is.
	Verifier *auth.Verifier

	// OIDC signs members in by an identity provider; nil: there is none.
	OIDC *auth.OIDC

	// SiteURL is where members sign in, such as https://keys.example.com, for the links of invitations; "" if that is not
	// known. It is asked on every call that needs it. Default: not known.
	SiteURL func() string

	// Mail sends an invitation to the member's e-mail address. nil, or an error: the link is answered instead, to be handed
	// over in another way.
	Mail func(ctx context.Context, m *keystore.Member, link policy.Token) error

	// Tokens says that the mounting side asks for admin tokens. It changes nothing but the document, which then says so.
	Tokens bool

	// Idempotency keeps the answers of POSTs with an Idempotency-Key for 24 h. Share one among handlers that serve the
	// same store, and keep it over a reload. Default: a new StoreIdempotency.
	Idempotency IdempotencyStore

	// Node is this node's name in answers that list the nodes of the fleet. Default: "local".
	Node string

	// BasePath is the prefix under which the mounting side serves this handler, for the document: "/keystile". Default "".
	BasePath string

	// PrivateWebhooks says that webhooks may go to addresses that are not public, and by plain HTTP. The deliveries are held
	// to that elsewhere: here it decides what is accepted.
	PrivateWebhooks bool

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Logger takes what the caller must not see: the causes of 500s. Default: none.
	Logger *zap.Logger
}

// API serves the admin API. It is safe for concurrent use.
type API struct {
	Config

	router     router
	registry   huma.Registry
	document   *huma.OpenAPI
	operations []*huma.Operation // of the document, in the order in which they were registered
	openapi    []byte            // the document as it is served
	docs       []byte            // the same as a page

	exports shares // of request records, that run
	tails   shares // live tails that are open
	imports rests  // of customers whose import was long
}

// New checks the config and builds the handler of /v1/… and of KeySetPath.
func New(c Config) (http.Handler, error) {
	switch {
	case c.Store == nil:
		return nil, errors.New("admin API: Store is missing")
	case c.Log == nil:
		return nil, errors.New("admin API: Log is missing")
	case c.Catalog == nil:
		return nil, errors.New("admin API: Catalog is missing")
	case c.Rules == nil:
		return nil, errors.New("admin API: Rules is missing")
	case c.Caller == nil:
		return nil, errors.New("admin API: Caller is missing")
	case c.Sessions != nil && c.Verifier == nil:
		return nil, errors.New("admin API: Verifier is missing") // fail closed: nobody forgets to ask
	}
	if c.Node == "" {
		c.Node = "local"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Idempotency == nil {
		c.Idempotency = NewStoreIdempotency(c.Store, c.Now)
	}
	if c.SiteURL == nil {
		c.SiteURL = func() string { return "" }
	}
	a := &API{
		Config:  c,
		exports: shares{all: maxExports, customers: maxExports * 3 / 4, customer: maxExports * 3 / 8},
		tails:   shares{all: maxTails, customers: maxTails * 3 / 4, customer: maxTails / 4},
	}
	a.newDocument()
	a.registerOrganizations()
	a.registerAccounts()
	a.registerSandboxes()
	a.registerKeys()
	a.registerKeyLife()
	a.registerSchedule()
	a.registerKeyUsage()
	a.registerImport()
	a.registerKeyFiles()
	a.registerKeyExport()
	a.registerEvents()
	if !a.Tokens { // the whole store is for who has the machine, and for no token
		a.registerBackup()
		a.registerMasterKey()
	}
	a.registerResources()
	a.registerExplain()
	a.registerRequestLogs()
	a.registerKeySet()
	a.registerAdminTokens()
	a.registerMembers()
	if a.Sessions != nil {
		a.registerSessions()
		a.registerOwnCredentials()
		a.registerVerifications()
		if a.OIDC != nil {
			a.registerOIDC()
		}
	}
	a.registerWebhooks()
	a.registerNodes()
	if err := a.registerDocument(); err != nil {
		return nil, fmt.Errorf("admin API: building the OpenAPI document: %w", err)
	}
	return a, nil
}

// ServeHTTP answers one call.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := a.Now()
	c := &call{api: a, w: w, r: r, ctx: r.Context(), now: now, id: requestlog.NewID(now)}
	h := w.Header()
	h.Set("Request-Id", c.id)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	defer c.recoverPanic()

	route, params, found := a.router.match(r.URL.EscapedPath())
	if !found {
		c.fail(newError(http.StatusNotFound, codePathUnknown, "",
			"unknown path; /v1/docs lists what there is (paths have no trailing slash)"))
		return
	}
	serve := route.method(r.Method)
	if serve == nil {
		h.Set("Allow", strings.Join(route.allow(), ", "))
		c.fail(newError(http.StatusMethodNotAllowed, codeMethodNotAllowed, "",
			"this path does not serve %s; it serves %s", printable(r.Method, 16), strings.Join(route.allow(), ", ")))
		return
	}
	c.path = params
	serve(c)
}

// recoverPanic answers a bare 500. What a panic carries may be data of the caller's, so that only runtime errors, whose
// text is Go's own, are logged with their text; of everything else the type is.
func (c *call) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares this value by identity, and so must we
		panic(v)
	}
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(interface {
		error
		RuntimeError()
	}); ok {
		text = err.Error()
	}
	c.api.Logger.Error("admin API panicked", zap.String("request_id", c.id), zap.String("panic", text), zap.ByteString("stack", debug.Stack()))
	failure := c.failure(newError(http.StatusInternalServerError, codeInternal, "", "an unexpected error occurred"))
	if c.claim != nil {
		// Nobody knows how far it came: its Idempotency-Key is used up, so that a repetition does not do it twice.
		c.claim.finish(c, failure)
	}
	if c.started {
		// The status is on the wire: a broken connection is the only honest answer left.
		panic(http.ErrAbortHandler)
	}
	c.write(failure)
}

// printable is the caller's text cut to n bytes, with everything but visible ASCII replaced.
func printable(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e {
			return '.'
		}
		return r
	}, s)
}
