package caddymodule

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

const oneResource = `
		catalog {
			resource charges {
				read GET /v1/charges
				write POST /v1/charges
			}
		}`

var testActor = keystore.Actor{Kind: "system", Name: "test"}

// TestReloadKeepsWhatIsShared: a reload must not open the store again (the file is locked), nor lose its cache, the
// request log's queue, the throttle's memory or the counters.
func TestReloadKeepsWhatIsShared(t *testing.T) {
	c := newCaddy(t)
	before := c.mustLoad(c.config("", oneResource, "keystile\nrespond one"))
	after := c.mustLoad(c.config("", oneResource+"\nipv6_ranges on", "keystile\nrespond two"))

	if before == after {
		t.Error("the gate is the old config's")
	}
	if before.store != after.store || before.log != after.log || before.throttle != after.throttle || before.metrics != after.metrics {
		t.Error("the reload made a new store, log, throttle or metrics; want the same ones")
	}
	wantReferences(t, 1)
	// the new config's word is in force on the old store
	if err := limitToIPv6(t, after.store); err != nil {
		t.Errorf("IPv6 range after ipv6_ranges on: %v", err)
	}
}

// TestReloadToAnotherStore: what only the old config used is closed, and the rest goes on.
func TestReloadToAnotherStore(t *testing.T) {
	c := newCaddy(t)
	before := c.mustLoad(c.config("", "", "keystile"))
	after := c.mustLoad(c.config("", "store bolt "+filepath.Join(c.data, "other.db"), "keystile"))
	if before.store == after.store {
		t.Error("the store is the old one")
	}
	if before.log != after.log || before.metrics != after.metrics {
		t.Error("log or metrics are new, want the same ones")
	}
	if _, _, err := before.store.CreateAccount(t.Context(), testActor, keystore.AccountParams{Name: "early"}); err != nil {
		t.Errorf("the old store is closed while requests may be under way: %v", err)
	}
	wantReferences(t, 1)
	if _, _, err := before.store.CreateAccount(t.Context(), testActor, keystore.AccountParams{Name: "late"}); err == nil {
		t.Error("the old store takes changes, want it closed")
	}
	// back again: the file must have been let go of
	c.mustLoad(c.config("", "", "keystile"))
}

// TestFailedReloadLeavesEverythingRunning: a reload may fail while it is provisioned or while it is started. In both cases
// the running config goes on with its store, its settings, its admin API and its metrics.
func TestFailedReloadLeavesEverythingRunning(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	c := newCaddy(t)
	good := c.config("", oneResource, "keystile\nrespond served")
	tests := []struct {
		name   string
		config []byte
		want   string
	}{
		{
			name:   "unknown handler",
			config: []byte(strings.Replace(string(c.config("", oneResource+"\nipv6_ranges on", "keystile\nrespond new")), `"static_response"`, `"static_respons"`, 1)),
			want:   "static_respons",
		},
		{
			name: "port taken",
			config: adapt(t, `{
				admin `+adminAddress()+`
				persist_config off
				keystile {
					ipv6_ranges on
				}
			}
			http://`+taken.Addr().String()+` {
				keystile
			}`),
			want: "address already in use",
		},
		{
			name:   "store that cannot be opened",
			config: c.config("", "store bolt "+c.data, "keystile"),
			want:   "store: ",
		},
		{
			name:   "another master key for the same store",
			config: c.config("", "master_key env OTHER", "keystile"),
			want:   "changing it needs a restart",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := c.mustLoad(good)
			err := c.load(test.config)
			if err == nil {
				t.Fatal("the bad config loads")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want it to contain %q", err, test.want)
			}

			after := c.gate()
			if before != after {
				t.Error("another gate is in force")
			}
			wantReferences(t, 1)
			if _, _, err := after.store.CreateAccount(t.Context(), testActor, keystore.AccountParams{Name: "after " + test.name}); err != nil {
				t.Errorf("the store takes no changes: %v", err)
			}
			if err := limitToIPv6(t, after.store); err == nil || !strings.Contains(err.Error(), "IPv6") {
				t.Errorf("IPv6 range: error %v, want the running config's word: off", err)
			}
			if status, body := c.get("http://" + adminAddress() + "/keystile/v1/accounts"); status != 200 || !strings.Contains(body, "after "+test.name) {
				t.Errorf("admin API: %d %s", status, body)
			}
			if status, _ := c.get("http://" + c.site + "/"); status != 401 {
				t.Errorf("the site answers %d, want 401", status)
			}
		})
	}
}

