package api_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`)).ID
	account := as[api.AccountCreated](f.ok("POST", "/v1/accounts", map[string]any{"name": "Acme", "organization": organization}))
	reading := f.key(map[string]any{"kind": "restricted", "mode": "live", "account": account.ID, "name": "reader", "permissions": map[string]string{"charges": "read"}})
	limited := f.key(map[string]any{"kind": "secret", "mode": "live", "account": account.ID, "name": "limited", "ip_ranges": "203.0.113.0/24"})
	all := f.key(map[string]any{"kind": "organization", "mode": "live", "organization": organization, "name": "all"})
	gone := f.restricted(account.ID)
	f.ok("DELETE", "/v1/keys/"+gone.ID, nil)
	var publishable api.Key
	for _, k := range account.Keys {
		if k.Kind == "publishable" && k.Mode == "live" {
			publishable = k
		}
	}
	for _, test := range []struct {
		name     string
		ask      map[string]any
		decision string
		says     []string
	}{
		{"allowed", map[string]any{"key": reading.ID, "method": "GET", "path": "/v1/charges"}, "allowed", []string{account.ID, "charges_read"}},
		{"by token", map[string]any{"token": string(reading.Token), "method": "GET", "path": "/v1/charges?limit=3"}, "allowed", nil},
		{"permission denied", map[string]any{"key": reading.ID, "method": "POST", "path": "/v1/charges"}, "permission_denied", []string{"Enabling 'charges_write'", reading.TokenMasked}},
		{"route unknown", map[string]any{"key": reading.ID, "method": "GET", "path": "/v1/wombats"}, "route_unknown", []string{"catalog"}},
		{"unrestricted on an unknown route", map[string]any{"key": all.ID, "method": "GET", "path": "/v1/wombats", "context": account.ID, "version": "2026-01-01"}, "allowed", []string{"unrestricted"}},
		{"no address", map[string]any{"key": limited.ID, "method": "GET", "path": "/v1/charges"}, "ip_not_allowed", []string{"203.0.113.0/24", "client_address"}},
		{"wrong address", map[string]any{"key": limited.ID, "method": "GET", "path": "/v1/charges", "client_address": "198.51.100.1"}, "ip_not_allowed", []string{"203.0.113.0/24"}},
		{"right address", map[string]any{"key": limited.ID, "method": "GET", "path": "/v1/charges", "client_address": "::ffff:203.0.113.9"}, "allowed", nil},
		{"no key", map[string]any{"method": "GET", "path": "/v1/charges"}, "api_key_missing", nil},
		{"open", map[string]any{"method": "GET", "path": "/healthz"}, "open", []string{"open"}},
		{"unknown token", map[string]any{"token": "sk_live_nothing", "method": "GET", "path": "/v1/charges"}, "api_key_invalid", nil},
		{"no token at all", map[string]any{"token": "two words", "method": "GET", "path": "/v1/charges"}, "api_key_invalid", nil},
		{"deleted", map[string]any{"key": gone.ID, "method": "GET", "path": "/v1/charges"}, "api_key_expired", []string{"deleted"}},
		{"publishable", map[string]any{"key": publishable.ID, "method": "GET", "path": "/v1/charges"}, "secret_key_required", []string{"publishable"}},
		{"publishable where it may", map[string]any{"key": publishable.ID, "method": "POST", "path": "/v1/tokens"}, "allowed", nil},
		{"context required", map[string]any{"key": all.ID, "method": "GET", "path": "/v1/charges"}, "context_required", []string{"Stripe-Context"}},
		{"version required", map[string]any{"key": all.ID, "method": "GET", "path": "/v1/charges", "context": account.ID}, "version_required", []string{"Stripe-Version"}},
		{"version invalid", map[string]any{"key": all.ID, "method": "GET", "path": "/v1/charges", "context": account.ID, "version": "now"}, "version_invalid", nil},
		{"other account", map[string]any{"key": all.ID, "method": "GET", "path": "/v1/charges", "context": "acct_0000000000000000", "version": "2026-01-01"}, "account_invalid", nil},
		{"malformed", map[string]any{"key": reading.ID, "method": "GET", "path": "/v1/customers/../charges"}, "request_malformed", nil},
		{"trace", map[string]any{"key": reading.ID, "method": "TRACE", "path": "/v1/charges"}, "method_not_allowed", nil},
		{"host", map[string]any{"key": reading.ID, "method": "GET", "path": "/v1/charges", "host": "api.example.com"}, "allowed", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := f.ok("POST", "/v1/explain", test.ask)
			a.t = t
			e := as[api.Explanation](a)
			if e.Decision != test.decision || e.Allowed != (test.decision == "allowed" || test.decision == "open") {
				t.Errorf("decision %q allowed %v, want %q", e.Decision, e.Allowed, test.decision)
			}
			if e.Explanation == "" {
				t.Error("no explanation")
			}
			for _, want := range test.says {
				if !strings.Contains(e.Explanation, want) {
					t.Errorf("explanation %q does not say %q", e.Explanation, want)
				}
			}
		})
	}
	f.ok("POST", "/v1/explain", map[string]any{"key": reading.ID, "method": "POST", "path": "/v1/charges"}).has(
		"required_permission", `"charges_write"`, "account", fmt.Sprintf("%q", account.ID), "resource", `"charges"`, "access", `"write"`)
	f.ok("POST", "/v1/explain", map[string]any{"method": "GET", "path": "/v1/wombats"}).has(
		"required_permission", "null", "account", "null", "resource", "null", "access", "null")

	f.do("POST", "/v1/explain", map[string]any{"key": reading.ID, "token": string(reading.Token), "method": "GET", "path": "/"}).fails(400, "parameter_invalid", "token")
	f.do("POST", "/v1/explain", map[string]any{"key": "key_0000000000000000", "method": "GET", "path": "/"}).fails(404, "resource_missing", "key")
	f.do("POST", "/v1/explain", map[string]any{"method": "GET", "path": "/", "client_address": "localhost"}).fails(400, "parameter_invalid", "client_address")
	f.do("POST", "/v1/explain", map[string]any{"method": "GET", "path": "/", "host": "elsewhere.example"}).fails(400, "parameter_invalid", "host")
	f.do("POST", "/v1/explain", map[string]any{"path": "/"}).fails(400, "parameter_missing", "method")
	f.do("POST", "/v1/explain", map[string]any{"method": "G T", "path": "/"}).fails(400, "parameter_invalid", "method")
}
