package main_test

import (
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestAttackOpenRouteInputs: without a key nothing that a client says of accounts, or as a request id, reaches the backend
// of an open route, and its version must fit.
func TestAttackOpenRouteInputs(t *testing.T) {
	b := theBed(t)
	_, got := b.passes(t, b.any, gatetest.Request("GET", "/public/x", "", "Stripe-Account: "+b.B, "Stripe-Context: "+b.B,
		"Stripe-Version: 2026-01-01", "Request-Id: req_forged", "request_id: req_forged"))
	for _, name := range []string{"Stripe-Account", "Stripe-Context", "Request-Id"} {
		if fields := got.Folded(name); len(fields) > 0 {
			t.Errorf("the backend got %v", fields)
		}
	}
	if version := got.Exact("Stripe-Version"); len(version) != 1 || version[0] != "2026-01-01" {
		t.Errorf("the backend got the version %q, want the one given", version)
	}
	b.denied(t, b.any, gatetest.Request("GET", "/public/x", "", "Stripe-Version: latest"), versionInvalid)
	b.denied(t, b.any, gatetest.Request("GET", "/public/x", "", "Stripe-Version: 2026-01-01", "Stripe-Version: 2026-01-01"), versionInvalid)
}
