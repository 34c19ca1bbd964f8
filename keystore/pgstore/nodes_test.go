package pgstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestSilentNodes: a node that was not heard of stays in the list for as long as it may accept keys: who revokes one is to be
// told that it may not know.
func TestSilentNodes(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), pgtest.Shared(t).Database(t)
	open := func() *pgstore.Store {
		t.Helper()
		s, err := pgstore.Open(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	s := open()
	for id, most := range map[string]time.Duration{"short": time.Minute, "long": 3 * time.Hour} {
		if _, err := s.Beat(ctx, &keystore.NodeRow{ID: id, Version: "1", Started: time.Now(), MaxStaleness: most}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(when string, want ...string) {
		t.Helper()
		rows, err := s.Nodes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range rows {
			ids = append(ids, r.ID)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, want) {
			t.Errorf("%s: the nodes are %v, want %v", when, ids, want)
		}
	}
	silent := func(most string) {
		t.Helper()
		if _, err := connect(t, dsn).Exec(ctx, `UPDATE keystile_nodes SET seen = now() - $1::interval`, most); err != nil {
			t.Fatal(err)
		}
	}
	silent("30 minutes")
	list("after half an hour", "long", "short")
	silent("2 hours")
	list("after two hours", "long")
	if err := s.Leave(ctx, "nobody"); err != nil {
		t.Fatal(err)
	}
	s = open() // both remove the nodes that are forgotten
	list("after a start", "long")
	silent("4 hours")
	list("after four hours")
}
