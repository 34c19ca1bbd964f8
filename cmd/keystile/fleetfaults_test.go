package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestFleetWithoutDatabase: while the database is away no request with a good key fails, writes are refused as unavailable,
// a node that is killed starts again from its copy, and everything goes on by itself when the database is back.
func TestFleetWithoutDatabase(t *testing.T) {
	t.Parallel()
	away := time.Duration(roundsOf(t, "KEYSTILE_TEST_FLEET_AWAY_SECONDS", 3)) * time.Second
	f := newFleet(t, "")
	a, c := f.nodes[0], f.nodes[2]
	account := a.Admin.CreateAccount(t, "A", "")
	good := a.Admin.DefaultKey(t, account.ID, "secret", "live")
	doomed := a.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account.ID, "name": "doomed"})
	gone := a.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account.ID, "name": "gone"})
	c.becomes(t, doomed.Token, 200)
	c.becomes(t, gone.Token, 200)
	a.Admin.DeleteKey(t, gone.ID)
	stopLoad := f.load(t, good.Token)
	time.Sleep(2 * time.Second) // the copies of all nodes are written within a second of a change; a node without one cannot start
	if err := f.server.Stop(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for _, m := range f.nodes {
		m.Admin.Fails(t, "DELETE", "/v1/keys/"+doomed.ID, nil, 503, "store_unavailable")
		if listed := m.list(t); len(listed) != 3 {
			t.Errorf("without the database a node lists %+v, want what it has heard of", listed)
		}
	}
	f.killing.Store(true)
	c.Kill(t)
	c.Start(t)
	f.killing.Store(false)
	for token, want := range map[string]int{good.Token: 200, doomed.Token: 200, gone.Token: 401} {
		if status, code, err := c.status(token); err != nil || status != want {
			t.Errorf("a node that started without the database answers %d %s, %v; want %d", status, code, err, want)
		}
	}
	time.Sleep(away - time.Since(began))
	if err := f.server.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	for i, m := range f.nodes {
		for deadline := time.Now().Add(fleetLimit); ; time.Sleep(5 * time.Millisecond) {
			err := m.Admin.TryDo("PATCH", "/v1/keys/"+good.ID, gatetest.Fields{"note": fmt.Sprint("back ", i)}, nil)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("a node does not write again: %v", err)
			}
		}
	}
	t.Logf("the database was away for %v; all nodes wrote again %v after it was back", back.Sub(began), time.Since(back))
	f.nodes[1].Admin.DeleteKey(t, doomed.ID)
	for _, m := range f.nodes {
		m.becomes(t, doomed.Token, 401)
	}
	if n := stopLoad(); n < 100 {
		t.Errorf("only %d requests were sent: this test shows nothing", n)
	}
}

// TestFleetCutOff: a node that stands still for longer than max_staleness accepts nobody when it goes on, until it knows
// what has happened meanwhile; then it serves again by itself.
func TestFleetCutOff(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "max_staleness 4s")
	a, c := f.nodes[0], f.nodes[2]
	account := a.Admin.CreateAccount(t, "A", "")
	good := a.Admin.DefaultKey(t, account.ID, "secret", "live")
	doomed := a.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account.ID, "name": "doomed"})
	c.becomes(t, good.Token, 200)
	c.becomes(t, doomed.Token, 200)
	name := c.id(t)
	c.Signal(t, syscall.SIGSTOP)
	stopped := time.Now()
	var answer struct {
		Nodes []appliedNode `json:"nodes"`
	}
	a.Admin.Do(t, "DELETE", "/v1/keys/"+doomed.ID, nil, &answer)
	if at := slices.IndexFunc(answer.Nodes, func(n appliedNode) bool { return n.ID == name }); at < 0 || answer.Nodes[at].Applied {
		t.Errorf("a node that stands still is listed as %+v", answer.Nodes)
	}
	// Requests that are waiting at its door when it goes on.
	var conns []net.Conn
	for range 8 {
		conn, err := gatetest.DialFrom("", c.site)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, get("/v1/customers", doomed.Token, "Connection: close")); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	time.Sleep(time.Until(stopped.Add(6 * time.Second))) // longer than max_staleness: that is what is tried here
	c.Signal(t, syscall.SIGCONT)
	for _, conn := range conns {
		_ = conn.SetDeadline(time.Now().Add(fleetLimit))
		text, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("reading what the node answers: %v", err)
			continue
		}
		if status := string(text[:min(12, len(text))]); status != "HTTP/1.1 503" && status != "HTTP/1.1 401" {
			t.Errorf("a revoked key gets %q from a node that was cut off", status)
		}
	}
	c.becomes(t, good.Token, 200)
	c.becomes(t, doomed.Token, 401)

	// Cut off from the database alone: it answers 503, and serves again by itself.
	if err := f.server.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, m := range f.nodes {
		m.becomes(t, good.Token, 503)
		if status, code, err := m.status(good.Token); err == nil && (status != 503 || code != "gateway_unavailable") {
			t.Errorf("a node that was cut off for too long answers %d %s", status, code)
		}
		m.Admin.Do(t, "GET", "/v1/keys/"+good.ID, nil, nil) // who has the machine can still look
		if age := m.metric(t, "store_staleness_seconds"); age < 4 {
			t.Errorf("a node that was cut off for longer than four seconds counts %v", age)
		}
		for _, n := range m.list(t) {
			if n.Self && n.Status != "stale" {
				t.Errorf("a node that was cut off for too long lists itself as %s", n.Status)
			}
		}
	}
	if err := f.server.Start(); err != nil {
		t.Fatal(err)
	}
	for _, m := range f.nodes {
		m.becomes(t, good.Token, 200)
		for deadline := time.Now().Add(fleetLimit); m.metric(t, "store_staleness_seconds") >= 4 || m.metric(t, "nodes_live") != 3; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a node that serves again counts as stale, or does not see three nodes")
			}
		}
		if own, behind := m.metric(t, "store_revision"), m.metric(t, "store_behind_revisions"); own < 4 || behind != 0 {
			t.Errorf("a node that serves again is at revision %v, %v behind", own, behind)
		}
	}
}

