package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// TestIdentityHeadersAreTheGateways: attacks A1 to A4. Every spelling that a backend could take for an identity header is
// removed, on open routes too, and what the gateway says stands there once.
func TestIdentityHeadersAreTheGateways(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	for _, name := range []string{
		"Keystile-Account", "keystile-account", "KEYSTILE-ACCOUNT", "Keystile_Account", "keystile.account", "Keystile_.Account",
		"kEyStIlE-aCcOuNt", "Keystile-Key-Id", "keystile_key_id", "Keystile!Key~Id", "Keystile-Not-Used-Yet", "Keystile-",
	} {
		for _, target := range []string{"/v1/customers", "/public/x"} {
			r := request("GET", target, token)
			r.Header[name] = []string{"forged", "forged twice"}
			seen, _ := g.wantServed(r)
			for have, values := range seen.Header {
				if strings.HasPrefix(foldName(have), "keystile-") && (have != http.CanonicalHeaderKey(have) || len(values) != 1 || values[0] == "forged") {
					t.Errorf("%s with %s: backend got %s: %q", target, name, have, values)
				}
			}
			if got := seen.Header["Keystile-Key-Id"]; !slices.Equal(got, []string{key.ID}) {
				t.Errorf("%s with %s: Keystile-Key-Id %q, want %q once", target, name, got, key.ID)
			}
			if got := seen.Header["Keystile-Account"]; !slices.Equal(got, []string{g.a.ID}) {
				t.Errorf("%s with %s: Keystile-Account %q, want %q once", target, name, got, g.a.ID)
			}
		}
	}
}

// TestBackendHeaders: exactly the list of section 3.4.
func TestBackendHeaders(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, org := g.key(keystore.KeyParams{Kind: policy.KindOrganization, Organization: g.org.ID, Mode: policy.ModeSandbox})
	sandbox := g.a.DefaultSandbox
	tests := []struct {
		name    string
		request *http.Request
		want    map[string]string
	}{
		{"own account", request("GET", "/v1/charges", g.live), map[string]string{
			"Key-Kind": "secret", "Mode": "live", "Account": g.a.ID, "Resource": "charges", "Access": "read",
		}},
		{"sandbox", request("POST", "/v1/charges", g.test), map[string]string{
			"Key-Kind": "secret", "Mode": "sandbox", "Account": g.a.ID, "Sandbox": sandbox, "Resource": "charges", "Access": "write",
		}},
		{"unknown route", request("GET", "/other", g.live), map[string]string{"Key-Kind": "secret", "Mode": "live", "Account": g.a.ID}},
		{"connected", request("GET", "/v1/charges", g.live, "Stripe-Account", g.sub.ID), map[string]string{
			"Key-Kind": "secret", "Mode": "live", "Account": g.sub.ID, "Owner": g.a.ID, "Connected": "true", "Resource": "charges", "Access": "read",
		}},
		{"organization", request("GET", "/v1/charges", org, "Stripe-Context", g.b.ID, "Stripe-Version", "2025-01-01"), map[string]string{
			"Key-Kind": "organization", "Mode": "sandbox", "Account": g.b.ID, "Sandbox": g.b.DefaultSandbox, "Owner": g.org.ID, "Resource": "charges", "Access": "read",
		}},
		{"open, no key", request("GET", "/healthz", ""), map[string]string{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			seen, w := g.wantServed(test.request)
			for name, value := range test.want {
				if got := seen.Header["Keystile-"+name]; !slices.Equal(got, []string{value}) {
					t.Errorf("Keystile-%s: %q, want %q", name, got, value)
				}
			}
			for name := range seen.Header {
				short, is := strings.CutPrefix(name, "Keystile-")
				if _, wanted := test.want[short]; is && !wanted && short != "Request-Id" && short != "Key-Id" {
					t.Errorf("backend got %s, which says nothing here", name)
				}
			}
			if seen.Header.Get("Authorization") != "" {
				t.Error("the credential reached the backend")
			}
			if id := w.Header()["Request-Id"]; len(id) != 1 || !slices.Equal(seen.Header["Keystile-Request-Id"], id) {
				t.Errorf("Request-Id %q in the answer, %q at the backend", id, seen.Header["Keystile-Request-Id"])
			}
		})
	}
}

