package dashboard_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/dashboard"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// fixture is the dashboard over the real API, a real store and a real log. Nothing may be logged as an error.
type fixture struct {
	t       testing.TB
	store   *keystore.Store
	log     *requestlog.Log
	handler http.Handler

	mu     sync.Mutex
	now    time.Time
	viewer *visitor // nil: a guest

	account, organization string
	answers               []*answer // all of them
}

var by = keystore.Actor{Kind: "local", Name: "test"}

func newFixture(t testing.TB, resources ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	f.store = keystoretest.NewStore(t, keystore.Options{Now: f.clock})
	var err error
	f.log, err = requestlog.Open(requestlog.Options{Dir: t.TempDir(), Node: "node-1", Now: f.clock, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.log.Close() })
	if len(resources) == 0 {
		resources = []string{"balance", "charges", "customers", "billing_invoices", "billing_plans"}
	}
	var rules []policy.Rule
	for _, r := range resources {
		rules = append(rules,
			policy.Rule{Resource: r, Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/" + r},
			policy.Rule{Resource: r, Access: policy.AccessWrite, Methods: []string{"POST"}, Pattern: "/v1/" + r})
	}
	catalog, err := policy.NewCatalog(rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.store.SetResources(catalog.Has)
	open, err := policy.NewPathSet(nil)
	if err != nil {
		t.Fatal(err)
	}
	site := &policy.Rules{Catalog: catalog, Open: open, Live: true, Sandbox: true}
	handler, err := api.New(api.Config{
		Store: f.store, Log: f.log, Node: "node-1", Now: f.clock, Tokens: true,
		Catalog: func() *policy.Catalog { return catalog },
		Rules:   func(string) *policy.Rules { return site },
		Caller: func(r *http.Request) (*auth.Caller, error) {
			if c := auth.CallerFrom(r.Context()); c != nil {
				return c, nil
			}
			return nil, &auth.Refusal{Status: http.StatusUnauthorized, Code: auth.CodeRequired, Message: "nobody"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.WarnLevel)
	t.Cleanup(func() {
		for _, entry := range logged.All() {
			t.Errorf("logged: %s %v", entry.Message, entry.ContextMap())
		}
	})
	f.handler, err = dashboard.New(dashboard.Config{
		API: handler, Now: f.clock, Logger: zap.New(core),
		Visitor: func(*http.Request) (dashboard.Visitor, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.viewer == nil {
				return nil, &auth.Refusal{Status: http.StatusUnauthorized, Code: auth.CodeRequired, Message: "nobody"}
			}
			return f.viewer, nil
		},
		Prefix: func(r *http.Request) string { return r.Header.Get("Test-Prefix") },
	})
	if err != nil {
		t.Fatal(err)
	}
	organization, err := f.store.CreateOrganization(t.Context(), by, keystore.OrganizationParams{Name: "Org"})
	if err != nil {
		t.Fatal(err)
	}
	account, _, err := f.store.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "Shop", Organization: organization.ID})
	if err != nil {
		t.Fatal(err)
	}
	f.organization, f.account = organization.ID, account.ID
	f.as(keystore.RoleOwner, "", "")
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// as makes somebody look at the pages, with a role and perhaps a limit.
func (f *fixture) as(role keystore.Role, organization, account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewer = &visitor{f: f, role: role, limit: auth.Scope{Organization: organization, Account: account}}
}

// visitor is somebody with one role, who needs no session.
type visitor struct {
	f     *fixture
	role  keystore.Role
	limit auth.Scope
}

func (v *visitor) Scopes() []auth.Scope { return []auth.Scope{v.limit} }

func (v *visitor) Self() *auth.Caller { return (&auth.Caller{Actor: v.actor()}).While(always) }

func (*visitor) actor() keystore.Actor {
	return keystore.Actor{Kind: "member", ID: "mem_8DpB666ojJIBrHTw33ZR", Name: "Ada Lovelace"}
}

// Caller covers what the limit covers, as a session's does.
func (v *visitor) Caller(s auth.Scope) (*auth.Caller, error) {
	wide := &auth.Caller{Role: v.role, Organization: v.limit.Organization, Account: v.limit.Account}
	if s != (auth.Scope{}) && !wide.Covers(v.f.store.Directory(), s.Account, s.Organization) || s == (auth.Scope{}) && s != v.limit {
		return nil, &auth.Refusal{Status: http.StatusForbidden, Code: auth.CodeLimit, Message: "you have no role there"}
	}
	c := &auth.Caller{Actor: v.actor(), Role: v.role, Organization: s.Organization, Account: s.Account}
	return c.While(always), nil
}

func always() bool { return true }

// guest makes nobody look at the pages.
func (f *fixture) guest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.viewer = nil
}

// answer is a page as it came.
type answer struct {
	t      testing.TB
	call   string
	status int
	header http.Header
	body   string
}

// get asks for a page; headers are pairs.
func (f *fixture) get(path string, headers ...string) *answer {
	f.t.Helper()
	return f.send(httptest.NewRequest(http.MethodGet, path, nil), headers)
}

// post sends a form: pairs of field and value.
func (f *fixture) post(path string, fields ...string) *answer {
	f.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return f.send(r, nil)
}

func (f *fixture) send(r *http.Request, headers []string) *answer {
	f.t.Helper()
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	a := &answer{t: f.t, call: r.Method + " " + r.URL.RequestURI(), status: w.Code, header: w.Header(), body: w.Body.String()}
	a.check()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, a)
	return a
}

// check holds an answer against what all answers promise.
func (a *answer) check() {
	a.t.Helper()
	want := map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
	}
	if !strings.HasPrefix(a.call, "GET /static/") {
		want["Cache-Control"] = "no-store"
	}
	for name, value := range want {
		if got := a.header.Get(name); got != value {
			a.t.Errorf("%s: %s = %q, want %q", a.call, name, got, value)
		}
	}
	if len(a.body) > 50<<10 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		a.t.Errorf("%s: the page has %d bytes, want less than 50 KiB", a.call, len(a.body))
	}
	for _, bad := range []string{` style="`, `href="javascript:`, "<script>", "<style"} {
		if strings.Contains(a.body, bad) {
			a.t.Errorf("%s: the page has %q, which its policy forbids", a.call, bad)
		}
	}
}