// TestHalfProvisionedReleasesWhatItTook: Caddy cleans up modules whose provisioning failed midway. An app that gave back
// more than it took would close the running config's store.
func TestHalfProvisionedReleasesWhatItTook(t *testing.T) {
	c := newCaddy(t)
	c.mustLoad(c.config("", oneResource, "keystile"))

	tests := []struct {
		name string
		app  App
		held int
	}{
		{"before anything is taken", App{HeaderPrefix: "bad prefix"}, 0},
		{"bad catalog", App{Catalog: &CatalogConfig{Resources: []ResourceConfig{{Name: "x", Rules: []RuleConfig{{Rule: "read", Method: "GET", Paths: []string{"no-slash"}}}}}}}, 0},
		{"conflict over the store", App{MasterKey: &MasterKeyConfig{Env: "OTHER"}}, 6},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			app := test.app
			if err := app.Provision(ctx); err == nil {
				t.Fatal("provisioning succeeds")
			}
			if len(app.run.held.keys) != test.held {
				t.Errorf("holds %d things of the pool, want %d", len(app.run.held.keys), test.held)
			}
			for range 2 { // a second cleanup gives nothing back
				if err := app.Cleanup(); err != nil {
					t.Errorf("cleaning up: %v", err)
				}
			}
			wantReferences(t, 1)
			if app.gate() != nil {
				t.Error("a cleaned-up app has a gate, want none (fail closed)")
			}
			if _, _, err := c.gate().store.CreateAccount(t.Context(), testActor, keystore.AccountParams{Name: test.name}); err != nil {
				t.Errorf("the running store: %v", err)
			}
		})
	}
}

// TestValidateTouchesNothing: `validate` provisions the config. It must create nothing, change nothing, and not need the
// lock of a store that a running gateway holds.
func TestValidateTouchesNothing(t *testing.T) {
	c := newCaddy(t)
	validate := func(t *testing.T, config []byte) error {
		t.Helper()
		var cfg *caddy.Config
		if err := json.Unmarshal(caddy.RemoveMetaFields(config), &cfg); err != nil {
			t.Fatal(err)
		}
		return caddy.Validate(cfg)
	}
	good := c.config("", oneResource, "keystile\nrespond hello")

	t.Run("nothing there yet", func(t *testing.T) {
		before := tree(t, filepath.Dir(c.data))
		if err := validate(t, good); err != nil {
			t.Fatalf("validating: %v", err)
		}
		if after := tree(t, filepath.Dir(c.data)); after != before {
			t.Errorf("files were\n%s\nand are\n%s", before, after)
		}
	})
	t.Run("a store in use", func(t *testing.T) {
		c.mustLoad(good)
		stopCaddy(t)
		before := tree(t, filepath.Dir(c.data))
		if err := validate(t, good); err != nil {
			t.Fatalf("validating: %v", err)
		}
		if after := tree(t, filepath.Dir(c.data)); after != before {
			t.Errorf("files were\n%s\nand are\n%s", before, after)
		}
	})
	t.Run("a store that is none", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		before := tree(t, filepath.Dir(path))
		err := validate(t, c.config("", "store bolt "+path, "keystile"))
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one that names %s", err, path)
		}
		if after := tree(t, filepath.Dir(path)); after != before {
			t.Errorf("files were\n%s\nand are\n%s", before, after)
		}
	})
}