// TestVersionIsForwardedAndEchoed: the one given, else the account's default.
func TestVersionIsForwardedAndEchoed(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for given, want := range map[string]string{"": "2024-06-20", "2023-08-16": "2023-08-16", "2025-03-31.basil": "2025-03-31.basil"} {
		r := request("GET", "/v1/charges", g.live)
		if given != "" {
			r.Header.Set("Stripe-Version", given)
		}
		seen, w := g.wantServed(r)
		if !slices.Equal(seen.Header["Stripe-Version"], []string{want}) || !slices.Equal(w.Header()["Stripe-Version"], []string{want}) {
			t.Errorf("given %q: backend got %q, answer has %q; want %q", given, seen.Header["Stripe-Version"], w.Header()["Stripe-Version"], want)
		}
	}
}

// TestAliasesOfInputs: a backend that folds names must not find a second context or credential.
func TestAliasesOfInputs(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.KeyHeader = "x-api-key" })
	for _, alias := range []string{"Stripe_Context", "stripe.account", "Stripe_Version", "X_Api_Key", "X.Api-Key", "X_Forwarded_For", "Content_Length", "Idempotency_Key"} {
		r := request("GET", "/v1/charges", g.live)
		r.Header[alias] = []string{"x"}
		seen, _ := g.wantServed(r)
		if _, there := seen.Header[alias]; there {
			t.Errorf("alias %s reached the backend", alias)
		}
	}
	for _, raw := range []string{"stripe-context", "AUTHORIZATION", "x-api-key", "host"} {
		r := request("GET", "/v1/charges", g.live)
		r.Header[raw] = []string{"x"}
		g.wantDenied(r, 400, "request_malformed")
	}
}

func TestOverridesAreRemoved(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, token := g.restricted(readCustomers())
	overrides := []string{
		"X-Http-Method-Override", "x-http-method-override", "X_HTTP_Method_Override", "X-Method-Override", "X-Http-Method",
		"X-Original-Url", "X-Rewrite-Url", "X_Rewrite_Url", "X-Envoy-Original-Path", "X-Original-Uri", "X-Forwarded-Uri", "X-Forwarded-Prefix",
	}
	for _, name := range overrides {
		g.wantDenied(request("POST", "/v1/customers", token, name, "GET"), 403, "permission_denied")
		seen, _ := g.wantServed(request("GET", "/v1/customers", token, name, "DELETE"))
		if _, there := seen.Header[name]; there {
			t.Errorf("%s reached the backend", name)
		}
		g.wantDenied(request("GET", "/v1/charges", token, name, "/public/x"), 403, "permission_denied")
	}
	g.wantDenied(request("POST", "/v1/customers?_method=GET", token), 403, "permission_denied")
}

// TestConnectionTokens: attacks B1 to B4. What the gateway wrote or read cannot be deleted by the next proxy; what is
// nobody's but the client's can.
func TestConnectionTokens(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	tests := []struct {
		connection []string
		want       []string
	}{
		{[]string{"close, Keystile-Key-Id, Keystile-Account"}, []string{"close"}},
		{[]string{"keystile-key-id"}, nil},
		{[]string{"KEYSTILE_Account , x-hop"}, []string{"x-hop"}},
		{[]string{"Keystile.Mode", "keep-alive"}, []string{"keep-alive"}},
		{[]string{"X-Forwarded-For"}, nil},
		{[]string{"authorization, stripe-context,Stripe-Account, STRIPE-VERSION"}, nil},
		{[]string{"Content-Length", "transfer-encoding", "Host"}, nil},
		{[]string{"\tkeystile-mode\t,,"}, nil},
		{[]string{"keep-alive, X-Hop"}, []string{"keep-alive, X-Hop"}},
		{[]string{"Upgrade"}, []string{"Upgrade"}},
		{[]string{"TE, close"}, []string{"TE, close"}},
	}
	for _, test := range tests {
		r := request("GET", "/v1/charges", g.live)
		r.Header["Connection"] = test.connection
		seen, _ := g.wantServed(r)
		if got := seen.Header["Connection"]; !slices.Equal(got, test.want) {
			t.Errorf("Connection %q: backend's proxy gets %q, want %q", test.connection, got, test.want)
		}
	}
	// B3: outside of the range, whatever is said of the forwarding header
	_, limited := g.key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"203.0.113.0/24"}})
	g.wantDenied(request("GET", "/v1/charges", limited, "X-Forwarded-For", "203.0.113.5", "Connection", "X-Forwarded-For"), 403, "ip_not_allowed")
}

