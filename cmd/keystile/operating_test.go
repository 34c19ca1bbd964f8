package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

const operatingGuide = "../../deploy/OPERATING.md"

var drillBlock = regexp.MustCompile("(?s)```sh drill=([a-z-]+)\n(.*?)```")

// guide is the operating guide with a gateway to perform it on.
type guide struct {
	*gatetest.Gateway
	drills map[string]string
	done   map[string]bool
	env    []string
}

// perform runs the commands of a drill as they are documented, and answers what they print.
func (g *guide) perform(t *testing.T, name string, code int) string {
	t.Helper()
	block, ok := g.drills[name]
	if !ok {
		t.Fatalf("the guide has no drill %q", name)
	}
	g.done[name] = true
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", block)
	cmd.Dir, cmd.Env = g.Dir, g.env
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("drill %s: exit code %d (%v), want %d\n%s", name, got, err, code, out)
	}
	return string(out)
}

// TestOperatingGuide performs the drills of the operating guide, with its own commands, on a gateway with keys.
func TestOperatingGuide(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(operatingGuide)
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{Gateway: gatetest.New(t), drills: make(map[string]string), done: make(map[string]bool)}
	for _, m := range drillBlock.FindAllStringSubmatch(string(text), -1) {
		g.drills[m[1]] = m[2]
	}
	dir := t.TempDir()
	for _, sub := range []string{"bin", "backups", "keysets", "suspect"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(gatetest.Binary(t), filepath.Join(dir, "bin", "keystile")); err != nil {
		t.Fatal(err)
	}
	g.env = []string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + g.Dir, "CADDY_ADMIN=" + g.AdminAddr,
		"XDG_DATA_HOME=" + filepath.Join(g.Dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(g.Dir, "config"),
		"BACKUPS=" + filepath.Join(dir, "backups"), "KEYSETS=" + filepath.Join(dir, "keysets"), "SUSPECT=" + filepath.Join(dir, "suspect"),
		"CONFIG=" + g.ConfigPath(),
	}
	site := gatetest.FreeAddr(t)
	_, port, _ := strings.Cut(site, ":")
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: "http://:" + port + " {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}"}.Text(g.Gateway))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "server"})
	sandbox := g.Admin.Reveal(t, g.Admin.DefaultKey(t, account, "secret", "sandbox").ID)
	status := func(token string) int {
		answer, err := gatetest.Send(site, "", get("/v1/customers", token))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status
	}
	says := func(out string, words ...string) {
		t.Helper()
		for _, word := range words {
			if !strings.Contains(out, word) {
				t.Errorf("the output has no %q:\n%s", word, out)
			}
		}
	}

	says(g.perform(t, "backup", 0), "whole", "primary:")
	later := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "later"})
	g.Stop(t)
	// The disk is lost, and the keyset with it: what is left is what was carried away.
	if err := os.RemoveAll(filepath.Join(g.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	says(g.perform(t, "keyset-back", 0))
	says(g.perform(t, "restore", 0), "restored")
	g.Start(t)
	says(g.perform(t, "restored", 0), "in order", key.ID)
	if a, b := status(key.Token), status(later.Token); a != 200 || b != 401 {
		t.Errorf("after the restore the keys are answered %d and %d, want 200 and 401", a, b)
	}
	if again := g.Admin.Reveal(t, sandbox.ID); again.Token != sandbox.Token {
		t.Error("after the restore the sandbox key reveals another token")
	}

	says(g.perform(t, "rotate", 0), "sealed anew", "nothing is sealed under old keys")
	if again := g.Admin.Reveal(t, sandbox.ID); again.Token != sandbox.Token {
		t.Error("after the rotation the sandbox key reveals another token")
	}
	keyset, err := os.ReadFile(filepath.Join(dir, "keysets", "master.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "keysets", "keyset.json"), keyset, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	says(g.perform(t, "byhand", 0), "waits in")

	if err := os.WriteFile(filepath.Join(dir, "suspect", "deploy.env"), []byte("KEY="+key.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	says(g.perform(t, "find", 1), "deploy.env:1", key.ID)
	g.env = append(g.env, "KEY="+key.ID)
	out := g.perform(t, "leak", 0)
	says(out, "server", "key.rotated")
	if code := status(key.Token); code != 401 {
		t.Errorf("the key that got out is answered %d", code)
	}
	for _, token := range tokenIn.FindAllString(out, -1) {
		g.Admin.Remember(token)
		if code := status(token); code != 200 {
			t.Errorf("its replacement is answered %d", code)
		}
	}

	says(g.perform(t, "before-upgrade", 0), "Valid configuration")
	g.Stop(t)
	g.Start(t)
	says(g.perform(t, "upgraded", 0), "in order", "live")
	for name := range g.drills {
		if !g.done[name] {
			t.Errorf("drill %s was not performed", name)
		}
	}
}

var tokenIn = regexp.MustCompile(`sk_live_[0-9A-Za-z]{38}`)
