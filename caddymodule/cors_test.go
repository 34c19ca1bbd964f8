package caddymodule

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestPreflight(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.KeyHeader = "X-Api-Key" })
	ask := func(target string) *http.Request {
		return request("OPTIONS", target, "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	}
	w, err := g.do(ask("/v1/charges"))
	if err != nil || w.Code != 204 || g.reached.Load() != 0 || w.Body.Len() != 0 {
		t.Fatalf("status %d, error %v, body %q, backend reached %d times", w.Code, err, w.Body, g.reached.Load())
	}
	want := map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Max-Age": "300", "Access-Control-Allow-Credentials": "",
		"Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
	}
	for name, value := range want {
		if got := w.Header().Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	sent := strings.Split(w.Header().Get("Access-Control-Allow-Headers"), ", ")
	for _, name := range []string{"Authorization", "Content-Type", "Idempotency-Key", "Stripe-Account", "Stripe-Context", "Stripe-Version", "X-Api-Key", "X-Stripe-Client-User-Agent"} {
		if !slices.Contains(sent, name) {
			t.Errorf("scripts may not send %s: %q", name, sent)
		}
	}
	if !strings.HasPrefix(w.Header().Get("Request-Id"), "req_") {
		t.Error("no Request-Id")
	}
	if rec := g.lastRecord(); rec.Decision != "preflight" || rec.Status != 204 {
		t.Errorf("record: %q %d, want preflight 204", rec.Decision, rec.Status)
	}
	g.wantDenied(ask("/v1/../charges"), 400, "request_malformed")
	two := ask("/v1/charges")
	two.Header["Origin"] = append(two.Header["Origin"], "https://evil.example")
	g.wantDenied(two, 400, "request_malformed")
	plain := ask("/v1/charges")
	delete(plain.Header, "Access-Control-Request-Method")
	g.wantDenied(plain, 401, "api_key_missing")
	post := ask("/v1/charges")
	post.Method = "POST"
	g.wantDenied(post, 401, "api_key_missing")
}

// TestCORSAnswers: every answer to a script can be read by it, also denials; the backend's own headers do not make two.
func TestCORSAnswers(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	g.backend = func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Add("Access-Control-Allow-Origin", "https://backend.example")
		w.Header().Add("Access-Control-Allow-Credentials", "true")
		w.Header().Add("Access-Control-Expose-Headers", "X-Backend")
		w.Header().Add("Request-Id", "req_backend")
		_, err := io.WriteString(w, "ok")
		return err
	}
	_, w := g.wantServed(request("GET", "/v1/charges", g.live, "Origin", "https://app.example"))
	if got := w.Header()["Access-Control-Allow-Origin"]; !slices.Equal(got, []string{"*"}) {
		t.Errorf("Access-Control-Allow-Origin %q, want * once", got)
	}
	if w.Header().Get("Access-Control-Allow-Credentials") != "" {
		t.Error("credentials are allowed to any origin")
	}
	exposed := strings.Join(w.Header()["Access-Control-Expose-Headers"], ", ")
	if !strings.Contains(exposed, "Request-Id") || !strings.Contains(exposed, "X-Backend") {
		t.Errorf("exposed %q, want ours and the backend's", exposed)
	}
	if ids := w.Header()["Request-Id"]; len(ids) != 1 || ids[0] == "req_backend" {
		t.Errorf("Request-Id %q, want ours alone", ids)
	}
	_, header := g.wantDenied(request("GET", "/v1/charges", "", "Origin", "https://app.example"), 401, "api_key_missing")
	if header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(header.Get("Access-Control-Expose-Headers"), "Request-Id") {
		t.Errorf("a script cannot read the denial: %v", header)
	}
	_, w = g.wantServed(request("GET", "/v1/charges", g.live))
	if got := w.Header()["Access-Control-Allow-Origin"]; !slices.Equal(got, []string{"https://backend.example"}) {
		t.Errorf("without Origin: %q, want the backend's word untouched", got)
	}
}

func TestCORSOrigins(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.CORSOrigins = []string{"https://app.example", "HTTP://localhost:3000"} })
	for origin, want := range map[string]string{
		"https://app.example": "https://app.example", "http://localhost:3000": "http://localhost:3000",
		"https://evil.example": "", "https://app.example.evil": "", "null": "", "http://app.example": "",
	} {
		w, err := g.do(request("OPTIONS", "/v1/charges", "", "Origin", origin, "Access-Control-Request-Method", "POST"))
		if err != nil || w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: status %d, error %v, allowed %q, want %q", origin, w.Code, err, w.Header().Get("Access-Control-Allow-Origin"), want)
		}
		if (want == "") != (w.Header().Get("Access-Control-Allow-Methods") == "") {
			t.Errorf("%s: methods %q", origin, w.Header().Get("Access-Control-Allow-Methods"))
		}
		if !slices.Contains(w.Header()["Vary"], "Origin") {
			t.Errorf("%s: Vary %q, want Origin in it", origin, w.Header()["Vary"])
		}
	}
	_, w := g.wantServed(request("GET", "/v1/charges", g.live))
	if got := w.Header()["Vary"]; !slices.Equal(got, []string{"Origin"}) || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without Origin: Vary %q, headers %v; want Origin alone, for caches", got, w.Header())
	}
	for _, bad := range [][]string{{"app.example"}, {"https://app.example/"}, {"*", "https://app.example"}, {""}, {"https://u@h"}} {
		if _, err := newCrossOrigin(bad, testHeaders, ""); err == nil {
			t.Errorf("origins %q: no error", bad)
		}
	}
}
