package caddymodule

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func signing(h *Handler) { h.Sign = true }

// verified takes an assertion apart by hand, with the standard library alone and the key set as it is served.
func verified(t *testing.T, store *keystore.Store, token string) map[string]any {
	t.Helper()
	w := httptest.NewRecorder()
	api.JWKS(store, nil).ServeHTTP(w, httptest.NewRequest("GET", api.KeySetPath, nil))
	var set api.KeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("key set %s: %v", w.Body, err)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no compact token", token)
	}
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		return b
	}
	var header map[string]any
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": set.Keys[0].ID}; !maps.Equal(header, want) {
		t.Errorf("header %v, want %v", header, want)
	}
	if !ed25519.Verify(decode(set.Keys[0].X), []byte(parts[0]+"."+parts[1]), decode(parts[2])) {
		t.Error("the signature does not verify")
	}
	var out map[string]any
	d := json.NewDecoder(bytes.NewReader(decode(parts[1])))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestAssertion: signed, over the same facts as the identity headers, and over what ties it to the request.
func TestAssertion(t *testing.T) {
	t.Parallel()
	g := newGateway(t, signing)
	now := time.Date(2026, 3, 1, 12, 0, 0, 999e6, time.UTC)
	g.now.Store(&now)
	key, narrow := g.restricted(readCustomers())
	org, orgToken := g.key(keystore.KeyParams{Kind: policy.KindOrganization, Organization: g.org.ID})
	secret := func(token string) string {
		digest := policy.DigestOf(token)
		k, _ := g.store.Lookup(&digest)
		return k.ID
	}
	to := func(host string, r *http.Request) *http.Request {
		r.Host = host
		return r
	}
	tests := []struct {
		name    string
		request *http.Request
		want    map[string]any
	}{
		{"restricted", to("API.example.com:8443", request("GET", "/v1/customers?limit=3", narrow)), map[string]any{
			"sub": key.ID, "aud": "api.example.com", "kind": "restricted", "mode": "live", "account": g.a.ID,
			"resource": "customers", "access": "read", "version": "2024-06-20", "method": "GET", "path": "/v1/customers",
		}},
		{"sandbox", to("[::1]", request("POST", "/v1/charges", g.test)), map[string]any{
			"sub": secret(g.test), "aud": "::1", "kind": "secret", "mode": "sandbox", "account": g.a.ID, "sandbox": g.a.DefaultSandbox,
			"resource": "charges", "access": "write", "version": "2024-06-20", "method": "POST", "path": "/v1/charges",
		}},
		{"connected account", request("GET", "/v1/caf%C3%A9", g.live, "Stripe-Account", g.sub.ID), map[string]any{
			"sub": secret(g.live), "aud": "example.com", "kind": "secret", "mode": "live", "account": g.sub.ID, "owner": g.a.ID,
			"connected": true, "method": "GET", "path": "/v1/café",
		}},
		{"organization", request("DELETE", "/v1/other", orgToken, "Stripe-Context", g.b.ID, "Stripe-Version", "2025-01-01"), map[string]any{
			"sub": org.ID, "aud": "example.com", "kind": "organization", "mode": "live", "account": g.b.ID, "owner": g.org.ID,
			"version": "2025-01-01", "method": "DELETE", "path": "/v1/other",
		}},
		{"open route", request("GET", "/public/x", narrow), map[string]any{
			"sub": key.ID, "aud": "example.com", "kind": "restricted", "mode": "live", "account": g.a.ID, "version": "2024-06-20",
			"method": "GET", "path": "/public/x",
		}},
	}
	for _, test := range tests {
		seen, answer := g.wantServed(test.request)
		lines := seen.Header["Keystile-Assertion"]
		if len(lines) != 1 {
			t.Fatalf("%s: %d assertions, want 1", test.name, len(lines))
		}
		got := verified(t, g.store, lines[0])
		test.want["iss"], test.want["jti"] = "keystile", answer.Header().Get("Request-Id")
		test.want["iat"], test.want["exp"] = json.Number(fmt.Sprint(now.Unix())), json.Number(fmt.Sprint(now.Unix()+60))
		if version := seen.Header.Get("Stripe-Version"); version == "" {
			delete(test.want, "version")
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%s: claims\n%v\nwant\n%v", test.name, got, test.want)
		}
		sameAsHeaders(t, seen.Header, got)
		for _, token := range []string{g.live, g.test, narrow, orgToken} {
			if _, body, _ := strings.Cut(lines[0], "."); strings.Contains(fmt.Sprint(got), token[8:]) || strings.Contains(body, token) {
				t.Errorf("%s: the assertion holds a token", test.name)
			}
		}
	}
}

