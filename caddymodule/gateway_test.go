package caddymodule

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

var testHeaders = headerNames{prefix: "Keystile-", context: "Stripe-Context", account: "Stripe-Account", version: "Stripe-Version"}

// testGateway is a handler over a real store and log, with a counting backend.
type testGateway struct {
	t       testing.TB
	handler *Handler
	store   *keystore.Store
	log     *requestlog.Log
	now     atomic.Pointer[time.Time] // nil: the real time
	backend func(w http.ResponseWriter, r *http.Request) error
	reached atomic.Int64
	seen    *http.Request // the last request that reached the backend
	rewrite string        // what an earlier directive makes of the path; "": nothing

	org              *keystore.Organization
	a, b, lone, sub  *keystore.Account // a and b in the organization; sub is connected to a; lone stands alone
	live, test, publ string            // tokens of a: secret live, secret sandbox, publishable live
}

// newGateway makes a gateway for the catalog of attacks.md: customers and charges, tokens publishable, /public/* open.
func newGateway(t testing.TB, configure func(*Handler)) *testGateway {
	t.Helper()
	g := &testGateway{t: t}
	now := func() time.Time {
		if fixed := g.now.Load(); fixed != nil {
			return *fixed
		}
		return time.Now()
	}
	g.store = keystoretest.NewStore(t, keystore.Options{Now: now})
	var err error
	if g.log, err = requestlog.Open(requestlog.Options{Dir: t.TempDir(), Now: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.log.Close() })
	catalog, err := policy.NewCatalog(nil, []policy.Rule{
		{Resource: "customers", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/customers"},
		{Resource: "customers", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/customers/*"},
		{Resource: "customers", Access: policy.AccessWrite, Methods: []string{"POST", "DELETE"}, Pattern: "/v1/customers"},
		{Resource: "charges", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/charges"},
		{Resource: "charges", Access: policy.AccessWrite, Methods: []string{"POST"}, Pattern: "/v1/charges"},
		{Resource: "tokens", Access: policy.AccessWrite, Methods: []string{"POST"}, Pattern: "/v1/tokens", Publishable: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	app := &App{run: new(running)}
	app.run.settings = settings{
		catalog: catalog, headers: testHeaders, node: "node", logger: zap.NewNop(), now: now,
		throttle: newThrottle(), resets: newResets(), metrics: newMetrics(),
	}
	app.run.gated.Store(&gate{settings: app.run.settings, store: g.store, log: g.log})
	g.handler = &Handler{app: app, Open: []string{"/public/*", "/healthz"}}
	if configure != nil {
		configure(g.handler)
	}
	if err := g.handler.compile(&app.run.settings); err != nil {
		t.Fatal(err)
	}
	if err := g.handler.Validate(); err != nil {
		t.Fatal(err)
	}
	g.populate()
	return g
}

// populate makes the accounts.
func (g *testGateway) populate() {
	t, ctx := g.t, context.Background()
	var err error
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g.org, err = g.store.CreateOrganization(ctx, testActor, keystore.OrganizationParams{Name: "org"})
	must(err)
	account := func(p keystore.AccountParams) *keystore.Account {
		a, keys, err := g.store.CreateAccount(ctx, testActor, p)
		must(err)
		if p.Name != "a" {
			return a
		}
		for _, k := range keys {
			switch {
			case k.Kind == policy.KindSecret:
				_, token, err := g.store.RevealKey(ctx, testActor, k.ID)
				must(err)
				if k.Mode == policy.ModeLive {
					g.live = token.Reveal()
				} else {
					g.test = token.Reveal()
				}
			case k.Mode == policy.ModeLive:
				g.publ = k.PublicToken
			}
		}
		return a
	}
	g.a = account(keystore.AccountParams{Name: "a", Organization: g.org.ID, DefaultVersion: "2024-06-20"})
	g.b = account(keystore.AccountParams{Name: "b", Organization: g.org.ID})
	g.lone = account(keystore.AccountParams{Name: "lone"})
	g.sub = account(keystore.AccountParams{Name: "sub"})
	_, err = g.store.Connect(ctx, testActor, g.a.ID, g.sub.ID)
	must(err)
}

// key makes a key of account a, or of the organization.
func (g *testGateway) key(p keystore.KeyParams) (*keystore.Key, string) {
	g.t.Helper()
	if p.Account == "" && p.Organization == "" {
		p.Account = g.a.ID
	}
	if p.Mode == 0 {
		p.Mode = policy.ModeLive
	}
	if p.Name == "" {
		p.Name = "test key"
	}
	k, token, err := g.store.CreateKey(context.Background(), testActor, p)
	if err != nil {
		g.t.Fatal(err)
	}
	return k, token.Reveal()
}

// restricted makes a restricted key with these permissions.
func (g *testGateway) restricted(permissions map[string]policy.Access) (*keystore.Key, string) {
	return g.key(keystore.KeyParams{Kind: policy.KindRestricted, Permissions: policy.NewPermissions(permissions)})
}

func readCustomers() map[string]policy.Access {
	return map[string]policy.Access{"customers": policy.AccessRead}
}

// request makes a request as it comes out of the server: pairs are header names and values.
func request(method, target, token string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "198.51.100.9:4711"
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

// do sends the request through the handler alone. The error is what the handler returns to Caddy.
func (g *testGateway) do(r *http.Request) (*httptest.ResponseRecorder, error) {
	g.t.Helper()
	w := httptest.NewRecorder()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	if g.rewrite != "" {
		r.URL.Path, r.URL.RawPath = g.rewrite, ""
		r.RequestURI = r.URL.RequestURI()
	}
	err := g.handler.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		g.reached.Add(1)
		g.seen = r
		if g.backend != nil {
			return g.backend(w, r)
		}
		_, err := io.WriteString(w, "backend")
		return err
	}))
	return w, err
}

// wantDenied sends the request and checks that it is denied with this status and code and never reaches the backend.
func (g *testGateway) wantDenied(r *http.Request, status int, code string) (errorObject, http.Header) {
	g.t.Helper()
	before := g.reached.Load()
	w, err := g.do(r)
	if err != nil {
		g.t.Fatalf("%s %s: error %v, want an answer", r.Method, r.RequestURI, err)
	}
	var body errorBody
	if r.Method != http.MethodHead {
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			g.t.Fatalf("%s %s: body %q: %v", r.Method, r.RequestURI, w.Body, err)
		}
		if body.Error.Code != code {
			g.t.Errorf("%s %s: code %q, want %q", r.Method, r.RequestURI, body.Error.Code, code)
		}
	}
	if w.Code != status {
		g.t.Errorf("%s %s: status %d, want %d (%s)", r.Method, r.RequestURI, w.Code, status, w.Body)
	}
	if g.reached.Load() != before {
		g.t.Errorf("%s %s: reached the backend", r.Method, r.RequestURI)
	}
	return body.Error, w.Header()
}

// wantServed sends the request and checks that the backend served it; it answers the request as the backend saw it.
func (g *testGateway) wantServed(r *http.Request) (*http.Request, *httptest.ResponseRecorder) {
	g.t.Helper()
	before := g.reached.Load()
	w, err := g.do(r)
	if err != nil || g.reached.Load() != before+1 {
		g.t.Fatalf("%s %s: status %d, error %v, body %s; want it served", r.Method, r.RequestURI, w.Code, err, w.Body)
	}
	return g.seen, w
}

// lastRecord is the newest record of the log.
func (g *testGateway) lastRecord() *requestlog.Record {
	g.t.Helper()
	ctx := context.Background()
	if err := g.log.Flush(ctx); err != nil {
		g.t.Fatal(err)
	}
	page, err := g.log.List(ctx, requestlog.Filter{}, 1, "")
	if err != nil || len(page.Records) != 1 {
		g.t.Fatalf("listing records: %v, %d records, want 1", err, len(page.Records))
	}
	return page.Records[0]
}

// lastRecordOrNil is lastRecord without insisting.
func (g *testGateway) lastRecordOrNil() *requestlog.Record {
	g.t.Helper()
	if err := g.log.Flush(context.Background()); err != nil {
		g.t.Fatal(err)
	}
	page, err := g.log.List(context.Background(), requestlog.Filter{}, 1, "")
	if err != nil {
		g.t.Fatal(err)
	}
	if len(page.Records) == 0 {
		return nil
	}
	return page.Records[0]
}

// hasAlias says whether any header of the request folds to the name but is not it.
func hasAlias(h http.Header, name string) bool {
	for have := range h {
		if have != name && strings.EqualFold(foldName(have), foldName(name)) {
			return true
		}
	}
	return false
}
