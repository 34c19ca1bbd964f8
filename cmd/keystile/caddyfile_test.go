package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestPlaceholdersAndMatcher: the facts of a request are Caddy placeholders and a matcher, in the log of Caddy too, and the
// token is in none of them.
func TestPlaceholdersAndMatcher(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	logFile := filepath.Join(g.Dir, "access.log")
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(`http://:%d {
	bind 127.0.0.1
	log {
		output file %s
	}
	route {
	keystile {
		mode any
		open /public/*
	}
	header X-Facts "{keystile.mode} {keystile.account} {keystile.key_id} {keystile.key_kind} {keystile.resource} {keystile.access} {keystile.request_id}"
	@live keystile mode live
	header @live X-World live
	@sandbox keystile mode sandbox
	header @sandbox X-World sandbox
	reverse_proxy %s {
		header_up Authorization "Bearer backend-credential"
		header_up X-Mode {keystile.mode}
	}
	}
}
`, port, logFile, backend.Addr)}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "a", "").ID
	live := g.Admin.DefaultKey(t, account, "secret", "live")
	sandbox := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	send := func(request string) *gatetest.Answer {
		t.Helper()
		answer, err := gatetest.Send(site, "", request)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for _, tt := range []struct {
		key   gatetest.Key
		world string
	}{{live, "live"}, {sandbox, "sandbox"}} {
		answer := send(get("/v1/customers", tt.key.Token))
		want := fmt.Sprintf("%s %s %s secret customers read %s", tt.world, account, tt.key.ID, answer.Header.Get("Request-Id"))
		if got := answer.Header.Get("X-Facts"); got != want {
			t.Errorf("got the placeholders %q, want %q", got, want)
		}
		if got := answer.Header.Get("X-World"); got != tt.world {
			t.Errorf("the matcher chose %q, want %q", got, tt.world)
		}
		echo := answer.Echo(t)
		if got := echo.Exact("Authorization"); len(got) != 1 || got[0] != "Bearer backend-credential" {
			t.Errorf("the backend got Authorization %v, want its own credential once", got)
		}
		if got := echo.Exact("X-Mode"); len(got) != 1 || got[0] != tt.world {
			t.Errorf("the backend got X-Mode %v", got)
		}
	}
	if got := send(gatetest.Request("GET", "/public/x", "")).Header.Get("X-World"); got != "" {
		t.Errorf("without a key the matcher chose %q", got)
	}
	answer := send(get("/v1/customers", live.Token))
	g.Stop(t)
	data, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.FindTokens("Caddy's access log", data); err != nil {
		t.Error(err)
	}
	var found bool
	for line := range strings.Lines(string(data)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %.200s: %v", line, err)
		}
		text := line
		if strings.Contains(text, answer.Header.Get("Request-Id")) && strings.Contains(text, live.ID) && strings.Contains(text, account) {
			found = true
		}
	}
	if !found {
		t.Errorf("no line of Caddy's access log names the request, the key and the account:\n%.2000s", data)
	}
}

// TestKeyHeaderInCaddysLog: a key in the header that key_header names is hidden in Caddy's own logs, as one in Authorization
// is, whether the request passes, is refused, or fails.
func TestKeyHeaderInCaddysLog(t *testing.T) {
	t.Parallel()
	port := gatetest.FreePort(t)
	g := gatetest.Launch(t, gatetest.Config{Global: "debug", Keystile: gatetest.Catalog, Sites: fmt.Sprintf(`http://:%d {
	bind 127.0.0.1
	log
	keystile {
		mode any
		key_header X-Api-Key
	}
	reverse_proxy 127.0.0.1:%d
}
`, port, gatetest.FreePort(t))})
	account := g.Admin.CreateAccount(t, "a", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "live")
	for _, line := range []string{"X-Api-Key: " + key.Token, "x-api-key: " + key.Token, "X-Api-Key: " + key.Token + "\r\nX-Api-Key: " + key.Token} {
		if _, err := gatetest.Send(fmt.Sprintf("127.0.0.1:%d", port), "", gatetest.Request("GET", "/v1/customers", "", line)); err != nil {
			t.Fatal(err)
		}
	}
	g.Stop(t)
	if _, stderr := g.Output(); !strings.Contains(stderr, "handled request") {
		t.Error("Caddy logged no request: the test shows nothing")
	}
}

