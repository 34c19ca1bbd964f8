package main_test

import (
	"sort"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// wantIdentity wants exactly these Keystile headers at the backend, by exact name and value, and no other that folds to
// the prefix; "req_…" stands for any request id.
func wantIdentity(t *testing.T, got *gatetest.Received, want map[string]string) {
	t.Helper()
	var have, wanted []string
	for _, f := range got.WithPrefix("Keystile-") {
		value := f.Value
		if f.Name == "Keystile-Request-Id" && strings.HasPrefix(value, "req_") {
			value = "req_…"
		}
		have = append(have, f.Name+": "+value)
	}
	for name, value := range want {
		wanted = append(wanted, name+": "+value)
	}
	sort.Strings(have)
	sort.Strings(wanted)
	if strings.Join(have, "\n") != strings.Join(wanted, "\n") {
		t.Errorf("the backend received\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(wanted, "\n  "))
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Proxy-Authorization"} {
		if values := got.Folded(name); len(values) > 0 && name != "X-Api-Key" {
			t.Errorf("the backend received the credential header %s (%d lines)", name, len(values))
		}
	}
}

// ident builds the identity of a key acting on an account, with more name, value pairs ("" for value removes).
func ident(key gatetest.Key, mode, account string, more ...string) map[string]string {
	m := map[string]string{
		"Keystile-Request-Id": "req_…",
		"Keystile-Key-Id":     key.ID,
		"Keystile-Key-Kind":   key.Kind,
		"Keystile-Mode":       mode,
		"Keystile-Account":    account,
	}
	for i := 0; i < len(more); i += 2 {
		m["Keystile-"+more[i]] = more[i+1]
	}
	return m
}

// TestBackendHeaders: exactly the headers of section 3.4, nothing more and nothing less.
func TestBackendHeaders(t *testing.T) {
	b := theBed(t)
	sandboxOf := func(account string) string {
		return b.Admin.DefaultKey(t, account, "publishable", "sandbox").Sandbox
	}
	version := "Stripe-Version: 2026-01-01.clover"
	orgSandbox := b.Admin.CreateKey(t, gatetest.Fields{"kind": "organization", "mode": "sandbox", "organization": b.Org, "name": "org sandbox"})
	tests := []struct {
		name    string
		request string
		want    map[string]string
	}{
		{"secret", get("/v1/customers", b.SK.Token), ident(b.SK, "live", b.A, "Resource", "customers", "Access", "read")},
		{"secret, writing", post("/v1/customers", b.SK.Token), ident(b.SK, "live", b.A, "Resource", "customers", "Access", "write")},
		{"secret, HEAD", gatetest.Request("HEAD", "/v1/customers", "", gatetest.Bearer(b.SK.Token), "Connection: close"),
			ident(b.SK, "live", b.A, "Resource", "customers", "Access", "read")},
		{"secret, unknown route", get("/v1/unknown", b.SK.Token), ident(b.SK, "live", b.A)},
		{"sandbox secret", get("/v1/customers", b.SKT.Token),
			ident(b.SKT, "sandbox", b.A, "Sandbox", b.SKT.Sandbox, "Resource", "customers", "Access", "read")},
		{"restricted", get("/v1/customers/cus_1", b.RK.Token), ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read")},
		{"publishable", post("/v1/tokens", b.PK.Token), ident(b.PK, "live", b.A, "Resource", "tokens", "Access", "write")},
		{"own account as context", get("/v1/customers", b.SK.Token, "Stripe-Context: "+b.A),
			ident(b.SK, "live", b.A, "Resource", "customers", "Access", "read")},
		{"connected account", get("/v1/customers", b.SK.Token, "Stripe-Account: "+b.D),
			ident(b.SK, "live", b.D, "Resource", "customers", "Access", "read", "Owner", b.A, "Connected", "true")},
		{"connected account, two hops", get("/v1/customers", b.SK.Token, "Stripe-Context: "+b.D+"/"+b.E),
			ident(b.SK, "live", b.E, "Resource", "customers", "Access", "read", "Owner", b.A, "Connected", "true")},
		{"restricted on a connected account", get("/v1/customers", b.RKC.Token, "Stripe-Account: "+b.D),
			ident(b.RKC, "live", b.D, "Resource", "customers", "Access", "read", "Owner", b.A, "Connected", "true")},
		{"connected account in the sandbox", get("/v1/customers", b.SKT.Token, "Stripe-Account: "+b.D),
			ident(b.SKT, "sandbox", b.D, "Resource", "customers", "Access", "read", "Owner", b.A, "Connected", "true", "Sandbox", sandboxOf(b.D))},
		{"organization key", get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.B, version),
			ident(b.ORG, "live", b.B, "Resource", "customers", "Access", "read", "Owner", b.Org)},
		{"organization key, connected account", get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.A+"/"+b.D, version),
			ident(b.ORG, "live", b.D, "Resource", "customers", "Access", "read", "Owner", b.Org, "Connected", "true")},
		{"organization key in the sandbox", get("/v1/customers", orgSandbox.Token, "Stripe-Context: "+b.B, version),
			ident(orgSandbox, "sandbox", b.B, "Resource", "customers", "Access", "read", "Owner", b.Org, "Sandbox", sandboxOf(b.B))},
		{"open route, nobody", gatetest.Request("GET", "/public/x", ""), map[string]string{"Keystile-Request-Id": "req_…"}},
		{"open route, a key", get("/public/x", b.SK.Token), ident(b.SK, "live", b.A)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := b.echo.Count()
			answer := b.send(t, b.any, tt.request)
			got := b.echo.Requests(before)
			if answer.Status != 200 || len(got) != 1 {
				t.Fatalf("got status %d and %d requests at the backend, want 200 and 1; body: %.300s", answer.Status, len(got), answer.Body)
			}
			wantIdentity(t, got[0], tt.want)
			if id := got[0].Exact("Keystile-Request-Id"); len(id) != 1 || id[0] != answer.Header.Get("Request-Id") {
				t.Errorf("the backend got Keystile-Request-Id %v, the client Request-Id %q", id, answer.Header.Get("Request-Id"))
			}
		})
	}
}

