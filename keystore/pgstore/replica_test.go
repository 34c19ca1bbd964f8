package pgstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// withReplica is a server and a hot standby that it streams to.
func withReplica(t *testing.T) (primary, replica *pgtest.Server) {
	t.Helper()
	primary = ownServer(t)
	replica, err := primary.Replica()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Errorf("ending the replica: %v", err)
		}
	})
	return primary, replica
}

// TestReplica: a node that reads a streaming replica loads and follows what is committed at the primary, by its regular look,
// since a replica passes no hints on. It is as fresh as the replica, refuses changes, and is stale once the primary is silent.
func TestReplica(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, replica := withReplica(t)
	dsn := primary.Database(t)
	writer := joinFleet(t, dsn, "writer", nil)
	_, keys, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	copied := replica.DSN("test1")
	until(t, "the replica had the database", func() bool {
		return replica.Exec(`SELECT 1 / count(*) FROM pg_database WHERE datname = 'test1'`) == nil
	})
	until(t, "the replica had the account", func() bool {
		var revision int
		conn := connect(t, copied)
		defer func() { _ = conn.Close(ctx) }()
		return conn.QueryRow(ctx, `SELECT revision FROM keystile_head`).Scan(&revision) == nil && revision >= int(writer.Snapshot().Revision())
	})
	reader := joinFleet(t, copied, "reader", func(o *keystore.Options) { o.MaxStaleness = 5 * time.Second })
	until(t, "the reader was fresh", func() bool { return !reader.Stale(time.Now()) })
	for _, k := range keys {
		gone, err := writer.DeleteKey(ctx, by, k.ID)
		if keystore.CodeOf(err) != "" && k.Kind.String() == "publishable" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		reach(t, reader, gone.Revision)
		if found, _ := reader.Lookup(&k.Digest); found == nil || !found.Principal.Ended {
			t.Errorf("a key that was deleted at the primary works at the reader: %+v", found)
		}
	}
	if got, want := describe(t, reader), describe(t, writer); got != want {
		t.Errorf("the reader and the writer differ:\n%s\n%s", got, want)
	}
	if _, err := reader.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"}); keystore.CodeOf(err) != keystore.CodeUnavailable {
		t.Errorf("a write on a replica: %v, want unavailable", err)
	}
	// The replica goes on answering after its primary is gone: what it says is of the past, and the reader knows.
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader was stale", func() bool { return reader.Stale(time.Now()) })
}

// TestFailover: the primary dies in the middle of writes and its synchronous replica is promoted. Nodes that know both addresses
// go on there by themselves, and nothing that was acknowledged is lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	primary, replica := withReplica(t)
	primary.Database(t)
	primary.Synchronous(t)
	dsn := pgtest.JointDSN("test1", primary, replica)
	nodes := []*keystore.Store{joinFleet(t, dsn, "a", nil), joinFleet(t, dsn, "b", nil)}
	var mu sync.Mutex
	acknowledged := map[string]bool{} // key to whether it was deleted
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i, s := range nodes {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: fmt.Sprint(i, n)})
				if err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				_, err = s.DeleteKey(ctx, by, keys[2].ID)
				mu.Lock()
				acknowledged[keys[2].ID] = err == nil
				mu.Unlock()
			}
		})
	}
	written := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged)
	}
	until(t, "something was written", func() bool { return written() >= 20 })
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	before := written()
	until(t, "both nodes wrote at the new primary", func() bool { return written() >= before+20 })
	close(stop)
	wg.Wait()
	for _, s := range nodes {
		until(t, "the node could write", func() bool {
			_, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"})
			return err == nil
		})
	}
	late := joinFleet(t, replica.DSN("test1"), "late", nil)
	for i, s := range append(nodes, late) {
		reach(t, s, late.Snapshot().Revision())
		for id, deleted := range acknowledged {
			if k, ok := s.Snapshot().Key(id); !ok || deleted && !k.Principal.Ended {
				t.Errorf("node %d: an acknowledged change of %s is lost", i, id)
			}
		}
	}
	t.Logf("%d accounts over the failover", len(acknowledged))
	if report, err := late.VerifyEvents(ctx, keystore.ChainPlace{}); err != nil || report.Fault != nil || !report.Complete {
		t.Errorf("the chain is broken: %+v, %v", report, err)
	}
}