// TestDecisionFollowsRewrites: the path that is decided on is the one that the backend receives, also where the Caddyfile
// changes it before.
func TestDecisionFollowsRewrites(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(`http://:%d {
	bind 127.0.0.1
	rewrite /v1/customers/alias /v1/charges
	handle_path /api/* {
		keystile {
			mode any
			open /public/*
		}
		reverse_proxy %s
	}
	handle {
		keystile {
			mode any
		}
		reverse_proxy %s
	}
}
`, port, backend.Addr, backend.Addr)}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "a", "").ID
	key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "live", "account": account, "name": "r",
		"permissions": gatetest.Fields{"customers": "read"}})
	for _, tt := range []struct {
		target, arrives string
		status          int
	}{
		{"/api/v1/customers", "/v1/customers", 200},
		{"/api/v1/charges", "", 403},
		{"/v1/customers", "/v1/customers", 200},
		{"/v1/customers/alias", "", 403},
		{"/api/v1/customers/../charges", "", 400},
		{"/api/../v1/charges", "", 400},
		{"/api/%2e%2e/v1/charges", "", 400},
		{"/api//v1/charges", "", 400},
		{"/api", "", 403},
	} {
		before := backend.Count()
		answer, err := gatetest.Send(site, "", get(tt.target, key.Token))
		if err != nil {
			t.Fatal(err)
		}
		got := backend.Requests(before)
		if answer.Status != tt.status {
			t.Errorf("%s: got %d, want %d; body %.200s", tt.target, answer.Status, tt.status, answer.Body)
		}
		if tt.arrives == "" && len(got) > 0 {
			t.Errorf("%s: the backend was asked for %s", tt.target, got[0].Target)
		}
		if tt.arrives != "" && (len(got) != 1 || got[0].Target != tt.arrives) {
			t.Errorf("%s: the backend got %+v, want %s", tt.target, got, tt.arrives)
		}
	}
}

// TestHandleErrors: where it is asked for, denials go to Caddy's error routes; the backend is not asked all the same.
func TestHandleErrors(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.Launch(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(`http://:%d {
	bind 127.0.0.1
	keystile {
		mode any
		denials handle_errors
	}
	reverse_proxy %s
	handle_errors {
		respond "refused with {err.status_code}" {err.status_code}
	}
}
`, port, backend.Addr)})
	answer, err := gatetest.Send(site, "", gatetest.Request("GET", "/v1/customers", "", "Keystile-Account: spoofed"))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != 401 || string(answer.Body) != "refused with 401" || backend.Count() != 0 {
		t.Errorf("got %d %q and %d requests at the backend", answer.Status, answer.Body, backend.Count())
	}
	g.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
}

// TestMetrics: decisions by reason, cache, queue and keys are counted, and no label holds an id or a token.
func TestMetrics(t *testing.T) {
	b := theBed(t)
	b.passes(t, b.any, get("/v1/customers", b.SK.Token))
	b.denied(t, b.any, get("/v1/charges", b.RK.Token), notPermitted)
	deadline := time.Now().Add(5 * time.Second)
	for {
		resp, err := http.Get("http://" + b.AdminAddr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var own []string
		for line := range strings.Lines(string(raw)) {
			if strings.HasPrefix(line, "keystile_") || strings.HasPrefix(line, "caddy_keystile_") {
				own = append(own, line)
			}
		}
		text := strings.Join(own, "")
		missing := ""
		for _, word := range []string{"permission_denied", "allowed", "decision", "cache", "queue", "dropped", "keys", "_bucket{"} {
			if !strings.Contains(text, word) {
				missing += " " + word
			}
		}
		if missing != "" && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if missing != "" {
			t.Errorf("the metrics lack%s:\n%s", missing, text)
		}
		if err := b.FindTokens("the metrics", raw); err != nil {
			t.Error(err)
		}
		for _, prefix := range []string{"key_", "acct_", "req_", "sbx_"} {
			if strings.Contains(text, `"`+prefix) {
				t.Errorf("a label holds an id %s…", prefix)
			}
		}
		return
	}
}