// TestFirstUseOpens: Caddy starts its apps in random order, so the first request may come before our Start. It waits for
// the store and is judged; it does not fail, and it does not pass unjudged.
func TestFirstUseOpens(t *testing.T) {
	newCaddy(t)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	app := new(App)
	if err := app.Provision(ctx); err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	if app.run.gated.Load() != nil {
		t.Error("provisioning alone opened the store")
	}
	gates := make(chan *gate)
	for range 8 {
		go func() { gates <- app.gate() }()
	}
	first := <-gates
	if first == nil {
		t.Fatal("no gate")
	}
	for range 7 {
		if g := <-gates; g != first {
			t.Error("two requests opened two gates")
		}
	}
	if err := app.Cleanup(); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
	if app.gate() != nil {
		t.Error("a cleaned-up app has a gate, want none (fail closed)")
	}
}

// TestLateRequests: Caddy does not wait for the old servers of a reload. A request that one of them takes afterwards is
// judged on the same store; if the running config has another one, it is refused.
func TestLateRequests(t *testing.T) {
	c := newCaddy(t)
	g := c.mustLoad(c.config("", oneResource, "keystile"))
	old, err := activeApp()
	if err != nil {
		t.Fatal(err)
	}
	c.mustLoad(c.config("", "", "keystile"))
	if old.gate() != g {
		t.Error("right after the reload the old config's handlers have no gate of their own")
	}
	endLingering()
	late := old.gate()
	if late == nil {
		t.Fatal("long after the reload the old config's handlers have no gate, but the store is open")
	}
	if late.store != g.store || late.log != g.log || late.catalog != g.catalog {
		t.Error("the late gate is not of the old rules on the running store")
	}
	c.mustLoad(c.config("", "store bolt "+filepath.Join(c.data, "other.db"), "keystile"))
	if old.gate() != nil {
		t.Error("a request of an old config is judged on another config's store, want it refused (fail closed)")
	}
}

// TestReloadToAnotherLog: requests that are under way during a reload leave their records in the log that they began with.
func TestReloadToAnotherLog(t *testing.T) {
	c := newCaddy(t)
	before := c.mustLoad(c.config("", "", "keystile"))
	c.mustLoad(c.config("", "request_log archive "+filepath.Join(c.data, "other"), "keystile"))
	r := before.log.NewRecord()
	r.ID, r.Time = requestlog.NewID(time.Now()), time.Now()
	if !before.log.Append(r) {
		t.Error("the old log refuses the record of a request that was under way")
	}
	endLingering()
	if stats := before.log.Stats(); stats.Stored != 1 {
		t.Errorf("%d records stored, want 1", stats.Stored)
	}
}

