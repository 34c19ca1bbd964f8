package main_test

import (
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestMessages: what a message says of a token is its prefix and last four, and nothing of a foreign string.
func TestMessages(t *testing.T) {
	b := theBed(t)
	unknown := inventToken("rk_test_", "Zq4")
	tests := []struct {
		name    string
		request string
		want    want
		shows   string // "" for nothing
		hides   string
	}{
		{"unknown key", get("/v1/customers", unknown), invalid, mask(unknown), unknown[8:40]},
		{"deleted key", get("/v1/customers", b.OLD.Token), expired, mask(b.OLD.Token), b.OLD.Token[8:40]},
		{"short known prefix", get("/v1/customers", "sk_test_987"), invalid, "sk_test_****", "987"},
		{"eleven characters", get("/v1/customers", "sk_live_abcdefghijk"), invalid, "sk_live_****", "hijk"},
		{"organization prefix", get("/v1/customers", inventToken("sk_org_live_", "Q7w")), invalid, "sk_org_live_****", "Q7wQ7w"},
		{"password", get("/v1/customers", "hunter2-is-my-password"), invalid, "", "hunter2"},
		{"end of a password", get("/v1/customers", "hunter2-is-my-password"), invalid, "", "word"},
		{"unknown scheme", gatetest.Request("GET", "/v1/customers", "", "Authorization: Hawk topsecret"), invalid, "", "topsecret"},
		{"markup", get("/v1/customers", "<script>alert(1)</script>"), invalid, "", "script"},
		{"permission", get("/v1/charges", b.RK.Token), notPermitted, mask(b.RK.Token), b.RK.Token[8:40]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := b.denied(t, b.any, tt.request, tt.want)
			if tt.shows != "" && !strings.Contains(e.Message, tt.shows) {
				t.Errorf("the message %q does not show %q", e.Message, tt.shows)
			}
			if strings.Contains(e.Message, tt.hides) {
				t.Errorf("the message %q shows %q", e.Message, tt.hides)
			}
		})
	}
}

// TestPermissionMessage: which key, which account, which permission, in the words of the contract.
func TestPermissionMessage(t *testing.T) {
	b := theBed(t)
	tests := []struct {
		name, request, account, permission string
	}{
		{"own account", post("/v1/charges", b.RK.Token), b.A, "charges_write"},
		{"reading", get("/v1/charges/ch_1", b.RK.Token), b.A, "charges_read"},
		{"connected account", get("/v1/charges", b.RKC.Token, "Stripe-Account: "+b.D), b.D, "charges_read"},
		{"organization", post("/v1/customers", b.ORGR.Token, "Stripe-Context: "+b.B, "Stripe-Version: 2026-01-01"), b.B, "customers_write"},
		{"unknown method counts as write", gatetest.Request("PURGE", "/v1/customers/1", "", gatetest.Bearer(b.RK.Token)), b.A, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := notPermitted
			if tt.permission == "" {
				w = routeUnknown // no rule of the catalog names the method
			}
			e := b.denied(t, b.any, tt.request, w)
			if e.RequiredPermission != tt.permission {
				t.Errorf("got required_permission %q, want %q", e.RequiredPermission, tt.permission)
			}
			if tt.permission == "" {
				return
			}
			for _, text := range []string{
				"does not have the required permissions for this endpoint on account '" + tt.account + "'.",
				"Enabling '" + tt.permission + "' ", " on this key would allow this request.",
			} {
				if !strings.Contains(e.Message, text) {
					t.Errorf("the message %q lacks %q", e.Message, text)
				}
			}
		})
	}
}

// TestParamNamesTheHeader: errors of rows 6 and 7 say which header to mend.
func TestParamNamesTheHeader(t *testing.T) {
	b := theBed(t)
	tests := []struct {
		request, header string
		want            want
	}{
		{get("/v1/customers", b.ORG.Token), "Stripe-Context", contextNeeded},
		{get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.A), "Stripe-Version", versionNeeded},
		{get("/v1/customers", b.SK.Token, "Stripe-Version: soon"), "Stripe-Version", versionInvalid},
		{get("/v1/customers", b.SK.Token, "Stripe-Context: a b"), "Stripe-Context", contextInvalid},
	}
	for _, tt := range tests {
		e := b.denied(t, b.any, tt.request, tt.want)
		if !strings.EqualFold(e.Param, tt.header) && !strings.Contains(e.Message, tt.header) {
			t.Errorf("%s: neither param %q nor message %q names %s", tt.want.code, e.Param, e.Message, tt.header)
		}
	}
}
