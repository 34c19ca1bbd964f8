package main_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// TestMasterKeyRotateMany rotates the master key of a running gateway whose store holds many sealed tokens (KEYSTILE_BENCH_SEALED;
// `make bench-rotation` takes 200,000): each is sealed anew, and requests and changes go on meanwhile. It logs how long it took.
func TestMasterKeyRotateMany(t *testing.T) {
	t.Parallel()
	sealed := roundsOf(t, "KEYSTILE_BENCH_SEALED", 2000)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g := gatetest.New(t)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.WriteConfig(t, gatetest.Config{
		Keystile: gatetest.Catalog, Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}\n", port),
	}.Text(g))
	began := time.Now()
	tokens := sealMany(t, g, sealed)
	t.Logf("%d accounts made in %v", sealed/2, time.Since(began).Round(time.Millisecond))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	live := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account})

	stop := make(chan struct{})
	var requests, changes []time.Duration
	var others sync.WaitGroup
	repeat := func(took *[]time.Duration, do func() error) {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				if err := do(); err != nil {
					t.Errorf("while the master key is rotated: %v", err)
					return
				}
				*took = append(*took, time.Since(began))
			}
		})
	}
	repeat(&requests, func() error {
		answer, err := gatetest.Send(site, "", get("/v1/customers", live.Token))
		if err == nil && answer.Status != 200 {
			err = fmt.Errorf("a request is answered %d", answer.Status)
		}
		return err
	})
	repeat(&changes, func() error {
		return g.Admin.TryDo("PATCH", "/v1/keys/"+live.ID, gatetest.Fields{"note": fmt.Sprint(len(changes))}, nil)
	})
	began = time.Now()
	wants(t, g.Run(t, "master-key", "rotate"), 0, "sealed anew:", "nothing is sealed under old keys")
	took := time.Since(began)
	close(stop)
	others.Wait()
	wants(t, g.Run(t, "master-key", "status"), 0, "nothing is sealed under old keys")
	if len(requests) == 0 || len(changes) == 0 {
		t.Fatal("nothing was asked meanwhile: the test shows nothing")
	}
	slices.Sort(requests)
	slices.Sort(changes)
	t.Logf("%d tokens sealed anew in %v; meanwhile %d requests, of which the slowest took %v, and %d changes, of which half took %v and the slowest %v",
		sealed, took.Round(time.Millisecond), len(requests), requests[len(requests)-1].Round(time.Millisecond/10),
		len(changes), changes[len(changes)/2].Round(time.Millisecond/10), changes[len(changes)-1].Round(time.Millisecond))
	for id, digest := range tokens {
		if k := g.Admin.Reveal(t, id); policy.DigestOf(k.Token) != digest {
			t.Errorf("%s reveals another token", id)
		}
	}
}

// sealMany makes a store for a gateway that has not started yet, with accounts that have two sealed tokens each. The answer are the
// digests of some, by the id of their key. The store is made in memory and then copied: a commit for each account takes the disk
// longer than all that is measured.
func sealMany(t *testing.T, g *gatetest.Gateway, sealed int) map[string]policy.Digest {
	t.Helper()
	memory := keystoretest.NewMemory()
	store, err := keystore.Open(t.Context(), keystore.Options{Backend: memory, MasterKey: keystore.MasterKeyFile(masterKeyPath(g))})
	if err != nil {
		t.Fatal(err)
	}
	some := make(map[string]policy.Digest)
	for i := range sealed / 2 {
		_, keys, err := store.CreateAccount(t.Context(), keystore.Actor{Kind: "admin_endpoint"}, keystore.AccountParams{Name: fmt.Sprint("Shop ", i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.Kind == policy.KindSecret && i%max(1, sealed/4) == 0 {
				some[k.ID] = k.Digest
			}
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := boltstore.Open(g.StorePath(), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = keystore.Move(t.Context(), memory.Reopen(), file, func(string, ...any) {})
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	return some
}