// TestTrailers: attack A5. Trailers arrive with the end of the body, announced or not.
func TestTrailers(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	var got http.Header
	g.backend = func(w http.ResponseWriter, r *http.Request) error {
		if _, there := r.Trailer["Keystile-Account"]; there {
			t.Error("the announcement of an identity trailer reached the backend")
		}
		_, err := io.Copy(io.Discard, r.Body)
		got = r.Trailer.Clone()
		return err
	}
	r := request("POST", "/v1/charges", g.live)
	r.Trailer = http.Header{"Keystile-Account": nil, "X-Checksum": nil}
	r.Body = io.NopCloser(&trailingReader{text: strings.NewReader("hello"), end: func() {
		r.Trailer["X-Checksum"] = []string{"1"}
		for _, name := range []string{"Keystile-Account", "keystile_mode", "Keystile.Owner", "Authorization", "Stripe_Context", "X-Http-Method-Override", "Content-Length"} {
			r.Trailer[name] = []string{"forged"}
		}
	}})
	g.wantServed(r)
	if len(got) != 1 || got.Get("X-Checksum") != "1" {
		t.Errorf("trailers at the backend: %v, want X-Checksum alone", got)
	}
	if rec := g.lastRecord(); rec.BytesIn != 5 {
		t.Errorf("record: %d bytes in, want 5", rec.BytesIn)
	}
}

type trailingReader struct {
	text io.Reader
	end  func()
}

func (r *trailingReader) Read(p []byte) (int, error) {
	n, err := r.text.Read(p)
	if err == io.EOF {
		r.end()
	}
	return n, err
}

// TestTargets: attacks C1 to C10 and what belongs to them, as targets of a restricted key for customers.
func TestTargets(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, token := g.restricted(readCustomers())
	malformed := []string{
		"/v1/customers/../charges", "/v1/customers/%2e%2e/charges", "/v1/customers/%2E./charges", "/v1/customers/..%2fcharges",
		"/v1/customers/..%2Fcharges", "/v1/customers/..%5ccharges", "/v1/customers/%2f/x", "//v1/charges", "/v1//charges",
		"/v1/customers//../charges", "//admin/x", "/v1/customers/.", "/v1/customers/..;/charges", "/v1/customers/%00",
		"/v1/customers/%0a", "/v1/customers/%ff", "/v1/customers/%C0%AE", "/v1/customers#x", "/v1/customers?a#b",
		"/v1/customers/%5c..", "/v1/customers;x=/../../charges",
	}
	for _, target := range malformed {
		r := raw(t, "GET", target)
		if r == nil {
			continue // the server's parser refuses it before any handler runs
		}
		r.Header.Set("Authorization", "Bearer "+token)
		g.wantDenied(r, 400, "request_malformed")
	}
	denied := map[string]string{
		"/V1/Charges": "route_unknown", "/v1/%63harges": "permission_denied", "/v1/charges?path=/v1/customers": "permission_denied",
		"/admin/x?/public/": "route_unknown", "/v1/customersx": "route_unknown", "/v1/charges/": "",
	}
	for target, code := range denied {
		if code == "" {
			code = "route_unknown"
		}
		g.wantDenied(request("GET", target, token), 403, code)
	}
	// double encoding stays literal, and the bytes go on unchanged
	seen, _ := g.wantServed(request("GET", "/v1/customers/%252e%252e/charges", token))
	if got := seen.URL.EscapedPath(); got != "/v1/customers/%252e%252e/charges" {
		t.Errorf("backend gets %q", got)
	}
	seen, _ = g.wantServed(request("GET", "/v1/%63ustomers?limit=3&a=%2e%2e", token))
	if got := seen.URL.RequestURI(); got != "/v1/%63ustomers?limit=3&a=%2e%2e" {
		t.Errorf("backend gets %q", got)
	}
}

