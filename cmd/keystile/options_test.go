package main_test

import (
	"fmt"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestAttackOptionsIsNoData: no OPTIONS request reaches the backend, unless the catalog has a rule for it.
func TestAttackOptionsIsNoData(t *testing.T) {
	b := theBed(t)
	options := func(target string, lines ...string) string { return gatetest.Request("OPTIONS", target, "", lines...) }
	before := b.calls()
	for name, request := range map[string]string{
		"secret key": options("/v1/customers", gatetest.Bearer(b.SK.Token)), "unknown path": options("/v9/x", gatetest.Bearer(b.SK.Token)),
		"open route": options("/public/x"), "with a body": gatetest.Request("OPTIONS", "/v1/customers", "a=b", gatetest.Bearer(b.SK.Token)),
	} {
		answer := b.send(t, b.any, request)
		if answer.Status != 204 || answer.Header.Get("Allow") == "" || answer.Header.Get("Request-Id") == "" || len(answer.Body) > 0 {
			t.Errorf("%s: got %d, %v, %q; want 204 with Allow and Request-Id", name, answer.Status, answer.Header, answer.Body)
		}
	}
	if n := b.calls() - before; n != 0 {
		t.Errorf("the backend was asked %d times", n)
	}

	backend := gatetest.NewBackend(t, "echo")
	port := gatetest.FreePort(t)
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: "catalog {\nresource forms {\nread OPTIONS /v1/forms\n}\n}",
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile\n\treverse_proxy %s\n}\n", port, backend.Addr),
	})
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	answer, err := gatetest.Send(fmt.Sprintf("127.0.0.1:%d", port), "", options("/v1/forms", gatetest.Bearer(key.Token)))
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Echo(t); got.Method != "OPTIONS" || backend.Count() != 1 {
		t.Errorf("the backend got %+v, %d requests; want the OPTIONS that the catalog names", got, backend.Count())
	}
}