// ok wants a page.
func (a *answer) ok() *answer {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("%s answered %d: %.2000s", a.call, a.status, text(a.body))
	}
	return a
}

// goesTo wants a redirect after a form, and returns where to.
func (a *answer) goesTo(path string) string {
	a.t.Helper()
	to := a.header.Get("Location")
	if a.status != http.StatusSeeOther || !strings.HasPrefix(to, path) {
		a.t.Fatalf("%s answered %d to %q, want 303 to %s: %.2000s", a.call, a.status, to, path, text(a.body))
	}
	return to
}

// has wants texts in the page.
func (a *answer) has(texts ...string) *answer {
	a.t.Helper()
	for _, want := range texts {
		if !strings.Contains(a.body, want) {
			a.t.Errorf("%s: the page lacks %q: %.3000s", a.call, want, text(a.body))
		}
	}
	return a
}

// lacks wants texts not to be in the page.
func (a *answer) lacks(texts ...string) *answer {
	a.t.Helper()
	for _, bad := range texts {
		if strings.Contains(a.body, bad) {
			a.t.Errorf("%s: the page has %q", a.call, bad)
		}
	}
	return a
}

// text is the body from its main part on, for messages.
func text(body string) string {
	if i := strings.Index(body, "<main"); i >= 0 {
		return body[i:]
	}
	return body
}

// in is a path of the account.
func (f *fixture) in(mode, page string) string { return "/" + f.account + "/" + mode + "/" + page }

// key makes a key with the given fields over a live restricted one.
func (f *fixture) key(change func(*keystore.KeyParams)) (*keystore.Key, string) {
	f.t.Helper()
	p := keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: f.account, Name: "billing",
		Permissions: policy.NewPermissions(map[string]policy.Access{"charges": policy.AccessRead}),
	}
	if change != nil {
		change(&p)
	}
	k, token, err := f.store.CreateKey(f.t.Context(), by, p)
	if err != nil {
		f.t.Fatal(err)
	}
	return k, token.Reveal()
}

// defaultKey is one of the account's four.
func (f *fixture) defaultKey(kind policy.Kind, mode policy.Mode) *keystore.Key {
	f.t.Helper()
	rows, _, err := f.store.Snapshot().Keys(keystore.KeyFilter{Account: f.account, Kind: kind, Mode: mode}, keystore.Page{Limit: 10}, f.clock())
	if err != nil || len(rows) == 0 {
		f.t.Fatalf("no %v key in %v: %v", kind, mode, err)
	}
	return rows[len(rows)-1]
}

// record puts a request record into the log and waits until it can be read.
func (f *fixture) record(change func(*requestlog.Record)) string {
	f.t.Helper()
	r := f.log.NewRecord()
	r.ID, r.Time, r.Status, r.Decision = requestlog.NewID(f.clock()), f.clock().Add(-time.Minute), 200, "allowed"
	r.Method, r.Path, r.Client, r.Mode, r.Account, r.Owner = "GET", "/v1/charges", netip.MustParseAddr("203.0.113.9"), "live", f.account, f.account
	if change != nil {
		change(r)
	}
	id := r.ID
	if !f.log.Append(r) {
		f.t.Fatal("the log took no record")
	}
	if err := f.log.Flush(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return id
}
