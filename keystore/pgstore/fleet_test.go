package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/policy"
)

var by = keystore.Actor{Kind: "system", Name: "test"}

// waitLimit is how long a test waits for what must happen.
const waitLimit = time.Minute

// joinFleet opens one more store on a database.
func joinFleet(t *testing.T, dsn, name string, change func(*keystore.Options)) *keystore.Store {
	t.Helper()
	backend, err := pgstore.Open(t.Context(), dsn)
	if err != nil {
		t.Fatalf("opening the backend: %v", err)
	}
	o := keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t), Node: name}
	if change != nil {
		change(&o)
	}
	s, err := keystore.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

func fleet(t *testing.T, size int) []*keystore.Store {
	t.Helper()
	dsn := pgtest.Shared(t).Database(t)
	nodes := make([]*keystore.Store, 0, size)
	for i := range size {
		nodes = append(nodes, joinFleet(t, dsn, fmt.Sprintf("node-%d", i), nil))
	}
	return nodes
}

// reach waits until a store is at a revision.
func reach(t *testing.T, s *keystore.Store, revision uint64) {
	t.Helper()
	deadline := time.After(waitLimit)
	for {
		changed := s.Changed()
		if s.Snapshot().Revision() >= revision {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("the store is at revision %d and not at %d", s.Snapshot().Revision(), revision)
		}
	}
}