// sameAsHeaders holds the claims to the identity headers: each fact is in both or in neither.
func sameAsHeaders(t *testing.T, h http.Header, got map[string]any) {
	t.Helper()
	names := map[string]string{
		"Keystile-Request-Id": "jti", "Keystile-Key-Id": "sub", "Keystile-Key-Kind": "kind", "Stripe-Version": "version",
		"Keystile-Mode": "mode", "Keystile-Account": "account", "Keystile-Owner": "owner", "Keystile-Connected": "connected",
		"Keystile-Sandbox": "sandbox", "Keystile-Resource": "resource", "Keystile-Access": "access",
	}
	for header, claim := range names {
		value, found := got[claim]
		if said := h.Get(header); said != "" && said != fmt.Sprint(value) || said == "" && found {
			t.Errorf("the header %s says %q, the claim %s %v", header, said, claim, value)
		}
	}
	for header := range h {
		if strings.HasPrefix(header, "Keystile-") && header != "Keystile-Assertion" && names[header] == "" {
			t.Errorf("the header %s has no claim", header)
		}
	}
}

// TestNoAssertion: none without the word, none without a key, and none that a client made up.
func TestNoAssertion(t *testing.T) {
	t.Parallel()
	spellings := []string{"Keystile-Assertion", "keystile_assertion", "KEYSTILE.ASSERTION", "keystile-assertion"}
	forge := func(r *http.Request) *http.Request {
		for _, name := range spellings {
			r.Header[name] = []string{"forged"}
		}
		return r
	}
	gone := func(name string, h http.Header) {
		t.Helper()
		for have := range h {
			if strings.EqualFold(foldName(have), "keystile-assertion") {
				t.Errorf("%s: the backend received %s: %v", name, have, h[have])
			}
		}
	}
	plain, signed := newGateway(t, nil), newGateway(t, signing)
	seen, _ := plain.wantServed(forge(request("GET", "/v1/charges", plain.live)))
	gone("without the word", seen.Header)
	seen, _ = signed.wantServed(forge(request("GET", "/healthz", "")))
	gone("open route", seen.Header)
	seen, _ = signed.wantServed(forge(request("GET", "/v1/charges", signed.live)))
	if lines := seen.Header["Keystile-Assertion"]; len(lines) != 1 || lines[0] == "forged" {
		t.Errorf("with a forged one: %v", lines)
	}
	delete(seen.Header, "Keystile-Assertion")
	gone("with a forged one", seen.Header)
	if keys, err := plain.store.VerificationKeys(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("without the word: %d signing keys, %v; want none made", len(keys), err)
	}
}

// TestAssertionHeaderPrefix: the header is under the configured prefix.
func TestAssertionHeaderPrefix(t *testing.T) {
	t.Parallel()
	g := newGateway(t, signing)
	settings := g.handler.app.run.settings
	settings.headers.prefix = "Acme-"
	if err := g.handler.compile(&settings); err != nil {
		t.Fatal(err)
	}
	seen, _ := g.wantServed(request("GET", "/v1/charges", g.live))
	if len(seen.Header["Acme-Assertion"]) != 1 || seen.Header["Keystile-Assertion"] != nil {
		t.Errorf("headers %v, want Acme-Assertion", slices.Sorted(maps.Keys(seen.Header)))
	}
}

