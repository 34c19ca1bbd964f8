package main_test

import (
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestFleetSchedule: many keys are due at the same moment, the node that rotates them is killed in the middle, the next one
// stands still in the middle and goes on when a third has done the rest. Each key is rotated exactly once: one replacement, one
// event.
func TestFleetSchedule(t *testing.T) {
	t.Parallel()
	const count = 150
	f := newFleet(t, "")
	a := f.nodes[0]
	account := a.Admin.CreateAccount(t, "A", "").ID
	names := make(map[string]*fleetMember)
	for _, m := range f.nodes {
		names[m.id(t)] = m
	}
	due := time.Now().Add(20 * time.Second)
	scheduled := map[string]bool{}
	for i := range count {
		m := f.nodes[i%3]
		key := m.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": fmt.Sprint("due ", i)})
		m.Admin.Do(t, "PUT", "/v1/keys/"+key.ID+"/rotation_schedule", gatetest.Fields{"at": due.UTC().Format(time.RFC3339Nano), "overlap": "1h"}, nil)
		scheduled[key.ID] = true
	}
	if late := time.Since(due); late > 0 {
		t.Logf("the last keys were scheduled %v after they were due", late)
	}
	// rotated is how many are done, by the database: any node may be down.
	rotated := func() (n int) {
		text, err := pgtest.Text(f.dsn, `SELECT count(*)::text FROM keystile_events WHERE convert_from(body, 'UTF8') LIKE '%"key.rotated"%'`)
		if err == nil {
			_, err = fmt.Sscan(text, &n)
		}
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// holder waits until so many are done, and is who does them.
	holder := func(done int) *fleetMember {
		for deadline := time.Now().Add(2 * fleetLimit); ; time.Sleep(time.Millisecond) {
			if n := rotated(); n >= done && n < count {
				lease, err := pgtest.Text(f.dsn, `SELECT convert_from(value, 'UTF8') FROM keystile_meta WHERE name = 'scheduler_lease'`)
				if err != nil {
					t.Fatal(err)
				}
				for name, m := range names {
					if strings.Contains(lease, `"`+name+` `) && m.Running() {
						return m
					}
				}
			} else if n == count {
				return nil
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d keys were rotated, and nobody goes on", rotated(), count)
			}
		}
	}
	killed := holder(10)
	if killed == nil {
		t.Fatal("all was done before anybody could be killed: this test shows nothing")
	}
	killed.Kill(t)
	at := rotated()
	stopped := holder(at + 10) // the lease of the dead node has to end first
	if stopped == nil {
		t.Fatal("all was done before anybody could be stopped: this test shows nothing")
	}
	stopped.Signal(t, syscall.SIGSTOP)
	then := rotated()
	for deadline := time.Now().Add(2 * fleetLimit); rotated() < count; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d keys were rotated, and nobody goes on", rotated(), count)
		}
	}
	t.Logf("killed a node after %d of %d rotations, stopped another after %d", at, count, then)
	stopped.Signal(t, syscall.SIGCONT)
	killed.Start(t)
	f.settle(t)

	for i, m := range f.nodes {
		successors, old := map[string]string{}, 0
		keys := m.Admin.Keys(t, url.Values{"account": {account}})
		for _, k := range keys {
			if !scheduled[k.ID] {
				continue
			}
			old++
			if k.Rotation.Successor == "" || k.Status != "expiring" {
				t.Errorf("node %d: key %s is %s, its successor %q", i, k.ID, k.Status, k.Rotation.Successor)
			}
			if other := successors[k.Rotation.Successor]; other != "" {
				t.Errorf("node %d: %s stands for %s and %s", i, k.Rotation.Successor, k.ID, other)
			}
			successors[k.Rotation.Successor] = k.ID
		}
		for _, k := range keys {
			if p := k.Rotation.Predecessor; p != "" && successors[k.ID] != p {
				t.Errorf("node %d: %s is a second replacement of %s", i, k.ID, p)
			}
		}
		if want := 4 + 2*count; old != count || len(keys) != want {
			t.Errorf("node %d: the account has %d keys, %d of them scheduled ones; want %d and %d", i, len(keys), old, want, count)
		}
	}
	events := map[string]int{}
	if got := rotated(); got != count {
		t.Errorf("there are %d events of rotations, want %d", got, count)
	}
	for id := range scheduled {
		var page struct{ Data []struct{ Type string } }
		a.Admin.Do(t, "GET", "/v1/events?limit=100&object="+id, nil, &page)
		for _, e := range page.Data {
			if e.Type == "key.rotated" {
				events[id]++
			}
		}
		if events[id] != 1 {
			t.Errorf("key %s has %d events of its rotation, want one", id, events[id])
		}
	}
}
