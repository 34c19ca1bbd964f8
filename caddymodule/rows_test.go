package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestRows walks the table of contract section 3.2: what is wrong, and what it answers.
func TestRows(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	ctx := context.Background()

	gone, old := g.restricted(readCustomers())
	if _, err := g.store.DeleteKey(ctx, testActor, gone.ID); err != nil {
		t.Fatal(err)
	}
	_, limited := g.key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"203.0.113.0/24"}})
	_, org := g.key(keystore.KeyParams{Kind: policy.KindOrganization, Organization: g.org.ID})
	_, narrow := g.restricted(readCustomers())
	unknown := "sk_live_" + strings.Repeat("A", 32)
	unknown = withChecksum(t, unknown)

	tests := []struct {
		name    string
		request *http.Request
		status  int
		kind    string
		code    string
	}{
		{"0 dot segment", request("GET", "/v1/x/../charges", g.live), 400, "invalid_request_error", "request_malformed"},
		{"0 TRACE", request("TRACE", "/v1/charges", g.live), 405, "invalid_request_error", "method_not_allowed"},
		{"1 no key", request("GET", "/v1/charges", ""), 401, "invalid_request_error", "api_key_missing"},
		{"1 OPTIONS is no preflight", request("OPTIONS", "/v1/charges", ""), 401, "invalid_request_error", "api_key_missing"},
		{"2 unknown", request("GET", "/v1/charges", unknown), 401, "invalid_request_error", "api_key_invalid"},
		{"2 bad checksum", request("GET", "/v1/charges", g.live[:len(g.live)-1]+"!"), 401, "invalid_request_error", "api_key_invalid"},
		{"2 foreign", request("GET", "/v1/charges", "hunter2"), 401, "invalid_request_error", "api_key_invalid"},
		{"3 deleted", request("GET", "/v1/customers", old), 401, "authentication_error", "api_key_expired"},
		{"4 address", request("GET", "/v1/charges", limited), 403, "permission_error", "ip_not_allowed"},
		{"6 context", request("GET", "/v1/charges", org), 400, "invalid_request_error", "context_required"},
		{"6 version", request("GET", "/v1/charges", org, "Stripe-Context", g.a.ID), 400, "invalid_request_error", "version_required"},
		{"6 version malformed", request("GET", "/v1/charges", g.live, "Stripe-Version", "latest"), 400, "invalid_request_error", "version_invalid"},
		{"6 two versions", request("GET", "/v1/charges", g.live, "Stripe-Version", "2024-06-20", "Stripe-Version", "2024-06-20"), 400, "invalid_request_error", "version_invalid"},
		{"7 malformed", request("GET", "/v1/charges", g.live, "Stripe-Context", g.sub.ID+"/../"+g.b.ID), 400, "invalid_request_error", "context_invalid"},
		{"7 two contexts", request("GET", "/v1/charges", g.live, "Stripe-Context", g.sub.ID, "Stripe-Context", g.sub.ID), 400, "invalid_request_error", "context_invalid"},
		{"7 context and account differ", request("GET", "/v1/charges", g.live, "Stripe-Context", g.sub.ID, "Stripe-Account", g.b.ID), 400, "invalid_request_error", "context_invalid"},
		{"7 not connected", request("GET", "/v1/charges", g.live, "Stripe-Account", g.lone.ID), 403, "permission_error", "account_invalid"},
		{"7 not a member", request("GET", "/v1/charges", org, "Stripe-Context", g.lone.ID, "Stripe-Version", "2024-06-20"), 403, "permission_error", "account_invalid"},
		{"8 publishable", request("GET", "/v1/charges", g.publ), 403, "invalid_request_error", "secret_key_required"},
		{"9 permission", request("POST", "/v1/customers", narrow), 403, "permission_error", "permission_denied"},
		{"9 route", request("GET", "/admin/x", narrow), 403, "permission_error", "route_unknown"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body, header := g.wantDenied(test.request, test.status, test.code)
			if body.Type != test.kind {
				t.Errorf("type %q, want %q", body.Type, test.kind)
			}
			if id := header.Get("Request-Id"); !strings.HasPrefix(id, "req_") || id != body.RequestID || len(header["Request-Id"]) != 1 {
				t.Errorf("Request-Id %q, body has %q; want one id in both", header["Request-Id"], body.RequestID)
			}
			want := map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Stripe-Should-Retry": "false"}
			if test.status == 401 {
				want["Www-Authenticate"] = `Bearer realm="Keystile"`
			}
			for name, value := range want {
				if got := header.Get(name); got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
			if body.Message == "" || strings.Contains(body.Message, "hunter2") {
				t.Errorf("message %q", body.Message)
			}
			if rec := g.lastRecord(); rec.Decision != test.code || rec.Status != test.status || rec.ErrorCode != test.code || rec.ID != body.RequestID {
				t.Errorf("record: decision %q, status %d, error %q, id %q; want %q, %d and the answer's id", rec.Decision, rec.Status, rec.ErrorCode, rec.ID, test.code, test.status)
			}
		})
	}
}

func TestPermissionDeniedSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	body, header := g.wantDenied(request("POST", "/v1/charges", token), 403, "permission_denied")
	if body.RequiredPermission != "charges_write" || header.Get("Keystile-Required-Permission") != "charges_write" {
		t.Errorf("required permission %q in the body, %q in the header; want charges_write", body.RequiredPermission, header.Get("Keystile-Required-Permission"))
	}
	for _, part := range []string{
		"does not have the required permissions for this endpoint on account '" + g.a.ID + "'",
		"Enabling 'charges_write' on this key would allow this request", key.Mask,
	} {
		if !strings.Contains(body.Message, part) {
			t.Errorf("message %q, want it to contain %q", body.Message, part)
		}
	}
	if strings.Contains(body.Message, token[8:20]) {
		t.Errorf("message %q shows the token", body.Message)
	}
}

// TestRow5: sites of one mode, and upstreams of one mode.
func TestRow5(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"live", "sandbox"} {
		g := newGateway(t, func(h *Handler) { h.Mode = mode })
		good, bad := g.live, g.test
		if mode == "sandbox" {
			good, bad = bad, good
		}
		g.wantServed(request("GET", "/v1/charges", good))
		body, _ := g.wantDenied(request("GET", "/v1/charges", bad), 403, "livemode_mismatch")
		if body.Type != "permission_error" {
			t.Errorf("type %q, want permission_error", body.Type)
		}
	}
}

// TestRow8Origins: a publishable key that is limited to origins.
func TestRow8Origins(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	k, _ := g.store.Lookup(ptr(policy.DigestOf(g.publ)))
	_, err := g.store.UpdateKey(context.Background(), testActor, k.ID, keystore.KeyPatch{AllowedOrigins: keystore.To([]string{"https://shop.example"})})
	if err != nil {
		t.Fatal(err)
	}
	g.wantDenied(request("POST", "/v1/tokens", g.publ), 403, "origin_not_allowed")
	g.wantDenied(request("POST", "/v1/tokens", g.publ, "Origin", "https://evil.example"), 403, "origin_not_allowed")
	g.wantDenied(request("POST", "/v1/tokens", g.publ, "Origin", "https://shop.example", "Origin", "https://evil.example"), 400, "request_malformed")
	g.wantServed(request("POST", "/v1/tokens", g.publ, "Origin", "https://shop.example"))
}

// TestRow10Throttle: failed tries of one address are slowed, and valid keys from there are not.
func TestRow10Throttle(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	g.now.Store(&at)
	guess := func() *http.Request { return request("GET", "/v1/charges", "sk_live_guess") }
	for range throttleBurst {
		g.wantDenied(guess(), 401, "api_key_invalid")
	}
	body, header := g.wantDenied(guess(), 429, "rate_limit")
	if body.Type != "rate_limit_error" || header.Get("Retry-After") != "1" || header.Get("Stripe-Should-Retry") != "" {
		t.Errorf("type %q, Retry-After %q, Stripe-Should-Retry %q", body.Type, header.Get("Retry-After"), header.Get("Stripe-Should-Retry"))
	}
	g.wantServed(request("GET", "/v1/charges", g.live))
	g.wantDenied(request("GET", "/v1/charges", ""), 401, "api_key_missing")
	other := guess()
	other.RemoteAddr = "198.51.100.10:1"
	g.wantDenied(other, 401, "api_key_invalid")
	later := at.Add(time.Second)
	g.now.Store(&later)
	for range throttleRate {
		g.wantDenied(guess(), 401, "api_key_invalid")
	}
	g.wantDenied(guess(), 429, "rate_limit")
}

// TestRow11: without a store nothing is decided, and nothing passes.
func TestRow11(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	kept := g.handler.app.run.gated.Swap(nil)
	g.handler.app.run.done = true // cleaned up: open answers no gate
	body, header := g.wantDenied(request("GET", "/healthz", g.live), 503, "gateway_unavailable")
	if body.Type != "api_error" || !strings.HasPrefix(header.Get("Request-Id"), "req_") {
		t.Errorf("type %q, Request-Id %q", body.Type, header.Get("Request-Id"))
	}
	g.handler.app.run.gated.Store(kept)
	g.wantServed(request("GET", "/v1/charges", g.live))
}

