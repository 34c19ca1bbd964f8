package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestAttackRewriteBehindTheDecision: an open path that a later handler turns into another one would open that one. It is
// refused at load, by validate too; with the word in the block it loads.
func TestAttackRewriteBehindTheDecision(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	config := func(word string) gatetest.Config {
		return gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(
			"http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\topen /public/*\n\t\t%s\n\t}\n\thandle_path /public/* {\n\t\treverse_proxy %s\n\t}\n\treverse_proxy %[3]s\n}\n",
			gatetest.FreePort(t), word, backend.Addr)}
	}
	g := gatetest.New(t)
	g.WriteConfig(t, config("").Text(g))
	if result := g.Run(t, "validate", "--config", "Caddyfile"); result.Code == 0 || !strings.Contains(result.Stderr, "rewrites allowed") {
		t.Errorf("validate: exit %d, want a refusal that names the way out\n%s", result.Code, result.Stderr)
	}
	var refused *gatetest.StartError
	if err := g.TryStart(); !errors.As(err, &refused) || !strings.Contains(refused.Stderr, "rewrites allowed") {
		t.Errorf("start: %v, want a refusal that names the way out", err)
	}
	g.WriteConfig(t, config("rewrites allowed").Text(g))
	g.Start(t)
}

// TestAttackPathMatcher: a directive limited to paths says at load what that leaves open.
func TestAttackPathMatcher(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g := gatetest.Launch(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: fmt.Sprintf(
		"http://:%d {\n\tbind 127.0.0.1\n\tkeystile /v1/* {\n\t}\n\treverse_proxy %s\n}\n", gatetest.FreePort(t), backend.Addr)})
	g.Stop(t)
	if _, stderr := g.Output(); strings.Count(stderr, "reach other handlers unchecked") != 1 || !strings.Contains(stderr, "say `open`") {
		t.Errorf("no warning in the log, or more than one:\n%s", stderr)
	}
}
