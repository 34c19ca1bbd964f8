package pgstore_test

import (
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestStandby: on a server that takes no writes a node loads and follows, refuses changes, and is in no list. It is as fresh
// as what the server has heard of nodes that write, and stale once these are silent.
func TestStandby(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	writer := joinFleet(t, dsn, "writer", nil)
	_, keys, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	reader := joinFleet(t, dsn+"&options=-c%20default_transaction_read_only%3Don", "reader", func(o *keystore.Options) { o.MaxStaleness = 5 * time.Second })
	until(t, "the reader was fresh", func() bool { return !reader.Stale(time.Now()) })
	if k, _ := reader.Lookup(&keys[2].Digest); k == nil || k.Principal.Ended {
		t.Errorf("the reader does not know a key: %+v", k)
	}
	if _, err := reader.DeleteKey(ctx, by, keys[2].ID); keystore.CodeOf(err) != keystore.CodeUnavailable {
		t.Errorf("a write on a standby: %v, want unavailable", err)
	}
	gone, err := writer.DeleteKey(ctx, by, keys[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	reach(t, reader, gone.Revision)
	if nodes := writer.WaitApplied(ctx, gone.Revision, waitLimit); len(nodes) != 1 || nodes[0].Node != "writer" {
		t.Errorf("the nodes that are waited for are %+v, want the writer", nodes)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader was stale", func() bool { return reader.Stale(time.Now()) })
}
