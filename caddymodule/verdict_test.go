package caddymodule

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestPlaceholders(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	read := func(r *http.Request, name string) string {
		return r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{"+name+"}", "-")
	}
	seen, w := g.wantServed(request("POST", "/v1/charges", g.test, "Stripe-Account", g.sub.ID))
	key := seen.Header.Get("Keystile-Key-Id")
	for name, want := range map[string]string{
		"keystile.request_id": w.Header().Get("Request-Id"), "keystile.decision": "allowed", "keystile.required_permission": "charges_write",
		"keystile.mode": "sandbox", "keystile.account": g.sub.ID, "keystile.owner": g.a.ID, "keystile.connected": "true",
		"keystile.sandbox": g.sub.DefaultSandbox, "keystile.key_id": key, "keystile.key_kind": "secret", "keystile.resource": "charges",
		"keystile.access": "write", "keystile.version": "-", "http.auth.user.id": key, "keystile.nothing": "-", "keystile.": "-",
		"http.vars.keystile": w.Header().Get("Request-Id"),
	} {
		if got := read(seen, name); got != want {
			t.Errorf("{%s}: %q, want %q", name, got, want)
		}
	}
	seen, _ = g.wantServed(request("GET", "/healthz", ""))
	for name, want := range map[string]string{
		"keystile.decision": "open", "keystile.mode": "-", "keystile.key_id": "-", "keystile.key_kind": "-", "keystile.access": "-",
		"http.auth.user.id": "-", "keystile.connected": "false",
	} {
		if got := read(seen, name); got != want {
			t.Errorf("open route: {%s}: %q, want %q", name, got, want)
		}
	}
}

// TestHeaderValuesAreNotShared: other handlers change values in place and append to them.
func TestHeaderValuesAreNotShared(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	seen, w := g.wantServed(request("GET", "/v1/charges", g.live))
	first := seen.Header.Clone()
	for name := range seen.Header {
		seen.Header[name] = append(seen.Header[name], "appended")
		seen.Header[name][0] = "changed"
	}
	for name := range w.Header() {
		w.Header()[name] = append(w.Header()[name], "appended")
		w.Header()[name][0] = "changed"
	}
	again, _ := g.wantServed(request("GET", "/v1/charges", g.live))
	for name, values := range first {
		if got := again.Header[name]; name != "Keystile-Request-Id" && (len(got) != 1 || got[0] != values[0]) {
			t.Errorf("%s: %q, want %q", name, got, values)
		}
	}
}
