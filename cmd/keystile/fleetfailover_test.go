package main_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestFleetFailover: the database's primary is killed while all nodes write and serve, and its synchronous replica is promoted.
// The gateways know both addresses: no request fails, they write at the new primary by themselves, and nothing that was
// acknowledged is lost.
func TestFleetFailover(t *testing.T) {
	t.Parallel()
	f := &fleetBed{backend: gatetest.NewBackend(t, "echo")}
	server := func(s *pgtest.Server, err error) *pgtest.Server {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("ending PostgreSQL: %v", err)
			}
		})
		return s
	}
	f.server = server(pgtest.New())
	replica := server(f.server.Replica())
	f.server.Database(t)
	f.server.Synchronous(t)
	f.addThree(t, pgtest.JointDSN("test1", f.server, replica), "")
	account := f.nodes[0].Admin.CreateAccount(t, "A", "")
	stopLoad := f.load(t, f.nodes[0].Admin.DefaultKey(t, account.ID, "secret", "live").Token)

	var writers []*crashWriter
	var wg sync.WaitGroup
	var over atomic.Bool
	for i, m := range f.nodes {
		w := &crashWriter{name: fmt.Sprintf("r0-w%d", i), accounts: make(map[string]string), over: &over}
		writers = append(writers, w)
		wg.Go(func() { w.run(m.Admin) })
	}
	time.Sleep(2 * time.Second)
	if err := f.server.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	wg.Wait() // each ends with the first change that fails
	if err := replica.Promote(); err != nil {
		t.Fatal(err)
	}
	promoted := time.Now()
	f.settle(t)
	t.Logf("promoted %v after the kill; all nodes had written and were at one revision %v later", promoted.Sub(killed), time.Since(promoted))
	accounts, keys := 0, 0
	for _, m := range f.nodes {
		for _, w := range writers {
			checkWriter(t, m.Admin, w)
		}
	}
	for _, w := range writers {
		accounts += len(w.accounts)
		keys += len(w.keys)
	}
	checkWholeAccounts(t, f.nodes[1].Admin, make(map[string]bool))
	n := stopLoad()
	t.Logf("%d acknowledged accounts and %d keys, %d requests, none failed", accounts, keys, n)
	if accounts < 5 || n < 100 {
		t.Errorf("only %d accounts and %d requests: this test shows nothing", accounts, n)
	}
	var chain struct{ Intact, Complete bool }
	if f.nodes[2].Admin.Do(t, "GET", "/v1/events/verify", nil, &chain); !chain.Intact || !chain.Complete {
		t.Errorf("the chain of events is %+v", chain)
	}
}