func TestTooEarly(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, limited := g.key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"198.51.100.0/24"}})
	early := func(token string) *http.Request {
		r := request("GET", "/v1/charges", token)
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
		return r
	}
	_, header := g.wantDenied(early(limited), 425, "too_early")
	if header.Get("Stripe-Should-Retry") == "false" {
		t.Error("a client is told not to try again after the handshake")
	}
	g.wantDenied(request("GET", "/v1/charges", limited, "Early-Data", "1"), 425, "too_early")
	g.wantServed(early(g.live))
	done := early(limited)
	done.TLS.HandshakeComplete = true
	g.wantServed(done)
	if rec := g.lastRecord(); rec.TLS != "1.3" {
		t.Errorf("record has TLS %q, want 1.3", rec.TLS)
	}
}

// TestOpenRoutes need no key, but a bad one is refused and a good one is identified.
func TestOpenRoutes(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	seen, w := g.wantServed(request("GET", "/public/x", "", "Keystile-Account", "acct_forged", "Keystile_Mode", "live"))
	if got := seen.Header.Get("Keystile-Account"); got != "" || hasAlias(seen.Header, "Keystile-Mode") {
		t.Errorf("forged identity reached the backend of an open route: %v", seen.Header)
	}
	if w.Header().Get("Request-Id") == "" || seen.Header.Get("Keystile-Request-Id") != w.Header().Get("Request-Id") {
		t.Errorf("Request-Id %q in the answer, %q at the backend", w.Header().Get("Request-Id"), seen.Header.Get("Keystile-Request-Id"))
	}
	if rec := g.lastRecord(); rec.Decision != "open" || rec.Key != "" {
		t.Errorf("record: decision %q key %q, want open and none", rec.Decision, rec.Key)
	}
	seen, _ = g.wantServed(request("GET", "/healthz", g.test))
	if seen.Header.Get("Keystile-Mode") != "sandbox" || seen.Header.Get("Authorization") != "" {
		t.Errorf("a good key on an open route: %v", seen.Header)
	}
	g.wantDenied(request("GET", "/healthz", "nonsense"), 401, "api_key_invalid")
	g.wantDenied(request("GET", "/public", ""), 401, "api_key_missing")
	g.wantDenied(request("GET", "/public/../v1/charges", ""), 400, "request_malformed")
	g.wantDenied(request("GET", "/v1/charges?/public/", ""), 401, "api_key_missing")
}

func TestHeadDenialHasNoBody(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	w, _ := g.do(request("HEAD", "/v1/charges", ""))
	if w.Code != 401 || w.Body.Len() != 0 || w.Header().Get("Content-Length") == "" {
		t.Errorf("status %d, %d bytes, Content-Length %q; want 401 without body", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
	}
}

func TestDenialsByCaddy(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.Denials = "handle_errors" })
	w, err := g.do(request("GET", "/v1/charges", ""))
	if err == nil || g.reached.Load() != 0 {
		t.Fatalf("error %v, backend reached %d times; want an error and no", err, g.reached.Load())
	}
	if status, ok := handlerStatus(err); !ok || status != 401 {
		t.Errorf("error %v, want status 401", err)
	}
	if w.Header().Get("Request-Id") == "" || w.Header().Get("Www-Authenticate") == "" || w.Body.Len() != 0 {
		t.Errorf("headers %v, body %q", w.Header(), w.Body)
	}
	if rec := g.lastRecord(); rec.Status != 401 || rec.Decision != "api_key_missing" {
		t.Errorf("record: %d %q", rec.Status, rec.Decision)
	}
}

func TestDocURL(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.DocURL = "https://docs.example/errors#{code}" })
	body, _ := g.wantDenied(request("GET", "/v1/charges", ""), 401, "api_key_missing")
	if want := "https://docs.example/errors#api_key_missing"; body.DocURL != want {
		t.Errorf("doc_url %q, want %q", body.DocURL, want)
	}
}

// TestOverloadDeny: with on_overload deny nothing passes that could not be recorded.
func TestOverloadDeny(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.OnOverload = "deny" })
	g.wantServed(request("GET", "/v1/charges", g.live))
	full := newStuckStore()
	log, err := requestlog.Open(requestlog.Options{Store: full, QueueSize: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { close(full.release); _ = log.Close() }()
	gate := *g.handler.app.run.gated.Load()
	gate.log = log
	g.handler.app.run.gated.Store(&gate)
	log.Append(log.NewRecord())
	<-full.entered // the writer is stuck, and takes no more
	for log.Ready() {
		log.Append(log.NewRecord())
	}
	g.wantDenied(request("GET", "/v1/charges", g.live), 503, "gateway_unavailable")
	g.handler.deny503 = false
	g.wantServed(request("GET", "/v1/charges", g.live))
}

func ptr[T any](v T) *T { return &v }
