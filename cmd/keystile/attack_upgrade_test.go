package main_test

import (
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestAttackTunnelByUpgrade: a request for a protocol other than WebSocket is an ordinary request at the backend, so that
// what the client writes behind it is judged as the next request, and never tunnelled.
func TestAttackTunnelByUpgrade(t *testing.T) {
	b := theBed(t)
	smuggled := gatetest.Request("GET", "/v1/charges", "", "Keystile-Account: "+b.B, "Keystile-Key-Kind: secret")
	for name, first := range map[string]string{
		"open route, h2c": gatetest.Request("GET", "/public/x", "", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"),
		"allowed, TLS":    get("/v1/customers", b.RK.Token, "Connection: Upgrade", "Upgrade: TLS/1.0, HTTP/1.1"),
		"allowed, foo":    get("/v1/customers", b.RK.Token, "Connection: upgrade", "Upgrade: foo"),
		"two lines":       get("/v1/customers", b.RK.Token, "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"),
		"POST":            gatetest.Request("POST", "/v1/customers", "a=b", gatetest.Bearer(b.SK.Token), "Connection: Upgrade", "Upgrade: websocket"),
	} {
		t.Run(name, func(t *testing.T) {
			before := b.echo.Count()
			answers, err := gatetest.SendAll(b.any, source(), first+smuggled, 2)
			if err != nil {
				t.Fatal(err)
			}
			got := answers[0].Echo(t)
			for _, header := range []string{"Upgrade", "HTTP2-Settings"} {
				if fields := got.Folded(header); len(fields) > 0 {
					t.Errorf("the backend got %v", fields)
				}
			}
			if len(answers) != 2 {
				t.Fatalf("got %d answers, want the second request judged as well", len(answers))
			}
			b.checkDenial(t, answers[1], missing)
			if n := b.echo.Count() - before; n != 1 {
				t.Errorf("the backend got %d requests, want 1", n)
			}
			if faults := b.echo.Faults(); len(faults) > 0 {
				t.Errorf("the backend could not read: %v", faults)
			}
		})
	}
}
