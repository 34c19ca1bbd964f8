package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestDeployedFleet runs the Caddyfiles of deploy/ as compose.yaml puts them together, each machine being an address of this one:
// requests go through the balancer to three gateways and on to the API behind them. Gateways are stopped and started one after the
// other under load, as an update does, and no request is lost; one whose database is gone for too long says so.
func TestDeployedFleet(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	dsn := server.Database(t)
	api, admin, health, backend := gatetest.FreePort(t), gatetest.FreePort(t), gatetest.FreePort(t), gatetest.FreePort(t)
	place := func(name, address string) string {
		text := deployFile(t, name)
		for from, to := range map[string]int{"8080": api, "8081": admin, "9180": health, "8090": backend} {
			text = strings.ReplaceAll(text, "http://:"+from+" ", fmt.Sprintf("http://:%d ", to))
			text = strings.ReplaceAll(text, "health_port "+from, fmt.Sprintf("health_port %d", to))
			for i := range 3 {
				text = strings.ReplaceAll(text, fmt.Sprintf("gateway-%d:%s", i+1, from), fmt.Sprintf("127.0.1.%d:%d", i+1, to))
			}
		}
		text = strings.ReplaceAll(text, "shutdown_delay 10s", "shutdown_delay 3s")
		return strings.Replace(text, "persist_config off", "persist_config off\n\tdefault_bind "+address, 1)
	}
	start := func(g *gatetest.Gateway, text string) {
		g.WriteConfig(t, text)
		g.Start(t)
	}
	master := ""
	var gateways []*gatetest.Gateway
	beside := func(name string) {
		g := gatetest.New(t)
		t.Cleanup(func() { g.Stop(t) }) // it is no gateway, and has none of the lists that the harness would search
		start(g, strings.Replace(place(name, "127.0.0.1"), "admin off", "admin "+g.AdminAddr, 1))
	}
	beside("backend.Caddyfile")
	for i := range 3 {
		g := gatetest.New(t)
		if master == "" {
			master = strings.TrimSpace(g.Run(t, "store", "new-master-key", "--base64").Stdout)
		}
		g.Admin.Remember(master)
		g.Setenv("KEYSTILE_MASTER_KEY=" + master)
		g.Setenv("KEYSTILE_DSN=" + dsn)
		g.Setenv(fmt.Sprintf("KEYSTILE_BACKEND=127.0.0.1:%d", backend))
		text := strings.Replace(place("Caddyfile", fmt.Sprintf("127.0.1.%d", i+1)), "localhost:2019", g.AdminAddr, 1)
		text = strings.Replace(text, "master_key env", "max_staleness 3s\n\t\tmaster_key env", 1)
		start(g, text)
		gateways = append(gateways, g)
	}
	beside("balancer.Caddyfile")

	account := gateways[0].Admin.CreateAccount(t, "A", "")
	gateways[0].Admin.Do(t, "PATCH", "/v1/accounts/"+account.ID, gatetest.Fields{"rate_limit": 1_000_000}, nil)
	key := gateways[0].Admin.DefaultKey(t, account.ID, "secret", "live")
	site := fmt.Sprintf("127.0.0.1:%d", api)
	send := func() (int, string, error) {
		answer, err := gatetest.Send(site, "", get("/v1/balance", key.Token))
		if err != nil {
			return 0, "", err
		}
		return answer.Status, string(answer.Body), nil
	}
	for deadline := time.Now().Add(fleetLimit); ; time.Sleep(10 * time.Millisecond) {
		status, body, err := send()
		if err == nil && status == 200 {
			var seen struct{ Account, Mode, Resource string }
			if json.Unmarshal([]byte(body), &seen) != nil || seen.Account != account.ID || seen.Mode != "live" || seen.Resource != "balance" {
				t.Errorf("the API behind the gateways was told %s", body)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the fleet answers %d %s, %v", status, body, err)
		}
	}
	ask := func(i int, path string) (int, string) {
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + net.JoinHostPort(fmt.Sprintf("127.0.1.%d", i+1), fmt.Sprint(health)) + path)
		if err != nil {
			return 0, err.Error()
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(body)
	}
	if status, body := ask(0, "/metrics"); status != 200 || !strings.Contains(body, "caddy_keystile_nodes_live 3") {
		t.Errorf("/metrics answers %d %.300s", status, body)
	}
	if status, body := ask(0, "/keystile/v1/keys"); status != 404 {
		t.Errorf("another path answers %d %.300s", status, body)
	}
	fit := func(i int) int {
		status, _ := ask(i, "/healthz")
		return status
	}
	becomes := func(i, want int) {
		t.Helper()
		for deadline := time.Now().Add(fleetLimit); fit(i) != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("/healthz of gateway %d answers %d, want %d", i+1, fit(i), want)
			}
		}
	}
	var over atomic.Bool
	done, sent := make(chan struct{}), 0
	go func() {
		defer close(done)
		for ; !over.Load(); sent++ {
			if status, body, err := send(); err != nil || status != 200 {
				t.Errorf("a request during an update: %d %s, %v", status, body, err)
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for i, g := range gateways {
		becomes(i, 200)
		g.Signal(t, syscall.SIGTERM)
		becomes(i, 503) // it is about to end, and still serves
		g.Stop(t)
		g.Start(t)
		becomes(i, 200)
	}
	over.Store(true)
	<-done
	t.Logf("%d requests through the balancer while three gateways were replaced", sent)
	if sent < 100 {
		t.Errorf("only %d requests were sent: this test shows nothing", sent)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range gateways {
		becomes(i, 503)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range gateways {
		becomes(i, 200)
	}
}