// TestAssertionFailsClosed: a request that cannot be signed reaches nobody.
func TestAssertionFailsClosed(t *testing.T) {
	t.Parallel()
	g := newGateway(t, signing)
	if err := g.store.Close(); err != nil { // before the key is made: it can neither be read nor written
		t.Fatal(err)
	}
	g.wantDenied(request("GET", "/v1/charges", g.live), 503, "gateway_unavailable")
	if record := g.lastRecord(); record.Decision != "gateway_unavailable" || record.Status != 503 {
		t.Errorf("record: %s, %d", record.Decision, record.Status)
	}
	g.wantServed(request("GET", "/healthz", "")) // nothing to sign
}

// TestSigningOverLoads: the key is there once a config with the word runs, and reloads keep it; the key set is on the
// admin endpoint.
func TestSigningOverLoads(t *testing.T) {
	c := newCaddy(t)
	keys := func() []api.PublicKey {
		t.Helper()
		status, body := c.get("http://" + adminAddress() + "/keystile/.well-known/jwks.json")
		var set api.KeySet
		if err := json.Unmarshal([]byte(body), &set); err != nil || status != 200 {
			t.Fatalf("key set: %d %s: %v", status, body, err)
		}
		return set.Keys
	}
	c.mustLoad(c.config("", oneResource, "keystile {\n\tsign off\n}"))
	if got := keys(); len(got) != 0 {
		t.Errorf("without the word: %d keys, want none", len(got))
	}
	c.mustLoad(c.config("", oneResource, "keystile {\n\tsign on\n}"))
	first := keys()
	if len(first) != 1 {
		t.Fatalf("with the word: %d keys, want 1", len(first))
	}
	c.mustLoad(c.config("", oneResource, "keystile {\n\tsign on\n\tmode live\n}"))
	if got := keys(); !slices.Equal(got, first) {
		t.Errorf("after a reload: %v, want %v", got, first)
	}
	stopCaddy(t)
	c.mustLoad(c.config("", oneResource, "keystile {\n\tsign on\n}"))
	if got := keys(); !slices.Equal(got, first) {
		t.Errorf("after a restart: %v, want %v", got, first)
	}
}

// TestPrepareSigning: a config whose key cannot be had does not start.
func TestPrepareSigning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sign bool
		want string
	}{{false, ""}, {true, "sign: "}} {
		g := newGateway(t, func(h *Handler) { h.Sign = test.sign })
		app := g.handler.app
		app.run.ctx = caddy.Context{Context: t.Context()}
		app.registerSite(g.handler)
		if err := app.prepareSigning(app.gate()); err != nil {
			t.Errorf("sign %t: %v", test.sign, err)
		}
		broken := newGateway(t, func(h *Handler) { h.Sign = test.sign })
		broken.handler.app.run.ctx = app.run.ctx
		broken.handler.app.registerSite(broken.handler)
		if err := broken.store.Close(); err != nil {
			t.Fatal(err)
		}
		err := broken.handler.app.prepareSigning(broken.handler.app.gate())
		if (err != nil) != test.sign || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("sign %t without a backend: %v", test.sign, err)
		}
	}
}

// BenchmarkAssertion is what `sign on` adds to a request.
func BenchmarkAssertion(b *testing.B) {
	g := newGateway(b, signing)
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	w := &benchWriter{header: make(http.Header)}
	r := caddyhttp.PrepareRequest(benchRequest("GET", "/v1/charges", "Bearer "+g.live), caddy.NewReplacer(), w, nil)
	if err := g.handler.ServeHTTP(w, r, next); err != nil {
		b.Fatal(err)
	}
	x := &exchange{handler: g.handler, gate: g.handler.app.gate()}
	x.start = x.gate.now()
	r.Header["Authorization"] = []string{"Bearer " + g.live}
	x.judge(r)
	b.ReportAllocs()
	for b.Loop() {
		x.values.used = 0
		if !x.assert(r) {
			b.Fatal(errors.New("not signed"))
		}
	}
}
