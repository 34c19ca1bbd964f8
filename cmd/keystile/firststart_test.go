package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// exampleOnFreePorts is Caddyfile.example with its ports replaced, each of which must stand where it is expected, so that
// an edit of the example cannot pass by the test.
func exampleOnFreePorts(t *testing.T, g *gatetest.Gateway) (text, site string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	text = string(raw)
	live, sandbox, front, admin := gatetest.FreePort(t), gatetest.FreePort(t), gatetest.FreePort(t), gatetest.FreePort(t)
	for _, r := range []struct {
		old, new string
		times    int
	}{
		{"admin localhost:2019", "admin " + g.AdminAddr, 1},
		{"http://:8080 {", fmt.Sprintf("http://:%d {", front), 1},
		{"http://localhost:8081 {", fmt.Sprintf("http://localhost:%d {", admin), 1},
		{"localhost:9001", fmt.Sprintf("localhost:%d", live), 2},
		{"localhost:9002", fmt.Sprintf("localhost:%d", sandbox), 2},
	} {
		if got := strings.Count(text, r.old); got != r.times {
			t.Fatalf("Caddyfile.example holds %q %d times, want %d", r.old, got, r.times)
		}
		text = strings.ReplaceAll(text, r.old, r.new)
	}
	return text, fmt.Sprintf("127.0.0.1:%d", front)
}

// TestFirstStart: the example runs as it stands; the first start prints a sandbox key and a curl line, which works; the
// second prints neither.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	text, site := exampleOnFreePorts(t, g)
	g.WriteConfig(t, text)
	g.Start(t)
	var stdout, stderr, printed string
	var tokens []string
	for range 100 { // the gateway is ready, but what it printed may still be on its way through the pipe
		stdout, stderr = g.Output()
		printed = stdout + stderr
		tokens = regexp.MustCompile(`sk_test_[0-9A-Za-z]{38}`).FindAllString(printed, -1)
		if len(tokens) > 0 && strings.Contains(stdout, "keystile key list") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(tokens) == 0 {
		t.Fatalf("the first start printed no sandbox key:\n%s", stdout)
	}
	for _, token := range tokens {
		if token != tokens[0] {
			t.Error("the first start printed two keys")
		}
	}
	token := tokens[0]
	if strings.Contains(printed, "sk_live_") || strings.Contains(printed, "_live_") && regexp.MustCompile(`[rsp]k_live_[0-9A-Za-z]{38}`).MatchString(printed) {
		t.Error("the first start printed a live key")
	}
	line := ""
	for l := range strings.Lines(stdout) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "curl ") {
			line = l
		}
	}
	if line == "" {
		t.Fatalf("the first start printed no curl line:\n%s", stdout)
	}
	if !regexp.MustCompile(`(?m)^  http://localhost:\d+/invitation#inv_[0-9A-Za-z]{43}$`).MatchString(stdout) {
		t.Errorf("the first start printed no link for the owner:\n%s", stdout)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(line, "curl ", "curl -sS --fail-with-body ", 1)).CombinedOutput()
	if err != nil {
		t.Fatalf("the curl line does not work: %v\n%s", err, out)
	}
	var echo struct {
		Backend string              `json:"backend"`
		Headers map[string][]string `json:"headers"`
	}
	if err := json.Unmarshal(out, &echo); err != nil {
		t.Fatalf("the demo backend's answer is no JSON: %v\n%s", err, out)
	}
	if echo.Backend != "sandbox" || len(echo.Headers["Keystile-Key-Id"]) != 1 || echo.Headers["Authorization"] != nil {
		t.Errorf("got the echo %s, want the sandbox backend with identity and without the key", out)
	}
	status := func(path, token string) int {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+site+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for _, tt := range []struct {
		path, token string
		want        int
	}{{"/v1/charges", token, 200}, {"/v1/charges", "", 401}, {"/v1/charges", token + "x", 401}, {"/healthz", "", 0}} {
		got := status(tt.path, tt.token)
		if tt.want != 0 && got != tt.want || tt.want == 0 && got == 401 {
			t.Errorf("%s with a key %v: got %d, want %d", tt.path, tt.token != "", got, tt.want)
		}
	}
	live := g.Admin.DefaultKey(t, g.Admin.Keys(t, nil)[0].Account, "secret", "live")
	if got := status("/v1/charges", live.Token); got != 200 {
		t.Errorf("the live key: got %d, want 200", got)
	}
	g.Stop(t)
	marker := len(stdout)
	g.Start(t)
	again, _ := g.Output()
	if fresh := again[marker:]; strings.Contains(fresh, "sk_test_") || strings.Contains(fresh, "curl ") || strings.Contains(fresh, "inv_") {
		t.Errorf("the second start prints a key again")
	}
	if got := status("/v1/charges", token); got != 200 {
		t.Errorf("after a restart: got %d, want 200", got)
	}
}

// TestExampleIsFormattedAndValid: the example as it stands, with its own ports.
func TestExampleIsFormattedAndValid(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	example, err := filepath.Abs(filepath.Join("..", "..", "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	before := listing(t, g.Dir)
	if r := g.Run(t, "validate", "--config", example, "--adapter", "caddyfile"); r.Code != 0 {
		t.Errorf("validate: code %d\n%s", r.Code, r.Stderr)
	}
	raw, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if r := g.RunInput(t, string(raw), "fmt", "-"); r.Stdout != string(raw) {
		t.Errorf("`keystile fmt` would change Caddyfile.example (code %d)\n%s", r.Code, r.Stderr)
	}
	if after := listing(t, g.Dir); after != before {
		t.Errorf("validating the example changed the home:\n%s", after)
	}
}
