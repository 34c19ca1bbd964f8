package caddymodule

import (
	"slices"
	"testing"
)

// TestOpenWithoutKey: on an open route nobody has checked what a client without a key says of accounts, so that it is not
// handed on; the version must fit as from a key.
func TestOpenWithoutKey(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	seen, w := g.wantServed(request("GET", "/public/x", "", "Stripe-Context", g.b.ID, "Stripe-Account", g.b.ID, "Stripe-Version", "2025-01-01"))
	for _, name := range []string{"Stripe-Context", "Stripe-Account"} {
		if got := seen.Header[name]; got != nil {
			t.Errorf("the backend gets %s %q, which nobody has checked", name, got)
		}
	}
	for where, got := range map[string][]string{"backend": seen.Header["Stripe-Version"], "answer": w.Header()["Stripe-Version"]} {
		if !slices.Equal(got, []string{"2025-01-01"}) {
			t.Errorf("%s: Stripe-Version %q, want the one given, once", where, got)
		}
	}
	body, _ := g.wantDenied(request("GET", "/public/x", "", "Stripe-Version", "latest"), 400, "version_invalid")
	if body.Param != "Stripe-Version" {
		t.Errorf("param %q, want Stripe-Version", body.Param)
	}
	g.wantDenied(request("GET", "/public/x", "", "Stripe-Version", "2025-01-01", "Stripe-Version", "2025-01-01"), 400, "version_invalid")

	seen, _ = g.wantServed(request("GET", "/public/x", g.live, "Stripe-Account", g.sub.ID))
	if got := seen.Header["Stripe-Account"]; !slices.Equal(got, []string{g.sub.ID}) {
		t.Errorf("with a key the backend gets Stripe-Account %q, want the checked one", got)
	}
}

// TestRequestIDIsTheGateways: a client's own would be taken for the one that names the request in the log.
func TestRequestIDIsTheGateways(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, name := range []string{"Request-Id", "request_id", "REQUEST.ID"} {
		for target, token := range map[string]string{"/public/x": "", "/v1/charges": g.live} {
			seen, w := g.wantServed(request("GET", target, token, name, "req_forged"))
			if got := seen.Header[name]; got != nil {
				t.Errorf("%s: the backend gets %s %q", target, name, got)
			}
			if id := w.Header()["Request-Id"]; len(id) != 1 || id[0] == "req_forged" {
				t.Errorf("%s: the answer has Request-Id %q", target, id)
			}
		}
	}
}