// TestFleetKillDuringWrites kills nodes and the database with SIGKILL while all nodes write: what was acknowledged is on
// every node afterwards, whole.
func TestFleetKillDuringWrites(t *testing.T) {
	t.Parallel()
	rounds := roundsOf(t, "KEYSTILE_TEST_FLEET_KILLS", 6)
	f := newFleet(t, "")
	accounts, keys := 0, 0
	known := make(map[string]bool)
	for round := range rounds {
		var writers []*crashWriter
		var wg sync.WaitGroup
		var over atomic.Bool
		for i, m := range f.nodes {
			w := &crashWriter{name: fmt.Sprintf("r%d-w%d", round, i), accounts: make(map[string]string), over: &over}
			writers = append(writers, w)
			wg.Go(func() { w.run(m.Admin) })
		}
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		victim := round % 4
		if victim == 3 {
			if err := f.server.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := f.server.Start(); err != nil {
				t.Fatal(err)
			}
		} else {
			f.nodes[victim].Kill(t)
		}
		over.Store(true)
		wg.Wait()
		if victim != 3 {
			f.nodes[victim].Start(t)
		}
		f.settle(t)
		for _, m := range f.nodes {
			for _, w := range writers {
				checkWriter(t, m.Admin, w)
			}
		}
		for _, w := range writers {
			accounts += len(w.accounts)
			keys += len(w.keys)
		}
		checkWholeAccounts(t, f.nodes[round%3].Admin, known)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d acknowledged accounts and %d keys over %d kills", accounts, keys, rounds)
	if accounts < rounds || keys < rounds {
		t.Errorf("only %d accounts and %d keys were written over %d rounds: the test shows nothing", accounts, keys, rounds)
	}
	var chain struct{ Intact, Complete bool }
	if f.nodes[1].Admin.Do(t, "GET", "/v1/events/verify", nil, &chain); !chain.Intact || !chain.Complete {
		t.Errorf("the chain of events is %+v", chain)
	}
}

// settle waits until every node writes, and is at the same revision.
func (f *fleetBed) settle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(fleetLimit)
	for _, m := range f.nodes {
		for m.Admin.TryDo("POST", "/v1/organizations", gatetest.Fields{"name": "settled"}, nil) != nil {
			if time.Now().After(deadline) {
				t.Fatal("a node does not write again")
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	for _, m := range f.nodes {
		for {
			revisions := map[uint64]bool{}
			live := 0
			for _, n := range m.list(t) {
				if n.Status == "live" && n.Revision > 0 {
					revisions[n.Revision] = true
					live++
				}
			}
			if len(revisions) == 1 && live >= len(f.nodes) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the nodes do not come to one revision: %+v", m.list(t))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// TestFleetRollingRestart: nodes that are stopped and started one after the other lose no request.
func TestFleetRollingRestart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "")
	account := f.nodes[0].Admin.CreateAccount(t, "A", "")
	stopLoad := f.load(t, f.nodes[0].Admin.DefaultKey(t, account.ID, "secret", "live").Token)
	for range 2 {
		for _, m := range f.nodes {
			m.Stop(t)
			for _, n := range f.nodes {
				if n != m && len(n.list(t)) != 2 {
					t.Errorf("after a node has stopped, another lists %+v", n.list(t))
				}
			}
			m.Start(t)
		}
	}
	n := stopLoad()
	t.Logf("%d requests over six restarts, none failed", n)
	if n < 100 {
		t.Errorf("only %d requests were sent: this test shows nothing", n)
	}
}