// raw parses a request with this target as the server does; nil if it refuses it.
func raw(t *testing.T, method, target string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufioReader(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: api.example\r\n\r\n", method, target)))
	if err != nil {
		return nil
	}
	r.RemoteAddr = "198.51.100.9:1"
	return r
}

// TestForms: absolute-form, authority-form and "*" are no targets here; nor is a second host.
func TestForms(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, target := range []string{"http://other.example/v1/charges", "https://api.example/v1/charges", "*", "mailto:x"} {
		r := raw(t, "GET", target)
		if r == nil {
			continue
		}
		r.Header.Set("Authorization", "Bearer "+g.live)
		g.wantDenied(r, 400, "request_malformed")
	}
	for _, hosts := range [][]string{{"other.example"}, {"example.com", "example.com"}, {}} {
		r := request("GET", "/v1/charges", g.live)
		r.Header["Host"] = hosts
		g.wantDenied(r, 400, "request_malformed")
	}
	same := request("GET", "/v1/charges", g.live)
	same.Header["Host"] = []string{"EXAMPLE.com"}
	g.wantServed(same)
}

// TestRewrites: an earlier directive's rewrite is what the backend gets, and so what is decided on; but what the client
// wrote must not be ambiguous.
func TestRewrites(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, token := g.restricted(readCustomers())
	g.rewrite = "/v1/charges"
	g.wantDenied(request("GET", "/v1/customers", token), 403, "permission_denied")
	g.rewrite = "/v1/customers"
	g.wantServed(request("GET", "/short", token))
	g.wantDenied(request("GET", "/x/../short", token), 400, "request_malformed")
	g.rewrite = "//v1/customers"
	g.wantDenied(request("GET", "/short", token), 400, "request_malformed")
}

func TestMethods(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, token := g.restricted(readCustomers())
	_, header := g.wantDenied(request("CONNECT", "/v1/customers", token), 405, "method_not_allowed")
	if header.Get("Allow") == "" || header.Get("Connection") != "close" {
		t.Errorf("Allow %q, Connection %q; want methods and close", header.Get("Allow"), header.Get("Connection"))
	}
	g.wantDenied(request("TRACE", "/public/x", token), 405, "method_not_allowed")
	g.wantServed(request("HEAD", "/v1/customers", token))
	for _, method := range []string{"PROPFIND", "get", "PATCH", "OPTIONS"} {
		w, err := g.do(request(method, "/v1/customers", token))
		if err != nil || w.Code != 403 {
			t.Errorf("%s by a key that may read: status %d, error %v; want 403", method, w.Code, err)
		}
	}
	// WebSocket over HTTP/2 is judged as the GET that it becomes
	ws := request("CONNECT", "/v1/customers", token, ":protocol", "websocket")
	ws.ProtoMajor, ws.ProtoMinor, ws.Proto = 2, 0, "HTTP/2.0"
	g.wantServed(ws)
	other := request("CONNECT", "/v1/customers", token, ":protocol", "connect-udp")
	other.ProtoMajor, other.ProtoMinor, other.Proto = 2, 0, "HTTP/2.0"
	g.wantDenied(other, 405, "method_not_allowed")
	denied := request("CONNECT", "/v1/charges", token, ":protocol", "websocket")
	denied.ProtoMajor, denied.ProtoMinor, denied.Proto = 2, 0, "HTTP/2.0"
	g.wantDenied(denied, 403, "permission_denied")
}
