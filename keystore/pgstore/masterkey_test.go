package pgstore_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/policy"
)

// hooked is a backend with a test in its way.
type hooked struct {
	*pgstore.Store
	blind  bool              // it is told nothing of what others change
	swap   func(name string) // before a small value is swapped
	commit func()            // before a commit
}

func (h *hooked) Commit(ctx context.Context, c *keystore.Commit) error {
	if h.commit != nil {
		h.commit()
	}
	return h.Store.Commit(ctx, c)
}

func (h *hooked) Watch(ctx context.Context, seen func(keystore.Sighting, error)) error {
	if !h.blind {
		return h.Store.Watch(ctx, seen)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *hooked) SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error) {
	if h.swap != nil {
		h.swap(name)
	}
	return h.Store.SwapMeta(ctx, name, old, value)
}

// hookedPair are two nodes with a master key file each, and the way in which the first one's comes to the second.
func hookedPair(t *testing.T) (nodes [2]*keystore.Store, backends [2]*hooked, carry func()) {
	t.Helper()
	dsn := pgtest.Shared(t).Database(t)
	paths := [2]string{filepath.Join(t.TempDir(), "master.key"), filepath.Join(t.TempDir(), "master.key")}
	carry = func() {
		t.Helper()
		text, err := os.ReadFile(paths[0])
		if err == nil {
			err = os.WriteFile(paths[1], text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, path := range paths {
		if i == 1 {
			carry()
		}
		nodes[i] = joinFleet(t, dsn, []string{"a", "b"}[i], func(o *keystore.Options) {
			backends[i] = &hooked{Store: o.Backend.(*pgstore.Store), blind: i == 0}
			o.Backend, o.MasterKey = backends[i], keystore.MasterKeyFile(path)
		})
	}
	return nodes, backends, carry
}

// waitUnlocked waits for whoever changes a store at this moment.
func waitUnlocked(t *testing.T, s *keystore.Store) {
	t.Helper()
	imp, err := s.BeginImport(by, true)
	if err != nil {
		t.Fatal(err)
	}
	imp.Close()
}

// TestFleetMasterKeyPruneLooks: a node that drops a key looks at what the others have sealed, also if it has not heard of it yet.
func TestFleetMasterKeyPruneLooks(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	nodes, backends, carry := hookedPair(t)
	a, b := nodes[0], nodes[1]
	if _, err := a.AddMasterKey(ctx, by); err != nil {
		t.Fatal(err)
	}
	carry()
	if _, err := b.ReloadMasterKey(ctx); err != nil {
		t.Fatal(err)
	}
	backends[0].swap = func(string) { // b knows of the promotion by now, and finds no new key yet
		reach(t, b, a.Snapshot().Revision())
		waitUnlocked(t, b)
	}
	if _, err := a.PromoteMasterKey(ctx, by); err != nil {
		t.Fatal(err)
	}
	backends[0].swap = nil
	_, keys, err := b.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := b.ReloadMasterKey(ctx); err != nil || state.Old.Keys == 0 {
		t.Fatalf("nothing is sealed under the old key, %v: the test shows nothing", err)
	}
	if a.Snapshot().Revision() >= b.Snapshot().Revision() {
		t.Fatal("the node that prunes has heard of the keys: the test shows nothing")
	}
	if err := a.PruneMasterKey(ctx, by); err == nil || !strings.Contains(err.Error(), "still sealed") {
		t.Errorf("pruning: %v", err)
	}
	if done, err := a.PromoteMasterKey(ctx, by); err != nil || done.Keys == 0 {
		t.Errorf("sealing anew: %v", err)
	}
	if err := a.PruneMasterKey(ctx, by); err != nil {
		t.Fatal(err)
	}
	carry()
	reach(t, b, a.Snapshot().Revision())
	if state, err := b.ReloadMasterKey(ctx); err != nil || len(state.Keys) != 1 {
		t.Fatalf("reloading what was pruned: %v", err)
	}
	for i, s := range nodes {
		for _, k := range keys {
			if k.Kind != policy.KindSecret || k.Mode != policy.ModeSandbox {
				continue
			}
			if _, token, err := s.RevealKey(ctx, by, k.ID); err != nil || token.Digest() != k.Digest {
				t.Errorf("node %d: revealing: %v", i, err)
			}
		}
	}
}

// TestFleetMasterKeyPromotedWhilePruned: of a promotion and a pruning at the same time one is refused. The key that seals would
// else be missing on a node.
func TestFleetMasterKeyPromotedWhilePruned(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"the pruning", "the promotion"} { // is done while the other one is on its way
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			nodes, backends, carry := hookedPair(t)
			a, b := nodes[0], nodes[1]
			add := func() (id uint32) {
				t.Helper()
				id, err := a.AddMasterKey(ctx, by)
				if err == nil {
					carry()
					_, err = b.ReloadMasterKey(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
				return id
			}
			add()
			if _, err := a.PromoteMasterKey(ctx, by); err != nil {
				t.Fatal(err)
			}
			if _, err := b.ReloadMasterKey(ctx); err != nil { // tells at once that it has turned
				t.Fatal(err)
			}
			id := add()
			var pruned, promoted error
			begun := false
			if first == "the pruning" {
				backends[1].swap = func(string) {
					if !begun {
						begun, pruned = true, a.PruneMasterKey(ctx, by)
					}
				}
				_, promoted = b.PromoteMasterKey(ctx, by)
			} else {
				backends[0].commit = func() {
					if !begun {
						begun = true
						_, promoted = b.PromoteMasterKey(ctx, by)
					}
				}
				pruned = a.PruneMasterKey(ctx, by)
			}
			if !begun {
				t.Fatal("nothing came in between: the test shows nothing")
			}
			wrong, right := promoted, pruned
			if first == "the promotion" {
				wrong, right = pruned, promoted
			}
			if right != nil || keystore.CodeOf(wrong) != keystore.CodeConflict {
				t.Errorf("the first one: %v; the second: %v, want a conflict", right, wrong)
			}
			for i, s := range nodes {
				state, err := s.ReloadMasterKey(ctx)
				if err != nil {
					t.Fatalf("node %d: %v", i, err)
				}
				if sealing := state.Primary == id; sealing != (first == "the promotion") {
					t.Errorf("node %d seals under %d of %v", i, state.Primary, state.Keys)
				}
			}
		})
	}
}

// TestFleetMasterKeyRotation carries a new master key through a fleet: no step is taken before every node can follow it, and
// at each moment every node opens what the other seals.
func TestFleetMasterKeyRotation(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgtest.Shared(t).Database(t)
	paths := [2]string{filepath.Join(t.TempDir(), "master.key"), filepath.Join(t.TempDir(), "master.key")}
	carry := func() {
		t.Helper()
		text, err := os.ReadFile(paths[0])
		if err == nil {
			err = os.WriteFile(paths[1], text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var nodes [2]*keystore.Store
	for i, path := range paths {
		if i == 1 {
			carry()
		}
		nodes[i] = joinFleet(t, dsn, []string{"a", "b"}[i], func(o *keystore.Options) { o.MasterKey = keystore.MasterKeyFile(path) })
	}
	_, keys, err := nodes[0].CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	revealable := func(keys []*keystore.Key) {
		t.Helper()
		for _, k := range keys {
			if k.Kind != policy.KindSecret || k.Mode != policy.ModeSandbox {
				continue
			}
			for i, s := range nodes {
				if _, token, err := s.RevealKey(ctx, by, k.ID); err != nil || token.Digest() != k.Digest {
					t.Errorf("node %d: revealing: %v", i, err)
				}
			}
		}
	}
	refused := func(err error, words ...string) {
		t.Helper()
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("got %v, want an error with %q", err, word)
			}
		}
	}
	answer := keystore.Answer{Caller: "me", Key: "k", Expires: time.Now().Add(time.Hour), Body: []byte("body")}
	if err := nodes[1].SaveAnswer(ctx, &answer); err != nil {
		t.Fatal(err)
	}

	_, err = nodes[0].RotateMasterKey(ctx, by, false)
	refused(err, "other nodes", "b")
	id, err := nodes[0].AddMasterKey(ctx, by)
	if err != nil {
		t.Fatal(err)
	}
	_, err = nodes[0].PromoteMasterKey(ctx, by)
	refused(err, "do not have", "b")
	carry()
	if _, err := nodes[1].ReloadMasterKey(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[0].PromoteMasterKey(ctx, by); err != nil {
		t.Fatal(err)
	}
	revealable(keys)

	// The other node turns when it sees the change, and what it makes from then on is sealed under the new key.
	reach(t, nodes[1], nodes[0].Snapshot().Revision())
	_, more, err := nodes[1].CreateAccount(ctx, by, keystore.AccountParams{Name: "B"})
	if err != nil {
		t.Fatal(err)
	}
	state, err := nodes[1].MasterKeys(ctx)
	if err != nil || state.Primary != id || state.Old.Keys != 0 || state.Old.Kept != 1 || state.Old.KeptUntil.IsZero() {
		t.Errorf("node b: %+v, %v; want primary %d and only the answer under the old key", state, err, id)
	}
	reach(t, nodes[0], nodes[1].Snapshot().Revision())
	revealable(more)

	// The answer is left to its end, and so is the old key.
	err = nodes[0].PruneMasterKey(ctx, by)
	if err != nil && strings.Contains(err.Error(), "may still seal") {
		if _, err := nodes[1].ReloadMasterKey(ctx); err != nil { // tells of it at once; by itself it does within a minute
			t.Fatal(err)
		}
		err = nodes[0].PruneMasterKey(ctx, by)
	}
	refused(err, "saved answers")
	for i, s := range nodes {
		if got, err := s.FindAnswer(ctx, "me", "k"); err != nil || got == nil || string(got.Body) != "body" {
			t.Errorf("node %d: the answer: %v", i, err)
		}
	}
	if err := nodes[0].SaveAnswer(ctx, &answer); err != nil { // under the new key now
		t.Fatal(err)
	}
	if err := nodes[0].PruneMasterKey(ctx, by); err != nil {
		t.Fatal(err)
	}
	carry()
	if state, err := nodes[1].ReloadMasterKey(ctx); err != nil || len(state.Keys) != 1 {
		t.Fatalf("reloading what was pruned: %v", err)
	}
	revealable(append(keys, more...))
}

// TestFleetMasterKeyLeftBehind: a node that was down while a key was promoted does not start without it.
func TestFleetMasterKeyLeftBehind(t *testing.T) {
	t.Parallel()
	dsn, dir := pgtest.Shared(t).Database(t), t.TempDir()
	path, behind := filepath.Join(dir, "master.key"), filepath.Join(dir, "old.key")
	s := joinFleet(t, dsn, "a", func(o *keystore.Options) { o.MasterKey = keystore.MasterKeyFile(path) })
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(behind, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateMasterKey(t.Context(), by, true); err != nil {
		t.Fatal(err)
	}
	backend, err := pgstore.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	late, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystore.MasterKeyFile(behind), Node: "b"})
	if err == nil {
		_ = late.Close()
		t.Fatal("a node without the promoted key started")
	}
	if !strings.Contains(err.Error(), "another keyset") {
		t.Errorf("the error is %v", err)
	}
}