// TestVersion: the version is forwarded and echoed; the account's default stands in where a key may leave it out.
func TestVersion(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "versioned", "").ID
	b.Admin.Do(t, "PATCH", "/v1/accounts/"+account, gatetest.Fields{"default_api_version": "2025-12-01.basil"}, nil)
	key := b.Admin.DefaultKey(t, account, "secret", "live")
	tests := []struct{ name, request, want string }{
		{"given", get("/v1/customers", b.SK.Token, "Stripe-Version: 2026-01-01"), "2026-01-01"},
		{"given with a name", get("/v1/customers", key.Token, "stripe-version: 2026-08-26.dahlia"), "2026-08-26.dahlia"},
		{"the account's", get("/v1/customers", key.Token), "2025-12-01.basil"},
		{"none", get("/v1/customers", b.SK.Token), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, got := b.passes(t, b.any, tt.request)
			if echo := answer.Header.Get("Stripe-Version"); echo != tt.want {
				t.Errorf("got Stripe-Version %q in the answer, want %q", echo, tt.want)
			}
			lines := got.Folded("Stripe-Version")
			if tt.want == "" && len(lines) != 0 || tt.want != "" && (len(lines) != 1 || lines[0].Value != tt.want) {
				t.Errorf("the backend got %v, want %q once", lines, tt.want)
			}
		})
	}
}

// TestPresentation: the ways of section 3.1 that are right.
func TestPresentation(t *testing.T) {
	b := theBed(t)
	tests := []struct{ name, site, line string }{
		{"bearer", b.any, "Authorization: Bearer " + b.SK.Token},
		{"bearer, lower case", b.any, "authorization: bearer " + b.SK.Token},
		{"bearer, upper case", b.any, "AUTHORIZATION: BEARER " + b.SK.Token},
		{"basic", b.any, "Authorization: Basic " + b64(b.SK.Token+":")},
		{"basic, lower case", b.any, "Authorization: basic " + b64(b.SK.Token+":")},
		{"named header", b.header, "X-Api-Key: " + b.SK.Token},
		{"named header, lower case", b.header, "x-api-key: " + b.SK.Token},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got := b.passes(t, tt.site, gatetest.Request("GET", "/v1/customers", "", tt.line))
			wantIdentity(t, got, ident(b.SK, "live", b.A, "Resource", "customers", "Access", "read"))
			if lines := got.Folded("X-Api-Key"); len(lines) != 0 {
				t.Errorf("the backend received the credential in %v", lines[0].Name)
			}
		})
	}
}

// TestModeRouting: each mode reaches its own backend and no other.
func TestModeRouting(t *testing.T) {
	b := theBed(t)
	tests := []struct{ name, site, token, backend string }{
		{"routes, live", b.routes, b.SK.Token, "live"},
		{"routes, sandbox", b.routes, b.SKT.Token, "sandbox"},
		{"routes, live publishable", b.routes, b.PK.Token, "live"},
		{"live only", b.liveOnly, b.SK.Token, "live"},
		{"site of live", b.live, b.SK.Token, "echo"},
		{"site of sandbox", b.sandbox, b.SKT.Token, "echo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer, _ := b.passes(t, tt.site, post("/v1/tokens", tt.token))
			if got := answer.Header.Get("X-Backend"); got != tt.backend {
				t.Errorf("got backend %q, want %q", got, tt.backend)
			}
		})
	}
}
