package pgstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/policy"
)

// ownServer is a server that the test may stop and start.
func ownServer(t *testing.T) *pgtest.Server {
	t.Helper()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("ending PostgreSQL: %v", err)
		}
	})
	return server
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// TestDatabaseAway: without the database look-ups go on, writes are refused as unavailable, the node becomes stale when its
// time is over, and all is well again by itself.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := ownServer(t)
	dsn := server.Database(t)
	s := joinFleet(t, dsn, "a", func(o *keystore.Options) { o.MaxStaleness = 2 * time.Second })
	other := joinFleet(t, dsn, "b", nil)
	_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Stale(time.Now()) {
		t.Error("a node is stale beside its database")
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteKey(ctx, by, keys[0].ID); keystore.CodeOf(err) != keystore.CodeUnavailable {
		t.Errorf("a write without the database: %v, want unavailable", err)
	}
	if k, _ := s.Lookup(&keys[0].Digest); k == nil || k.Principal.Ended {
		t.Errorf("a look-up without the database: %+v", k)
	}
	until(t, "the node was stale", func() bool { return s.Stale(time.Now()) })
	if other.Stale(time.Now()) {
		t.Error("a node with a longer max_staleness is stale as soon")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node was fresh again", func() bool { return !s.Stale(time.Now()) })
	gone, err := s.DeleteKey(ctx, by, keys[0].ID)
	if err != nil {
		t.Fatalf("a write after the database is back: %v", err)
	}
	for _, n := range s.WaitApplied(ctx, gone.Revision, waitLimit) {
		if !n.Applied {
			t.Errorf("node %s has not applied it", n.Node)
		}
	}
	if k, _ := other.Lookup(&keys[0].Digest); k == nil || !k.Principal.Ended {
		t.Error("the other node does not follow any more")
	}
}

// TestStartFromCopy: a node starts without the database from its copy, knows all that it had applied, and goes on with the
// database as soon as that is there.
func TestStartFromCopy(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := ownServer(t)
	dsn := server.Database(t)
	path := filepath.Join(t.TempDir(), "keystile", "copy.keys")
	withCopy := func(o *keystore.Options) { o.CopyFile = path }
	other := joinFleet(t, dsn, "other", nil)
	first := joinFleet(t, dsn, "first", withCopy)
	_, keys, err := other.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := other.RevealKey(ctx, by, keys[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Signer(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "the copy was written", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && bytes.Contains(text, []byte("signing_keys"))
	})
	// Changes that come after the copy was written stand at its end.
	gone, err := other.DeleteKey(ctx, by, keys[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range other.WaitApplied(ctx, gone.Revision, waitLimit) {
		if !n.Applied {
			t.Fatalf("node %s has not applied it", n.Node)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy has mode %v, %v; want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(token.Reveal())) || bytes.Contains(text, []byte(pgtest.Password)) {
		t.Error("the copy holds a secret in clear")
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	// As after kill -9: what the first process has not written is lost, and it writes no more.
	crashed := filepath.Join(t.TempDir(), "copy.keys")
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(crashed, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again := joinFleet(t, dsn, "again", func(o *keystore.Options) { o.CopyFile = crashed })
	if k, _ := again.Lookup(&keys[2].Digest); k == nil || !k.Principal.Ended {
		t.Errorf("a key that was revoked before the start works after it: %+v", k)
	}
	if k, _ := again.Lookup(&keys[0].Digest); k == nil || k.Principal.Ended {
		t.Errorf("a good key is lost: %+v", k)
	}
	if again.Stale(time.Now()) {
		t.Error("a copy of a moment ago is stale")
	}
	if !again.Stale(time.Now().Add(keystore.DefaultMaxStaleness + time.Second)) {
		t.Error("a copy never becomes stale")
	}
	if _, err := again.Signer(ctx); err != nil {
		t.Errorf("signing without the database: %v", err)
	}
	if _, err := again.DeleteKey(ctx, by, keys[0].ID); keystore.CodeOf(err) != keystore.CodeUnavailable {
		t.Errorf("a write without the database: %v, want unavailable", err)
	}
	// One whose clock is ahead at such a start finds out: its copy is of another time.
	if err := os.WriteFile(crashed+"2", text, 0o600); err != nil {
		t.Fatal(err)
	}
	logs, told := observer.New(zap.InfoLevel)
	ahead := joinFleet(t, dsn, "ahead", func(o *keystore.Options) {
		o.CopyFile, o.Logger, o.Now = crashed+"2", zap.New(logs), func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }
	})
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the node could say what is kept", func() bool { _, err := ahead.MasterKeys(ctx); return err == nil }) // and destroys what is over
	if told.FilterMessageSnippet("the clock is ahead").Len() == 0 {
		t.Error("a clock that is ahead of the copy is believed")
	}
	until(t, "the node could write again", func() bool { _, err := again.DeleteKey(ctx, by, keys[0].ID); return err == nil })
	until(t, "the node was fresh again", func() bool { return !again.Stale(time.Now().Add(keystore.DefaultMaxStaleness - 5*time.Second)) })
	reach(t, other, again.Snapshot().Revision())
	if got, want := describe(t, again), describe(t, other); got != want {
		t.Errorf("after the database came back the nodes differ:\n%s\n%s", got, want)
	}
}

// TestStartWithoutAnything: without the database and without a copy there is no start, and the error names what is away
// and holds no password.
func TestStartWithoutAnything(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	dsn := server.Database(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	backend, err := pgstore.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	_, err = keystore.Open(t.Context(), keystore.Options{
		Backend: backend, MasterKey: keystoretest.MasterKey(t), Node: "a", CopyFile: filepath.Join(t.TempDir(), "copy"),
	})
	if err == nil {
		t.Fatal("a store opens on nothing")
	}
	if bytes.Contains([]byte(err.Error()), []byte(pgtest.Password)) {
		t.Errorf("the error holds the password: %v", err)
	}
}

// TestKillDatabaseDuringWrites: what was acknowledged is there after the server was killed, however often.
func TestKillDatabaseDuringWrites(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := ownServer(t)
	dsn := server.Database(t)
	nodes := []*keystore.Store{joinFleet(t, dsn, "a", nil), joinFleet(t, dsn, "b", nil)}
	type made struct {
		digest policy.Digest
		ended  bool
	}
	acknowledged := map[string]*made{}
	for range 4 {
		var written atomic.Int32
		results := make(chan func(), 10_000)
		stop := make(chan struct{})
		ended := make(chan struct{})
		for _, s := range nodes {
			go func() {
				defer func() { ended <- struct{}{} }()
				for {
					select {
					case <-stop:
						return
					default:
					}
					_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
					if err != nil {
						continue
					}
					m := &made{digest: keys[2].Digest}
					results <- func() { acknowledged[keys[2].ID] = m }
					if _, err := s.DeleteKey(ctx, by, keys[2].ID); err == nil {
						results <- func() { m.ended = true }
						written.Add(1)
					}
				}
			}()
		}
		until(t, "the nodes wrote", func() bool { return written.Load() >= 5 })
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		close(stop)
		for range nodes {
			<-ended
		}
		close(results)
		for note := range results {
			note()
		}
	}
	if len(acknowledged) < 10 {
		t.Errorf("only %d changes were acknowledged: this test shows nothing", len(acknowledged))
	}
	// A change whose outcome was unknown is settled before the next one is made.
	for _, s := range nodes {
		until(t, "the node could write again", func() bool {
			_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"})
			return err == nil
		})
	}
	late := joinFleet(t, dsn, "late", nil)
	for _, s := range nodes {
		reach(t, s, late.Snapshot().Revision())
	}
	want := describe(t, late)
	for i, s := range append(nodes, late) {
		if got := describe(t, s); got != want {
			t.Errorf("node %d has another state than one that starts now", i)
		}
		for id, m := range acknowledged {
			if k, ok := s.Snapshot().Key(id); !ok || m.ended && !k.Principal.Ended {
				t.Errorf("node %d: an acknowledged change of %s is lost", i, id)
			}
		}
	}
	report, err := late.VerifyEvents(ctx, keystore.ChainPlace{})
	if err != nil || report.Fault != nil || !report.Complete {
		t.Errorf("the chain is broken: %+v, %v", report, err)
	}
}
