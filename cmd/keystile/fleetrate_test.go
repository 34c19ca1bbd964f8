package main_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestFleetRateShares: each node gives out its share of an account's limit, and a larger one when fewer nodes are left.
func TestFleetRateShares(t *testing.T) {
	t.Parallel()
	const limit, all = 30, 120
	f := newFleet(t, "rate_limit live 30")
	sees := func(m *fleetMember, nodes float64) {
		t.Helper()
		for deadline := time.Now().Add(fleetLimit); m.metric(t, "nodes_live") != nodes; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("a node sees %v nodes, want %v", m.metric(t, "nodes_live"), nodes)
			}
		}
	}
	// burst sends requests of a new account on one connection, and wants a share of two seconds' worth to pass.
	burst := func(m *fleetMember, share int) {
		t.Helper()
		account := m.Admin.CreateAccount(t, "A", "").ID
		requests := strings.Repeat(get("/v1/customers", m.Admin.DefaultKey(t, account, "secret", "live").Token), all)
		began := time.Now()
		answers, err := gatetest.SendAll(m.site, "", requests, all)
		if err != nil {
			t.Fatal(err)
		}
		// What is given out again while a busy machine takes its time.
		more := int(time.Since(began).Seconds()*float64(share)) + 1
		passed := 0
		for _, answer := range answers {
			if policy := answer.Header.Get("RateLimit-Policy"); policy != `"live";q=30;w=1` {
				t.Fatalf("RateLimit-Policy %q: clients are to be told of the whole limit", policy)
			}
			if answer.Status == 200 {
				passed++
			}
		}
		if passed < 2*share || passed > 2*share+more {
			t.Errorf("%d of %d requests pass at once, want %d to %d", passed, len(answers), 2*share, 2*share+more)
		}
	}
	for _, m := range f.nodes {
		sees(m, 3)
		burst(m, limit/3)
	}
	f.nodes[2].Stop(t)
	for _, m := range f.nodes[:2] {
		sees(m, 2)
		burst(m, limit/2)
	}
}
