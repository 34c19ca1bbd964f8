package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// nodeResult is one line that testdata/node/calls.mjs prints.
type nodeResult struct {
	Name      string `json:"name"`
	OK        bool   `json:"ok"`
	Object    string `json:"object"`
	Class     string `json:"class"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	RequestID string `json:"requestId"`
	Message   string `json:"message"`
}

// nodePackage makes sure that the official package lies beside the script, in the version of the lock file. `make test`
// installs it before; a bare `go test` installs it here.
func nodePackage(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "stripe", "package.json")); err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("installing the stripe package (npm ci): %v\n%s", err, out)
	}
}

// TestNodeStripe: the official Node client does its work through the gateway, and its errors are of the right classes.
func TestNodeStripe(t *testing.T) {
	s := theStripeBed(t)
	dir := filepath.Join("testdata", "node")
	nodePackage(t, dir)
	host, port, err := net.SplitHostPort(s.httpAddr)
	if err != nil {
		t.Fatal(err)
	}
	tokens := make(map[string]string)
	for name, key := range s.keys {
		tokens[name] = key.Token
	}
	input, err := json.Marshal(gatetest.Fields{"host": host, "port": port, "keys": tokens, "account": s.account})
	if err != nil {
		t.Fatal(err)
	}
	before, live := s.count(), s.live.Count()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "calls.mjs")
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	want := []nodeResult{
		{Name: "charge", OK: true, Object: "charge"},
		{Name: "customer", OK: true, Object: "customer"},
		{Name: "retrieve", OK: true, Object: "customer"},
		{Name: "pages", OK: true, Object: "list"},
		{Name: "restricted, allowed", OK: true, Object: "list"},
		{Name: "restricted, denied", Class: "StripePermissionError", Status: 403, Code: "permission_denied"},
		{Name: "organization with context", OK: true, Object: "list"},
		{Name: "organization without context", Class: "StripeInvalidRequestError", Status: 400, Code: "context_required"},
		{Name: "live key", OK: true},
		{Name: "deleted key", Class: "StripeAuthenticationError", Status: 401, Code: "api_key_expired"},
		{Name: "imported key", OK: true, Object: "balance"},
		{Name: "unknown key", Class: "StripeAuthenticationError", Status: 401, Code: "api_key_invalid"},
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d results, want %d:\n%s", len(lines), len(want), stdout.String())
	}
	for i, line := range lines {
		var got nodeResult
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !strings.HasPrefix(got.RequestID, "req_") && got.Name != "pages" {
			t.Errorf("%s: got request id %q", got.Name, got.RequestID)
		}
		if err := s.FindTokens("the message", []byte(got.Message)); err != nil {
			t.Errorf("%s: %v", got.Name, err)
		}
		got.RequestID, got.Message = "", ""
		if got != want[i] {
			t.Errorf("got %s, want %+v", line, want[i])
		}
	}
	for _, r := range s.since(before) {
		if r.authorization != "Bearer "+backendCredential {
			t.Errorf("%s %s: the mock did not get its own credential", r.method, r.path)
		}
	}
	if n := s.count() - before; n != 7 {
		t.Errorf("the mock was asked %d times, want 7: the denied calls and the live one must not reach it", n)
	}
	if n := s.live.Count() - live; n != 1 {
		t.Errorf("the live backend was asked %d times, want 1", n)
	}
}

// TestNodeLockFile: the lock file names no place that only one workplace can reach.
func TestNodeLockFile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("testdata", "node", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Version, Resolved, Integrity string
		} `json:"packages"`
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" && !strings.HasPrefix(p.Resolved, "https://registry.npmjs.org/") {
			t.Errorf("%s is resolved at %s", name, p.Resolved)
		}
		if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s has no integrity hash", name)
		}
	}
}