// TestRetainOutlivesTheConfig: a connection that has left HTTP ends after its config was cleaned up, and leaves its record
// nevertheless. The process waits for it when it exits.
func TestRetainOutlivesTheConfig(t *testing.T) {
	c := newCaddy(t)
	g := c.mustLoad(c.config("", oneResource, "keystile"))
	app, err := activeApp()
	if err != nil {
		t.Fatal(err)
	}
	release := app.retain()
	if release == nil {
		t.Fatal("nothing is retained")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	wantReferences(t, 1) // the connection's
	if app.retain() != nil {
		t.Error("a cleaned-up app can be retained")
	}
	exited := make(chan struct{})
	go func() {
		waitForHolders(context.Background())
		close(exited)
	}()
	r := g.log.NewRecord()
	r.ID, r.Time = requestlog.NewID(time.Now()), time.Now()
	if !g.log.Append(r) {
		t.Error("the log refuses the record of a connection that was open")
	}
	select {
	case <-exited:
		t.Error("the process exits before the connection has ended")
	default:
	}
	release()
	<-exited
	if stats := g.log.Stats(); stats.Stored != 1 || stats.Dropped != 0 {
		t.Errorf("%d records stored and %d dropped, want 1 and 0", stats.Stored, stats.Dropped)
	}
}

// TestExitDoesNotWaitForever: a connection that never ends costs the process its grace, and no record.
func TestExitDoesNotWaitForever(t *testing.T) {
	c := newCaddy(t)
	g := c.mustLoad(c.config("", oneResource, "keystile"))
	app, err := activeApp()
	if err != nil {
		t.Fatal(err)
	}
	release := app.retain()
	defer release()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	r := g.log.NewRecord()
	r.ID, r.Time = requestlog.NewID(time.Now()), time.Now()
	g.log.Append(r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the grace is over
	waitForHolders(ctx)
	if stats := g.log.Stats(); stats.Stored != 1 {
		t.Errorf("%d records stored, want 1", stats.Stored)
	}
}

// TestUnknownJSONFieldIsRefused: Caddy decodes module configs strictly, and we rely on it: a misspelt option must not be
// ignored.
func TestUnknownJSONFieldIsRefused(t *testing.T) {
	c := newCaddy(t)
	for _, field := range []string{`"retention":"30d"`, `"store":{"address":"x"}`, `"catalog":{"rules":[]}`, `"request_log":{"max_bytes":1}`} {
		config := strings.Replace(string(c.config("", "", "keystile")), `"keystile":{}`, `"keystile":{`+field+`}`, 1)
		if !strings.Contains(config, field) {
			t.Fatalf("the config has no empty app: %s", config)
		}
		if err := c.load([]byte(config)); err == nil || !strings.Contains(err.Error(), "unknown field") {
			t.Errorf("%s: error %v, want an unknown field", field, err)
		}
	}
}

// TestUsage: a record of a key's use reaches the store as its last use, whatever the gateway answered, unless the key had
// ended or was tried from elsewhere.
func TestUsage(t *testing.T) {
	c := newCaddy(t)
	g := c.mustLoad(c.config("", oneResource, "keystile"))
	keys := demoKeys(t, g.store)
	now := time.Now().UTC().Truncate(time.Millisecond)
	address := netip.MustParseAddr("192.0.2.7")
	for i, decision := range []string{"allowed", "permission_denied", "ip_not_allowed", "api_key_expired"} {
		r := g.log.NewRecord()
		r.ID, r.Time, r.Key, r.Decision, r.Client = requestlog.NewID(now), now, keys[i].ID, decision, address
		g.log.Append(r)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := g.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, false} {
		usage, ok := g.store.LastUsed(keys[i].ID)
		if ok != want {
			t.Errorf("key %d: known use %t, want %t", i, ok, want)
		}
		if want && (usage.Address != address || usage.At.Sub(now).Abs() > time.Minute) {
			t.Errorf("key %d: last used %v from %v, want %v from %v", i, usage.At, usage.Address, now, address)
		}
	}
}

// limitToIPv6 limits a secret key to IPv6 addresses, which only a config with ipv6_ranges on allows.
func limitToIPv6(t *testing.T, store *keystore.Store) error {
	t.Helper()
	for _, key := range demoKeys(t, store) {
		if key.Kind == policy.KindSecret {
			_, err := store.UpdateKey(t.Context(), testActor, key.ID, keystore.KeyPatch{IPRanges: keystore.To([]string{"2001:db8::/32"})})
			return err
		}
	}
	t.Fatal("no secret key")
	return nil
}

// demoKeys are the keys of the account that the first start made.
func demoKeys(t *testing.T, store *keystore.Store) []*keystore.Key {
	t.Helper()
	keys, _, err := store.Snapshot().Keys(keystore.KeyFilter{}, keystore.Page{Limit: 100}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) < 4 {
		t.Fatalf("the store has %d keys, want the demo account's four", len(keys))
	}
	return keys[len(keys)-4:]
}

// wantReferences checks that everything in the pool is used by n configs.
func wantReferences(t *testing.T, n int) {
	t.Helper()
	endLingering()
	keys := 0
	pool.Range(func(key, _ any) bool {
		keys++
		return true
	})
	if keys != 7 {
		t.Errorf("%d things in the pool, want 7: store, log, throttle, resets, lockout, rate limits, metrics", keys)
	}
	pool.Range(func(key, _ any) bool {
		if got, _ := pool.References(key); got != n {
			t.Errorf("%v is used by %d configs, want %d", key, got, n)
		}
		return true
	})
}
