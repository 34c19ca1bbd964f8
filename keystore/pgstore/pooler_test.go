package pgstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestPooler is the conformance suite through a real PgBouncer that gives each transaction another connection: nothing rests on
// what belongs to a session.
func TestPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	pool := server.Pool(t)
	t.Run("Backend", func(t *testing.T) {
		keystoretest.RunBackend(t, func(t *testing.T) func() (keystore.Backend, error) {
			dsn := pool.Through(server.Database(t))
			return func() (keystore.Backend, error) { return pgstore.Open(t.Context(), dsn) }
		})
	})
	t.Run("Shared", func(t *testing.T) {
		keystoretest.RunShared(t, func(t *testing.T) func() (keystore.Shared, error) {
			dsn := pool.Through(server.Database(t))
			return func() (keystore.Shared, error) { return pgstore.Open(context.WithoutCancel(t.Context()), dsn) }
		})
	})
}

// TestPoolerFleet: nodes behind a pooler follow each other by their regular look alone, since LISTEN hears nothing there, and
// are waited for like all others.
func TestPoolerFleet(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := pgtest.Shared(t)
	direct := server.Database(t)
	through := server.Pool(t).Through(direct)
	var nodes []*keystore.Store
	for i, dsn := range []string{through, through, direct} {
		nodes = append(nodes, joinFleet(t, dsn, fmt.Sprintf("node-%d", i), nil))
	}
	for round := range 6 {
		writer := nodes[round%3]
		_, keys, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
		if err != nil {
			t.Fatal(err)
		}
		gone, err := nodes[(round+1)%3].DeleteKey(ctx, by, keys[2].ID)
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
			if k, _ := s.Lookup(&keys[2].Digest); k == nil || !k.Principal.Ended {
				t.Errorf("round %d: node %d still accepts a key that it says it has ended", round, i)
			}
		}
	}
}
