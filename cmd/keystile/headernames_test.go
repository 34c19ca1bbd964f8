package main_test

import (
	"fmt"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestConfiguredHeaderNames: with header names of the operator's own, those carry identity and are screened, and the
// default ones are ordinary headers.
func TestConfiguredHeaderNames(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: "header_prefix X-Gate-\ncontext_header X-Context\naccount_header X-Account\nversion_header X-Version\n" + gatetest.Catalog,
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\tmode any\n\t}\n\treverse_proxy %s\n}\n", port, backend.Addr),
	})
	a, d := g.Admin.CreateAccount(t, "a", "").ID, g.Admin.CreateAccount(t, "d", "").ID
	g.Admin.Connect(t, a, d)
	key := g.Admin.DefaultKey(t, a, "secret", "live")
	for _, lines := range [][]string{
		{"X-Account: " + d, "X-Version: 2026-01-01"},
		{"X-Context: " + d, "X-Version: 2026-01-01", "X-Gate-Account: spoofed", "X_Gate_Owner: spoofed", "x.gate.mode: spoofed", "X-GATE_Key-Id: spoofed"},
		{"X-Context: " + d, "X-Version: 2026-01-01", "Connection: X-Gate-Account, X-Context, X-Version"},
		{"X-Context: " + d, "X-Version: 2026-01-01", "Stripe-Account: nonsense", "Stripe-Version: nonsense"},
	} {
		answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token, lines...))
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Header.Get("X-Version"); got != "2026-01-01" {
			t.Errorf("got X-Version %q in the answer", got)
		}
		got := answer.Echo(t)
		for name, want := range map[string]string{"X-Gate-Account": d, "X-Gate-Owner": a, "X-Gate-Mode": "live", "X-Gate-Key-Id": key.ID,
			"X-Gate-Connected": "true", "X-Gate-Resource": "customers", "X-Gate-Access": "read", "X-Gate-Key-Kind": "secret"} {
			if lines := got.Folded(name); len(lines) != 1 || lines[0] != gatetest.F(name, want) {
				t.Errorf("the backend got %v, want %s: %s once", lines, name, want)
			}
		}
		if n := len(got.WithPrefix("X-Gate-")); n != 9 { // those above and the request id
			t.Errorf("the backend got %d identity headers, want 9: %v", n, got.WithPrefix("X-Gate-"))
		}
		if lines := got.WithPrefix("Keystile-"); len(lines) > 0 {
			t.Errorf("the backend got %v", lines)
		}
	}
	answer, err := gatetest.Send(site, "", get("/v1/customers", key.Token, "X-Account: "+a+"/"+d))
	if err != nil {
		t.Fatal(err)
	}
	if e := answer.Error(t); e.Code != contextInvalid.code {
		t.Errorf("got %s, want context_invalid", e.Code)
	}
}

// TestDebugLogHoldsNoToken: with everything that Caddy can log switched on, no credential in Authorization is in it, however
// the request ends. What is searched is the whole output, when the gateway stops.
func TestDebugLogHoldsNoToken(t *testing.T) {
	t.Parallel()
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.Launch(t, gatetest.Config{
		Global: "debug", Keystile: gatetest.Catalog,
		Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tlog\n\tkeystile {\n\tmode any\n\topen /public/*\n\t}\n\treverse_proxy 127.0.0.1:%d\n}\n", port, gatetest.FreePort(t)),
	})
	account := g.Admin.CreateAccount(t, "a", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "live")
	imported := "an-imported-key-that-is-long-enough"
	g.Admin.Import(t, gatetest.Fields{"token": imported, "kind": "secret", "mode": "live", "account": account, "name": "imported"})
	deleted := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "deleted"})
	g.Admin.DeleteKey(t, deleted.ID)
	for _, token := range []string{key.Token, imported, deleted.Token} {
		for _, line := range []string{
			gatetest.Bearer(token), "Authorization: Basic " + b64(token+":"), "Authorization: Basic " + b64(token+":password"),
			"authorization: " + token, gatetest.Bearer(token) + "\r\n" + gatetest.Bearer(token), "Proxy-Authorization: Bearer " + token,
		} {
			for _, target := range []string{"/v1/customers", "/v1/../x", "/public/x", "/v1/unknown"} {
				answer, err := gatetest.Send(site, "", gatetest.Request("GET", target, "", line))
				if err != nil {
					t.Fatal(err)
				}
				if err := g.FindTokens("the answer", answer.Body); err != nil {
					t.Error(err)
				}
			}
		}
	}
}
