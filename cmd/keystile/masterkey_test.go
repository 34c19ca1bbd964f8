package main_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// masterKeyKills is how often the process is killed while it rotates its master key.
const masterKeyKills = 20

func masterKeyPath(g *gatetest.Gateway) string {
	return filepath.Join(filepath.Dir(g.StorePath()), "master.key")
}

// TestMasterKeyRotateWhileRunning rotates the master key of a gateway in use: no request is refused, everything that could
// be revealed can be, also after a restart, and the old key is gone from the machine.
func TestMasterKeyRotateWhileRunning(t *testing.T) {
	t.Parallel()
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.New(t)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.WriteConfig(t, gatetest.Config{
		Keystile: gatetest.Catalog, Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}\n", port),
	}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	sandbox := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	live := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account})
	token := g.Admin.Reveal(t, sandbox.ID).Token
	old, err := os.ReadFile(masterKeyPath(g))
	if err != nil {
		t.Fatal(err)
	}

	stop := make(chan struct{})
	var requests sync.WaitGroup
	requests.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			answer, err := gatetest.Send(site, "", get("/v1/customers", live.Token))
			if err != nil || answer.Status != 200 {
				t.Errorf("a request while the master key is rotated: %v, %+v", err, answer)
				return
			}
		}
	})
	wants(t, g.Run(t, "master-key", "status"), 0, "primary:", "nothing is sealed under old keys")
	for range 3 {
		wants(t, g.Run(t, "master-key", "rotate"), 0, "sealed anew:", "tokens", "nothing is sealed under old keys")
		if again := g.Admin.Reveal(t, sandbox.ID); again.Token != token {
			t.Error("the sandbox key reveals another token")
		}
	}
	wants(t, g.Run(t, "master-key", "rotate", "--keep-old"), 0, "old: ")
	wants(t, g.Run(t, "master-key", "prune", "--json"), 0, `"object":"master_key_change"`, `"waiting":null`)
	wants(t, g.Run(t, "master-key", "rotate", "--url", "https://example.com"), 2, "--url does not go with it")
	wants(t, g.Run(t, "event", "verify"), 0, "in order")
	close(stop)
	requests.Wait()

	now, err := os.ReadFile(masterKeyPath(g))
	if err != nil || string(now) == string(old) {
		t.Errorf("the file holds the old keyset: %v", err)
	}
	if info, err := os.Stat(masterKeyPath(g)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info, err)
	}
	g.Stop(t)
	g.Start(t)
	if again := g.Admin.Reveal(t, sandbox.ID); again.Token != token {
		t.Error("after a restart the sandbox key reveals another token")
	}
	g.Stop(t)
	if err := os.WriteFile(masterKeyPath(g), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.TryStart(); err == nil || !strings.Contains(err.Error(), "another keyset") {
		t.Errorf("with the old keyset the start answers %.500v", err)
	}
	if err := os.WriteFile(masterKeyPath(g), now, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKillDuringMasterKeyRotation kills the process with SIGKILL at a random moment of a rotation, again and again: every
// start after it is clean, and opens everything.
func TestKillDuringMasterKeyRotation(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog}.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	tokens := make(map[string]string)
	for i := range 30 {
		k := g.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "sandbox", "account": account, "name": fmt.Sprint(i)})
		tokens[k.ID] = k.Token
	}
	finished := 0
	for round := range masterKeyKills {
		done := make(chan bool, 1)
		go func() { done <- g.Admin.TryDo("POST", "/v1/master_key/rotate", gatetest.Fields{}, nil) == nil }()
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond) // a moment, wherever it falls
		g.Kill(t)
		if <-done {
			finished++
		}
		if err := g.TryStart(); err != nil {
			t.Fatalf("round %d: the start after the kill: %v", round, err)
		}
		for id, token := range tokens {
			if k := g.Admin.Reveal(t, id); k.Token != token {
				t.Fatalf("round %d: %s reveals another token", round, id)
			}
		}
	}
	t.Logf("%d of %d rotations were finished before the kill", finished, masterKeyKills)
	g.Admin.Do(t, "POST", "/v1/master_key/rotate", gatetest.Fields{}, nil)
	var state struct{ Keys []int64 }
	g.Admin.Do(t, "GET", "/v1/master_key", nil, &state)
	if len(state.Keys) != 1 {
		t.Errorf("after a rotation that was not cut off there are keys %v, want one", state.Keys)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(masterKeyPath(g)), "*master*"))
	if err != nil || len(files) != 1 {
		t.Errorf("files of master keys: %q, %v, want one", files, err)
	}
}

// TestMasterKeyInEnvironment: what this program cannot change is changed by hand, as the refusal says, and nothing of the
// keyset is printed.
func TestMasterKeyInEnvironment(t *testing.T) {
	t.Parallel()
	first := gatetest.New(t) // makes a keyset
	first.WriteConfig(t, gatetest.Config{}.Text(first))
	first.Start(t)
	first.Stop(t)
	keyset, err := os.ReadFile(masterKeyPath(first))
	if err != nil {
		t.Fatal(err)
	}
	g := gatetest.New(t)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.Setenv("KEYSTILE_MASTER_KEY=" + strings.TrimSpace(string(keyset)))
	g.WriteConfig(t, gatetest.Config{Keystile: "master_key env KEYSTILE_MASTER_KEY"}.Text(g))
	g.Start(t)
	r := g.Run(t, "master-key", "rotate")
	wants(t, r, 1, "KEYSTILE_MASTER_KEY", "add --file FILE", "restart every node")
	file := filepath.Join(t.TempDir(), "keyset.json")
	if err := os.WriteFile(file, keyset, 0o600); err != nil {
		t.Fatal(err)
	}
	add := g.Run(t, "master-key", "add", "--file", file)
	wants(t, add, 0, "waits in")
	wants(t, g.Run(t, "master-key", "prune", "--file", file), 2, "go together")
	changed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g.Stop(t)
	g.Setenv("KEYSTILE_MASTER_KEY=" + strings.TrimSpace(string(changed))) // the later one counts
	g.Start(t)
	promoted := g.Run(t, "master-key", "promote")
	wants(t, promoted, 0, "nothing is sealed under old keys")
	for _, out := range []gatetest.Result{r, add, promoted} {
		for word := range strings.FieldsFuncSeq(string(changed), func(r rune) bool { return r == '"' }) {
			if len(word) > 60 && strings.Contains(out.Stdout+out.Stderr, word) {
				t.Error("a command has printed the keyset")
			}
		}
	}
}
