package main_test

import (
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// preflight is the bytes of a CORS preflight.
func preflight(target, origin, method, headers string) string {
	lines := []string{"Origin: " + origin, "Access-Control-Request-Method: " + method}
	if headers != "" {
		lines = append(lines, "Access-Control-Request-Headers: "+headers)
	}
	return gatetest.Request("OPTIONS", target, "", lines...)
}

// TestPreflight: the gateway answers preflights itself, with what a client of these keys sends, and asks no backend.
func TestPreflight(t *testing.T) {
	b := theBed(t)
	tests := []struct {
		name, site, origin, want string
	}{
		{"default", b.any, "https://shop.example", "*"},
		{"configured origin", b.header, "https://app.example.com", "https://app.example.com"},
		{"other origin", b.header, "https://evil.example", ""},
		{"origin that begins alike", b.header, "https://app.example.com.evil.example", ""},
		{"origin of another scheme", b.header, "http://app.example.com", ""},
		{"origin of another port", b.header, "https://app.example.com:8443", ""},
		{"null origin", b.header, "null", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := b.calls()
			answer := b.send(t, tt.site, preflight("/v1/tokens", tt.origin, "POST", "authorization,content-type,x-api-key"))
			if b.calls() != before {
				t.Error("the backend was asked")
			}
			if answer.Header.Get("Request-Id") == "" {
				t.Error("the answer has no Request-Id")
			}
			if got := answer.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
				t.Errorf("got Access-Control-Allow-Origin %q, want %q", got, tt.want)
			}
			if got := answer.Header.Get("Access-Control-Allow-Credentials"); got != "" {
				t.Errorf("got Access-Control-Allow-Credentials %q, want none", got)
			}
			if answer.Status != 204 || len(answer.Body) != 0 {
				t.Errorf("got %d with %d bytes, want 204 without a body", answer.Status, len(answer.Body))
			}
			if tt.want == "" {
				return
			}
			if got := answer.Header.Get("Access-Control-Max-Age"); got != "300" {
				t.Errorf("got Access-Control-Max-Age %q, want 300", got)
			}
			allowed := strings.ToLower(answer.Header.Get("Access-Control-Allow-Headers"))
			for _, name := range []string{"authorization", "content-type", "stripe-version", "stripe-account", "stripe-context", "idempotency-key"} {
				if !strings.Contains(allowed, name) {
					t.Errorf("Access-Control-Allow-Headers %q lacks %s", allowed, name)
				}
			}
			if got := answer.Header.Get("Access-Control-Allow-Methods"); !strings.Contains(got, "POST") || !strings.Contains(got, "DELETE") {
				t.Errorf("got Access-Control-Allow-Methods %q", got)
			}
			if tt.want != "*" && !strings.Contains(strings.Join(answer.Header.Values("Vary"), ", "), "Origin") {
				t.Errorf("got Vary %q, want Origin in it", answer.Header.Values("Vary"))
			}
		})
	}
	t.Run("not quite a preflight", func(t *testing.T) {
		b.denied(t, b.any, gatetest.Request("OPTIONS", "/v1/tokens", "", "Origin: https://shop.example"), missing)
		b.denied(t, b.any, gatetest.Request("OPTIONS", "/v1/tokens", "", "Access-Control-Request-Method: POST"), missing)
		b.denied(t, b.any, gatetest.Request("GET", "/v1/tokens", "", "Origin: https://shop.example", "Access-Control-Request-Method: POST"), missing)
		b.denied(t, b.any, preflight("/v1/../tokens", "https://shop.example", "POST", ""), malformed)
	})
}

// TestCORSAnswers: browsers may read answers and denials, and the request id in them.
func TestCORSAnswers(t *testing.T) {
	b := theBed(t)
	tests := []struct {
		name, site, request, want string
	}{
		{"allowed", b.any, post("/v1/tokens", b.PK.Token, "Origin: https://shop.example"), "*"},
		{"denied", b.any, get("/v1/customers", b.PK.Token, "Origin: https://shop.example"), "*"},
		{"missing key", b.any, gatetest.Request("GET", "/v1/customers", "", "Origin: https://shop.example"), "*"},
		{"configured", b.header, post("/v1/tokens", b.PK.Token, "Origin: https://app.example.com"), "https://app.example.com"},
		{"other origin", b.header, post("/v1/tokens", b.PK.Token, "Origin: https://evil.example"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := b.send(t, tt.site, tt.request)
			if got := answer.Header.Values("Access-Control-Allow-Origin"); strings.Join(got, "|") != tt.want {
				t.Errorf("got Access-Control-Allow-Origin %v, want %q", got, tt.want)
			}
			if got := answer.Header.Get("Access-Control-Expose-Headers"); tt.want != "" && !strings.Contains(got, "Request-Id") {
				t.Errorf("got Access-Control-Expose-Headers %q, want Request-Id in it", got)
			}
			if got := answer.Header.Get("Access-Control-Allow-Credentials"); got != "" {
				t.Errorf("got Access-Control-Allow-Credentials %q", got)
			}
		})
	}
}

// TestOrigins: a publishable key with origins needs one of them.
func TestOrigins(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "with origins", "").ID
	key := b.Admin.DefaultKey(t, account, "publishable", "live")
	b.Admin.EditKey(t, key.ID, gatetest.Fields{"allowed_origins": []string{"https://shop.example"}})
	b.passes(t, b.any, post("/v1/tokens", key.Token, "Origin: https://shop.example"))
	for _, lines := range [][]string{
		nil,
		{"Origin: https://evil.example"},
		{"Origin: http://shop.example"},
		{"Origin: https://shop.example.evil.example"},
		{"Origin: https://evil.example/https://shop.example"},
		{"Origin: null"},
		{"Origin:"},
		{"Origin: https://shop.example, https://evil.example"},
		{"Referer: https://shop.example/cart"},
	} {
		b.denied(t, b.any, post("/v1/tokens", key.Token, lines...), originDenied)
	}
	b.denied(t, b.any, post("/v1/tokens", key.Token, "Origin: https://shop.example", "Origin: https://evil.example"), malformed)
	b.denied(t, b.any, get("/v1/customers", key.Token, "Origin: https://evil.example"), secretRequired)
}