// describe is all that can be seen of a store's objects.
func describe(t *testing.T, s *keystore.Store) string {
	t.Helper()
	var b strings.Builder
	snap := s.Snapshot()
	fmt.Fprintf(&b, "revision %d, %d keys\n", snap.Revision(), s.Len())
	for after := ""; ; {
		rows, more, err := snap.Keys(keystore.KeyFilter{}, keystore.Page{Limit: 100, StartingAfter: after}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range rows {
			found, _ := s.Lookup(&k.Digest)
			fmt.Fprintln(&b, k.ID, k.Account, k.Name, k.Mask, k.Deleted, k.Principal.Ended, k.Successor, k.Revision, reflect.DeepEqual(found, k))
			after = k.ID
		}
		if !more {
			return b.String()
		}
	}
}

// TestFleetApplies: what one node writes is in force on the others when WaitApplied says so, caches included.
func TestFleetApplies(t *testing.T) {
	t.Parallel()
	nodes := fleet(t, 3)
	ctx := t.Context()
	for round := range 10 {
		writer, readers := nodes[round%3], nodes
		a, keys, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A", DefaultVersion: "2026-01-01"})
		if err != nil {
			t.Fatal(err)
		}
		key := keys[2]
		// An object that was made on one node can be changed on another at once, whether it has come there or not.
		other := nodes[(round+2)%3]
		if _, err := other.UpdateKey(ctx, by, key.ID, keystore.KeyPatch{Note: keystore.To("noted")}); err != nil {
			t.Fatalf("changing what another node has just made: %v", err)
		}
		// What changes nothing by what one node knows may undo what another has done.
		if _, err := writer.UpdateKey(ctx, by, key.ID, keystore.KeyPatch{Note: keystore.To("")}); err != nil {
			t.Fatal(err)
		}
		if k, _ := writer.Snapshot().Key(key.ID); k.Note != "" {
			t.Errorf("a change that was acknowledged did not happen: the note is %q", k.Note)
		}
		for _, s := range readers {
			reach(t, s, a.Revision)
			for range 2 { // the second time from the cache
				if k, _ := s.Lookup(&key.Digest); k == nil || k.Principal.Ended {
					t.Fatalf("a new key is not in force: %+v", k)
				}
			}
			if v := s.Directory().DefaultVersion(a.ID); v != "2026-01-01" {
				t.Errorf("the directory says version %q", v)
			}
		}
		gone, err := nodes[(round+1)%3].DeleteKey(ctx, by, key.ID)
		if err != nil {
			t.Fatal(err)
		}
		applied := writer.WaitApplied(ctx, gone.Revision, waitLimit)
		if len(applied) != 3 {
			t.Fatalf("the nodes are %+v, want three", applied)
		}
		for i, s := range nodes {
			if !applied[i].Applied {
				t.Errorf("node %s has not applied it in time", applied[i].Node)
			}
			if k, _ := s.Lookup(&key.Digest); k == nil || !k.Principal.Ended {
				t.Errorf("round %d: node %d still accepts a key that it says it has ended", round, i)
			}
		}
	}
}

// TestFleetWritesEverywhere: all nodes write at once. Nothing that was acknowledged is lost, all come to the same state,
// and the chain of events is whole.
func TestFleetWritesEverywhere(t *testing.T) {
	t.Parallel()
	const each = 25
	dsn := pgtest.Shared(t).Database(t)
	var nodes []*keystore.Store
	for i := range 3 {
		nodes = append(nodes, joinFleet(t, dsn, fmt.Sprintf("node-%d", i), nil))
	}
	ctx := t.Context()
	var wg sync.WaitGroup
	var mu sync.Mutex
	deleted := map[string]bool{}
	for i, s := range nodes {
		for w := range 2 {
			wg.Go(func() {
				for n := range each {
					_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: fmt.Sprintf("%d-%d-%d", i, w, n)})
					if err == nil {
						_, err = s.DeleteKey(ctx, by, keys[0].ID)
					}
					if err == nil {
						_, _, err = s.RotateKey(ctx, by, keys[2].ID, keystore.RotateParams{})
					}
					if err != nil {
						t.Errorf("writing at node %d: %v", i, err)
						return
					}
					mu.Lock()
					deleted[keys[0].ID], deleted[keys[2].ID] = true, false
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	const revisions = 3 * 2 * each * 3
	want := ""
	for i, s := range nodes {
		reach(t, s, revisions)
		if got := s.Snapshot().Revision(); got != revisions {
			t.Errorf("node %d is at revision %d after %d changes", i, got, revisions)
		}
		got := describe(t, s)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("node %d has another state than node 0", i)
		}
		report, err := s.VerifyEvents(ctx, keystore.ChainPlace{})
		if err != nil || report.Fault != nil || !report.Complete {
			t.Errorf("node %d: the chain is broken: %+v, %v", i, report, err)
		}
	}
	for id, gone := range deleted {
		k, ok := nodes[0].Snapshot().Key(id)
		if !ok || k.Deleted != gone || !k.Principal.Ended {
			t.Errorf("an acknowledged change of %s is lost", id)
		}
	}
	late := joinFleet(t, dsn, "late", nil)
	if got := describe(t, late); got != want {
		t.Error("a node that starts now has another state")
	}
}

// TestFleetImport: a bulk import on one node arrives on the others, also where they change its keys before it is all in
// the importer's memory.
func TestFleetImport(t *testing.T) {
	t.Parallel()
	const count = 6000
	nodes := fleet(t, 2)
	ctx := t.Context()
	a, _, err := nodes[0].CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	reach(t, nodes[1], a.Revision)
	imp, err := nodes[0].BeginImport(by, false)
	if err != nil {
		t.Fatal(err)
	}
	defer imp.Close()
	token := func(i int) string { return fmt.Sprintf("legacy-%06d", i) }
	for i := range count {
		err := imp.Add(i+1, &keystore.ImportParams{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID, Name: "old"}, Token: policy.TokenFrom(token(i)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// a write of the other node in between makes the importer's head stale
	if _, err := nodes[1].CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := imp.Commit(ctx)
		done <- err
	}()
	last := policy.DigestOf(token(count - 1))
	deadline := time.Now().Add(waitLimit)
	for {
		if k, _ := nodes[1].Lookup(&last); k != nil {
			if _, err := nodes[1].DeleteKey(ctx, by, k.ID); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the import does not arrive at the other node")
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Fatalf("importing: %v", err)
	}
	reach(t, nodes[0], nodes[1].Snapshot().Revision())
	for i, s := range nodes {
		if s.Len() != count+4 {
			t.Errorf("node %d has %d keys, want %d", i, s.Len(), count+4)
		}
		if !s.HasImported() {
			t.Errorf("node %d does not look imported keys up", i)
		}
		if k, _ := s.Lookup(&last); k == nil || !k.Principal.Ended {
			t.Errorf("node %d: a key that was deleted while it was arriving works: %+v", i, k)
		}
	}
	if describe(t, nodes[0]) != describe(t, nodes[1]) {
		t.Error("the nodes have different states")
	}
	if _, err := nodes[1].ImportKeys(ctx, by, []keystore.ImportParams{{
		KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID}, Token: policy.TokenFrom(token(7)),
	}}); err == nil {
		t.Error("a token was imported twice, on two nodes")
	}
}

// TestFleetUsage: a use that one node has seen is known to the others.
func TestFleetUsage(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	a := joinFleet(t, dsn, "a", nil)
	_, keys, err := a.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(time.Now().UnixMilli()).UTC()
	a.Touch(keys[0], at, netip.MustParseAddr("203.0.113.9"))
	if err := a.Close(); err != nil { // saves it
		t.Fatal(err)
	}
	b := joinFleet(t, dsn, "b", nil)
	if u, ok := b.LastUsed(keys[0].ID); !ok || !u.At.Equal(at) || u.Address != netip.MustParseAddr("203.0.113.9") {
		t.Errorf("the last use is %+v, %v", u, ok)
	}
}

// TestFleetMasterKey: a node with another master key is refused, and so is one that would make one of its own.
func TestFleetMasterKey(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	joinFleet(t, dsn, "a", nil)
	other, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]keystore.MasterKey{
		"another": keystore.MasterKeyText(other), "none yet": keystore.MasterKeyFile(t.TempDir() + "/master.key"),
	} {
		backend, err := pgstore.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: key, Node: "b"}); err == nil {
			t.Errorf("%s: the store opens", name)
			_ = s.Close()
		} else if !strings.Contains(err.Error(), "master key") {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

// TestManyStartAtOnce: nodes that start at once on an empty database make its tables once.
func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			backend, err := pgstore.Open(t.Context(), dsn)
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			s, err := keystore.Open(context.WithoutCancel(t.Context()), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t), Node: fmt.Sprint(i)})
			if err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			if _, _, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"}); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	s := joinFleet(t, dsn, "last", nil)
	if s.Len() != 8*4 {
		t.Errorf("%d keys, want %d", s.Len(), 8*4)
	}
}

// TestLostCommits: a database that has lost commits, and has gone on since, is not followed: the node stops accepting keys.
func TestLostCommits(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	s := joinFleet(t, dsn, "a", func(o *keystore.Options) { o.MaxStaleness = 2 * time.Second })
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "kept"}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, dsn)
	var hash []byte
	if err := conn.QueryRow(ctx, `SELECT hash FROM keystile_head`).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "lost"}); err != nil {
		t.Fatal(err)
	}
	for _, undo := range []string{
		`DELETE FROM keystile_events WHERE seq = 2`, `DELETE FROM keystile_rows WHERE revision = 2`,
		`UPDATE keystile_head SET revision = 1, events = 1`,
	} {
		if _, err := conn.Exec(ctx, undo); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Exec(ctx, `UPDATE keystile_head SET hash = $1`, hash); err != nil {
		t.Fatal(err)
	}
	other := joinFleet(t, dsn, "b", nil)
	for range 2 { // the numbers of the first node are passed
		if _, err := other.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "new"}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the node was stale", func() bool { return s.Stale(time.Now()) })
	if got := s.Snapshot().Revision(); got != 2 {
		t.Errorf("the node has gone on to revision %d on top of what is lost", got)
	}
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "x"}); keystore.CodeOf(err) != keystore.CodeUnavailable {
		t.Errorf("a write on top of what is lost: %v", err)
	}
	if other.Stale(time.Now()) {
		t.Error("a node that knows nothing else is stale")
	}
}

// TestHeldHead: a commit that has written the head and has not ended keeps every other one waiting, and nobody sees past
// it: of two commits the one that others see first is the one that comes first.
func TestHeldHead(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	b, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	conn := connect(t, dsn)
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `UPDATE keystile_head SET revision = 1`); err != nil {
		t.Fatal(err)
	}
	outcome := make(chan error, 1)
	go func() {
		outcome <- b.Commit(ctx, &keystore.Commit{Next: keystore.Head{Revision: 1}, Rows: []keystore.Row{{Table: keystore.TableKey, ID: "key_1", Data: []byte("x")}}})
	}()
	waitBlocked(t, dsn)
	head, err := b.Changes(ctx, 0, func([]keystore.Row) error { return errors.New("a row of a commit that has not ended") })
	if err != nil || head.Revision != 0 {
		t.Errorf("Changes = %+v, %v while a commit is under way", head, err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-outcome; !errors.Is(err, keystore.ErrStale) {
		t.Errorf("the commit that came second = %v, want ErrStale", err)
	}
}
