package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// fixture is the admin API over a real store and a real log. Every answer that it gives is checked against the OpenAPI
// document and for the headers that all answers have, and at the end every answer is searched for secret tokens.
type fixture struct {
	t       *testing.T
	store   *keystore.Store
	log     *requestlog.Log
	handler http.Handler
	config  api.Config
	spec    *openapi3.T

	mu      sync.Mutex
	now     time.Time
	actor   keystore.Actor
	refuse  error             // what Config.Caller answers
	answers []*answer         // all of them
	secrets map[string]string // secret token → id of its key
}

// answer is one answer as it came.
type answer struct {
	t       *testing.T
	call    string
	carrier string // id of the key whose token it may hold
	status  int
	header  http.Header
	body    []byte
}

func init() {
	for _, media := range []string{"application/vnd.apache.parquet", "application/gzip"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.FileBodyDecoder)
	}
}

var testRules = []policy.Rule{
	{Resource: "charges", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/charges/*"},
	{Resource: "charges", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/charges"},
	{Resource: "charges", Access: policy.AccessWrite, Methods: []string{"POST"}, Pattern: "/v1/charges"},
	{Resource: "customers", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/customers"},
	{Resource: "tokens", Methods: []string{"POST"}, Pattern: "/v1/tokens", Publishable: true},
}

func newFixture(t *testing.T, change ...func(*api.Config)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), secrets: map[string]string{},
		actor: keystore.Actor{Kind: "local", Name: "admin endpoint"},
	}
	f.store = keystoretest.NewStore(t, keystore.Options{Now: f.clock})
	var err error
	f.log, err = requestlog.Open(requestlog.Options{Dir: t.TempDir(), Node: "node-1", Now: f.clock, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.log.Close() })
	catalog, err := policy.NewCatalog(testRules, nil)
	if err != nil {
		t.Fatal(err)
	}
	open, err := policy.NewPathSet([]string{"/healthz"})
	if err != nil {
		t.Fatal(err)
	}
	f.store.SetResources(catalog.Has)
	rules := &policy.Rules{Catalog: catalog, Open: open, Live: true, Sandbox: true}
	config := api.Config{
		Store: f.store, Log: f.log, Node: "node-1", Now: f.clock, BasePath: "/keystile",
		Catalog: func() *policy.Catalog { return catalog },
		Rules: func(host string) *policy.Rules {
			if host == "" || host == "api.example.com" {
				return rules
			}
			return nil
		},
		Caller: func(*http.Request) (*auth.Caller, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return auth.Root(f.actor), f.refuse
		},
	}
	for _, c := range change {
		c(&config)
	}
	f.config = config
	f.handler = f.mount(config.Log)
	f.loadSpec()
	t.Cleanup(f.searchTokens)
	return f
}

// mount is the API over a log.
func (f *fixture) mount(log *requestlog.Log) http.Handler {
	f.t.Helper()
	config := f.config
	config.Log = log
	handler, err := api.New(config)
	if err != nil {
		f.t.Fatal(err)
	}
	return handler
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) loadSpec() {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/openapi.json", nil))
	f.spec = parseSpec(f.t, w.Body.String())
}

var (
	specsMu sync.Mutex
	specs   = map[string]*openapi3.T{} // by text: all fixtures serve the same document
)

func parseSpec(t *testing.T, text string) *openapi3.T {
	t.Helper()
	specsMu.Lock()
	defer specsMu.Unlock()
	if specs[text] == nil {
		spec, err := openapi3.NewLoader().LoadFromData([]byte(text))
		if err != nil {
			t.Fatalf("loading the document: %v", err)
		}
		if err := spec.Validate(context.Background()); err != nil {
			t.Fatalf("validating the document: %v", err)
		}
		specs[text] = spec
	}
	return specs[text]
}

// do makes a call. body is nil, a string that is sent as it is, or anything that is encoded as JSON; headers are pairs.
func (f *fixture) do(method, target string, body any, headers ...string) *answer {
	f.t.Helper()
	var data []byte
	switch b := body.(type) {
	case nil:
	case string:
		data = []byte(b)
	default:
		var err error
		if data, err = json.Marshal(b); err != nil {
			f.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, target, bytes.NewReader(data))
	if data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	a := &answer{t: f.t, call: method + " " + target, status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	f.check(a, r, data)
	f.remember(a, method, r.URL.Path)
	return a
}

// ok makes a call that must succeed.
func (f *fixture) ok(method, target string, body any, headers ...string) *answer {
	f.t.Helper()
	a := f.do(method, target, body, headers...)
	if a.status != http.StatusOK {
		f.t.Fatalf("%s answered %d: %s", a.call, a.status, a.body)
	}
	return a
}

// check holds an answer against what all answers promise, and against the document.
func (f *fixture) check(a *answer, r *http.Request, data []byte) {
	f.t.Helper()
	if id := a.header.Get("Request-Id"); !strings.HasPrefix(id, "req_") {
		f.t.Errorf("%s: Request-Id = %q", a.call, id)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" && r.URL.Path != api.KeySetPath {
		f.t.Errorf("%s: Cache-Control = %q, want no-store", a.call, got)
	}
	if got := a.header.Get("Content-Type"); a.status >= 400 && got != "application/json" {
		f.t.Errorf("%s: an error has Content-Type %q", a.call, got)
	}
	route, params := f.route(r)
	if route == nil || a.status == http.StatusMethodNotAllowed {
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if a.status < 300 {
		r.Body = io.NopCloser(bytes.NewReader(data))
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			f.t.Errorf("%s: accepted, but the document does not allow it: %v", a.call, err)
		}
	}
	if r.Method == http.MethodHead || strings.HasPrefix(a.header.Get("Content-Type"), "text/") {
		return
	}
	output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: a.status, Header: a.header}
	output.SetBodyBytes(a.body)
	output.Options = &openapi3filter.Options{IncludeResponseStatus: true}
	if err := openapi3filter.ValidateResponse(context.Background(), output); err != nil {
		f.t.Errorf("%s: %d does not fit the document: %v\n%s", a.call, a.status, err, a.body)
	}
}

// route finds the operation of a request in the document; nil if there is none.
func (f *fixture) route(r *http.Request) (*routers.Route, map[string]string) {
	segments := strings.Split(r.URL.Path, "/")
	var best *routers.Route
	var bestParams map[string]string
	for path, item := range f.spec.Paths.Map() {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		pattern := strings.Split(path, "/")
		operation := item.GetOperation(method)
		if len(pattern) != len(segments) || operation == nil {
			continue
		}
		params, fits := map[string]string{}, true
		for i, p := range pattern {
			if name, ok := strings.CutPrefix(p, "{"); ok {
				params[strings.TrimSuffix(name, "}")] = segments[i]
			} else if p != segments[i] {
				fits = false
			}
		}
		if fits && (best == nil || len(params) < len(bestParams)) {
			best = &routers.Route{Spec: f.spec, Path: path, PathItem: item, Method: method, Operation: operation}
			bestParams = params
		}
	}
	return best, bestParams
}

// remember keeps the answer for searchTokens, and the secret token in it if it is one of the four that may have one.
func (f *fixture) remember(a *answer, method, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers = append(f.answers, a)
	last := path[strings.LastIndexByte(path, '/')+1:]
	carrier := method == http.MethodPost && (path == "/v1/keys" || strings.HasPrefix(path, "/v1/keys/key_") && (last == "rotate" || last == "reveal" || last == "duplicate"))
	var k api.Key
	if !carrier || a.status != http.StatusOK || json.Unmarshal(a.body, &k) != nil {
		return
	}
	a.carrier = k.ID
	if k.Kind != "publishable" {
		f.secrets[string(k.Token)] = k.ID
	}
}

// secret makes a token one that searchTokens looks for.
func (f *fixture) secret(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.secrets[token] = ""
}

func (f *fixture) searchTokens() {
	for _, a := range f.answers {
		text := a.header.Clone()
		for token, key := range f.secrets {
			if a.carrier != "" && a.carrier == key {
				continue
			}
			if bytes.Contains(a.body, []byte(token)) || strings.Contains(fmt.Sprint(text), token) {
				f.t.Errorf("%s: the answer has a secret token: %s", a.call, a.body)
			}
		}
	}
}

// as decodes an answer.
func as[T any](a *answer) T {
	a.t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		a.t.Fatalf("%s: decoding %s: %v", a.call, a.body, err)
	}
	return v
}

// fails checks that an answer is this error.
func (a *answer) fails(status int, code, param string) api.Error {
	a.t.Helper()
	e := as[api.ErrorBody](a).Error
	if a.status != status || e.Code != code || e.Param != param {
		a.t.Errorf("%s: got %d %s param %q (%s), want %d %s param %q", a.call, a.status, e.Code, e.Param, e.Message, status, code, param)
	}
	wantType := api.TypeInvalidRequest
	if status >= 500 {
		wantType = api.TypeAPI
	}
	if e.Type != wantType || e.Message == "" {
		a.t.Errorf("%s: error type %q message %q", a.call, e.Type, e.Message)
	}
	if a.header.Get("Idempotent-Replayed") == "" && e.RequestID != a.header.Get("Request-Id") {
		a.t.Errorf("%s: request_id %q in the body, %q in the header", a.call, e.RequestID, a.header.Get("Request-Id"))
	}
	return e
}

// has checks top-level fields: pairs of name and value, as JSON text.
func (a *answer) has(pairs ...string) {
	a.t.Helper()
	fields := as[map[string]json.RawMessage](a)
	for i := 0; i < len(pairs); i += 2 {
		if got := string(fields[pairs[i]]); got != pairs[i+1] {
			a.t.Errorf("%s: %s = %s, want %s", a.call, pairs[i], got, pairs[i+1])
		}
	}
}

// account makes an account.
func (f *fixture) account(name string) api.AccountCreated {
	f.t.Helper()
	return as[api.AccountCreated](f.ok("POST", "/v1/accounts", map[string]any{"name": name}))
}

// key makes a key with the given body fields.
func (f *fixture) key(fields map[string]any) api.Key {
	f.t.Helper()
	return as[api.Key](f.ok("POST", "/v1/keys", fields))
}

// restricted makes a live restricted key of the account.
func (f *fixture) restricted(account string) api.Key {
	f.t.Helper()
	return f.key(map[string]any{
		"kind": "restricted", "mode": "live", "account": account, "name": "billing", "permissions": map[string]string{"charges": "write"},
	})
}

// record puts a request record into the log and waits until it can be read.
func (f *fixture) record(change func(*requestlog.Record)) string {
	f.t.Helper()
	r := f.log.NewRecord()
	r.ID, r.Time, r.Status, r.Decision = requestlog.NewID(f.clock()), f.clock(), 200, "allowed"
	r.Method, r.Path, r.Client = "GET", "/v1/charges", netip.MustParseAddr("203.0.113.9")
	change(r)
	id := r.ID
	if !f.log.Append(r) {
		f.t.Fatal("the log took no record")
	}
	if err := f.log.Flush(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return id
}

var errRefused = errors.New("refused: secret detail")
