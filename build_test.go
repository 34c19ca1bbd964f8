package keystile_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// xcaddyMain is what `xcaddy build --with github.com/keystile/keystile` writes: Caddy's command, its standard modules, and
// the root package. Nothing of cmd/keystile.
const xcaddyMain = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/keystile/keystile"
)

func main() { caddycmd.Main() }
`

// TestBuildWithCaddy builds a Caddy with the root package as its only plugin and looks for everything that it brings.
func TestBuildWithCaddy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "caddy")
	if err := os.WriteFile(source, []byte(xcaddyMain), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race") // the packages are compiled already, for these tests
	}
	build := exec.CommandContext(t.Context(), "go", append(args, source)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}

	modules := strings.Fields(output(t, dir, binary, "list-modules", "--skip-standard"))
	for _, want := range []string{"keystile", "http.handlers.keystile", "http.matchers.keystile", "admin.api.keystile"} {
		if !slices.Contains(modules, want) {
			t.Errorf("list-modules does not name %s; it names %q", want, modules)
		}
	}
	help := output(t, dir, binary, "help")
	for _, want := range []string{"org", "account", "sandbox", "key", "explain", "catalog", "log", "run", "validate"} {
		if !strings.Contains(help, "\n  "+want+" ") {
			t.Errorf("help does not name the command %s", want)
		}
	}
	if t.Failed() {
		t.Logf("help:\n%s", help)
	}
}

// output is what a command prints, run with a home of its own.
func output(t *testing.T, home, binary string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", filepath.Base(binary), args, err, stderrOf(err))
	}
	return string(out)
}
