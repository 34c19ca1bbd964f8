package main_test

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// crashRounds is how often the process is killed, as the contract's test has it.
const crashRounds = 50

// stage is how far the life of a key was acknowledged.
type stage int

const (
	created stage = iota
	edited
	ended // deleted, or rotated away
)

// crashKey is what a writer knows of a key that it made.
type crashKey struct {
	id, account string
	stage       stage
	rotate      bool   // how it ends
	successor   string // of an acknowledged rotation
}

// crashWriter makes changes one after the other and remembers what was acknowledged.
type crashWriter struct {
	name     string
	accounts map[string]string // id to name
	keys     []*crashKey
	over     *atomic.Bool // set: it is to end by itself, for writers whose process lives on; nil: never
}

// run writes until the process is gone.
func (w *crashWriter) run(a *gatetest.Admin) {
	for n := 0; w.over == nil || !w.over.Load(); n++ {
		var account gatetest.Account
		name := fmt.Sprintf("%s-%d", w.name, n)
		if a.TryDo("POST", "/v1/accounts", gatetest.Fields{"name": name}, &account) != nil {
			return
		}
		w.accounts[account.ID] = name
		var key gatetest.Key
		if a.TryDo("POST", "/v1/keys", gatetest.Fields{"kind": "restricted", "mode": "live", "account": account.ID, "name": "v1", "note": "v1",
			"permissions": gatetest.Fields{"customers": "read"}}, &key) != nil {
			return
		}
		k := &crashKey{id: key.ID, account: account.ID, rotate: n%2 == 0}
		w.keys = append(w.keys, k)
		if a.TryDo("PATCH", "/v1/keys/"+k.id, gatetest.Fields{"name": "v2", "note": "v2", "permissions": gatetest.Fields{"charges": "write"},
			"ip_ranges": []string{"10.0.0.1"}}, nil) != nil {
			return
		}
		k.stage = edited
		if k.rotate {
			var fresh gatetest.Key
			if a.TryDo("POST", "/v1/keys/"+k.id+"/rotate", gatetest.Fields{}, &fresh) != nil {
				return
			}
			k.successor = fresh.ID
		} else if a.TryDo("DELETE", "/v1/keys/"+k.id, nil, nil) != nil {
			return
		}
		k.stage = ended
	}
}

// TestKillDuringWrites kills the process with SIGKILL at a random moment of a stream of admin writes, fifty times: the
// start after it is clean, every acknowledged change is there, and every change is there whole or not at all.
func TestKillDuringWrites(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog}.Text(g))
	g.Start(t)
	known := make(map[string]bool) // accounts of earlier rounds
	accounts, keys := 0, 0
	for round := range crashRounds {
		writers := make([]*crashWriter, 3)
		var wg sync.WaitGroup
		for i := range writers {
			writers[i] = &crashWriter{name: fmt.Sprintf("r%d-w%d", round, i), accounts: make(map[string]string)}
			wg.Go(func() { writers[i].run(g.Admin) })
		}
		time.Sleep(time.Duration(5+rand.IntN(150)) * time.Millisecond)
		g.Kill(t)
		wg.Wait()
		if err := g.TryStart(); err != nil {
			t.Fatalf("round %d: the start after the kill: %v", round, err)
		}
		for _, w := range writers {
			accounts += len(w.accounts)
			keys += len(w.keys)
			checkWriter(t, g.Admin, w)
		}
		checkWholeAccounts(t, g.Admin, known)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d acknowledged accounts and %d keys over %d kills", accounts, keys, crashRounds)
	if accounts < crashRounds || keys < crashRounds/2 {
		t.Errorf("only %d accounts and %d keys were written over %d rounds: the test shows nothing", accounts, keys, crashRounds)
	}
}

// checkWriter compares what is there with what was acknowledged.
func checkWriter(t *testing.T, a *gatetest.Admin, w *crashWriter) {
	t.Helper()
	for id, name := range w.accounts {
		var got gatetest.Account
		if err := a.TryDo("GET", "/v1/accounts/"+id, nil, &got); err != nil {
			t.Errorf("an acknowledged account is lost: %v", err)
		} else if got.Name != name {
			t.Errorf("account %s: got name %q, want %q", id, got.Name, name)
		}
	}
	for _, k := range w.keys {
		var got gatetest.Key
		if err := a.TryDo("GET", "/v1/keys/"+k.id, nil, &got); err != nil {
			t.Errorf("an acknowledged key is lost: %v", err)
			continue
		}
		// The change after the acknowledged one may be there or not, but whole.
		text := fmt.Sprintf("%s %s %v %v", got.Name, got.Note, got.Permissions, got.IPRanges)
		v1, v2 := "v1 v1 map[customers:read] []", "v2 v2 map[charges:write] [10.0.0.1]"
		if text != v2 && (text != v1 || k.stage >= edited) {
			t.Errorf("key %s at stage %d: got %q, want %q", k.id, k.stage, text, v2)
		}
		over := got.Status == "deleted" || got.Status == "expired"
		if k.stage == ended && !over {
			t.Errorf("key %s: its acknowledged end is lost: status %q", k.id, got.Status)
		}
		if over && k.stage == created {
			t.Errorf("key %s: got status %q before its edit", k.id, got.Status)
		}
		if got.Status == "expired" { // rotated away: then the successor is there and works
			if k.successor != "" && got.Rotation.Successor != k.successor {
				t.Errorf("key %s: got successor %q, want %q", k.id, got.Rotation.Successor, k.successor)
			}
			var fresh gatetest.Key
			if err := a.TryDo("GET", "/v1/keys/"+got.Rotation.Successor, nil, &fresh); err != nil {
				t.Errorf("key %s ended without its successor: %v", k.id, err)
			} else if fresh.Status != "active" || fresh.Rotation.Predecessor != k.id {
				t.Errorf("the successor of %s: got status %q, predecessor %q", k.id, fresh.Status, fresh.Rotation.Predecessor)
			}
		}
	}
}

// checkWholeAccounts wants that each account that is new since the last call has exactly its four standard keys, also
// where its creation was never acknowledged. It reads the newest accounts until it meets one that it knows.
func checkWholeAccounts(t *testing.T, a *gatetest.Admin, known map[string]bool) {
	t.Helper()
	query := url.Values{"limit": {"50"}}
	for {
		var page struct {
			Data    []gatetest.Account `json:"data"`
			HasMore bool               `json:"has_more"`
		}
		a.Do(t, "GET", "/v1/accounts?"+query.Encode(), nil, &page)
		for _, account := range page.Data {
			if known[account.ID] {
				return
			}
			known[account.ID] = true
			if !strings.HasPrefix(account.Name, "r") {
				continue // of the first start
			}
			standard := make(map[string]int)
			for _, k := range a.Keys(t, url.Values{"account": {account.ID}}) {
				if k.Kind != "restricted" {
					standard[k.Kind+" "+k.Mode]++
				}
			}
			if want := "map[publishable live:1 publishable sandbox:1 secret live:1 secret sandbox:1]"; fmt.Sprint(standard) != want {
				t.Errorf("account %s (%s): got the keys %v, want %s", account.ID, account.Name, standard, want)
			}
		}
		if !page.HasMore {
			return
		}
		query.Set("starting_after", page.Data[len(page.Data)-1].ID)
	}
}
