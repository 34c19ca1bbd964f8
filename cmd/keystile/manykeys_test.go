package main_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestManyKeys imports many keys into a running gateway, restarts and reloads it with them, and revokes some. How many says
// KEYSTILE_BENCH_KEYS; with a million the figures that are promised for it are demanded, on an idle machine.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	n := 10_000
	if text := os.Getenv("KEYSTILE_BENCH_KEYS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("KEYSTILE_BENCH_KEYS: %v", err)
		}
	}
	promised := func(what string, got, most float64) {
		t.Helper()
		t.Logf("%d keys: %s %.2f", n, what, got)
		if n >= 1_000_000 && got > most {
			t.Errorf("%s: %.2f, want at most %.2f", what, got, most)
		}
	}
	g := gatetest.New(t)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.WriteConfig(t, gatetest.Config{
		Keystile: gatetest.Catalog, Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}\n", port),
	}.Text(g))
	g.Start(t)
	empty := g.Resident()

	var file bytes.Buffer
	file.WriteString("sha256,kind,mode,account,name\n")
	accounts := make([]string, min(100, n/100))
	for i := range accounts {
		accounts[i] = g.Admin.CreateAccount(t, fmt.Sprint("Shop ", i), "").ID
	}
	token := func(i int) string { return fmt.Sprintf("legacy-%09d", i) }
	for i := range n {
		fmt.Fprintf(&file, "%x,secret,live,%s,service %d\n", sha256.Sum256([]byte(token(i))), accounts[i%len(accounts)], i%100)
	}
	path := filepath.Join(g.Dir, "keys.csv")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	wants(t, g.Run(t, "key", "import", path), 0, fmt.Sprintf("imported %d keys", n))
	t.Logf("%d keys: imported in %v", n, time.Since(began))

	answered := func(when string, i, want int) {
		t.Helper()
		answer, err := gatetest.Send(site, "", get("/v1/customers", token(i)))
		if err != nil || answer.Status != want {
			t.Errorf("%s, key %d: got %+v, %v; want %d", when, i, answer, err, want)
		}
	}
	some := []int{0, 1, n / 3, n / 2, n - 2, n - 1}
	for _, i := range some {
		answered("imported", i, 200)
	}

	g.Stop(t)
	began = time.Now()
	g.Start(t)
	promised("seconds until it serves", time.Since(began).Seconds(), 10)
	for _, i := range some {
		answered("restarted", i, 200)
	}
	answered("restarted", n, 401)
	promised("resident kB a key", float64(g.Resident()-empty)/1000/float64(n), 2.2)

	// One request after the other while it reloads: each is answered.
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		count := 0
		defer func() { done <- count }()
		for ; ; count++ {
			select {
			case <-stop:
				return
			default:
			}
			answer, err := gatetest.Send(site, "", get("/v1/customers", token(count%n)))
			if err == nil && answer.Status != 200 { // a connection that the kernel gave to a listener that was just closed has no answer
				t.Errorf("during a reload: status %d", answer.Status)
			}
		}
	}()
	began = time.Now()
	wants(t, g.Run(t, "reload", "--force", "--config", g.ConfigPath(), "--address", g.AdminAddr), 0)
	promised("seconds of a reload", time.Since(began).Seconds(), 2)
	close(stop)
	if count := <-done; count == 0 {
		t.Error("nothing was asked during the reload")
	}

	newest := func(filter url.Values) (k gatetest.Key) {
		t.Helper()
		filter.Set("limit", "1")
		var page struct{ Data []gatetest.Key }
		if g.Admin.Do(t, "GET", "/v1/keys?"+filter.Encode(), nil, &page); len(page.Data) == 1 {
			k = page.Data[0]
		}
		return k
	}
	for _, i := range some {
		answered("reloaded", i, 200)
		account, name := accounts[i%len(accounts)], fmt.Sprintf("service %d", i%100)
		if k := newest(url.Values{"account": {account}, "query": {name}}); k.Name != name {
			t.Errorf("the list of an account's keys by name: got %+v, want one named %q", k, name)
		}
	}
	// The newest of an account is the last one of the file.
	last := (n - 1) / len(accounts) * len(accounts)
	answered("before it is revoked", last, 200)
	g.Admin.DeleteKey(t, newest(url.Values{"account": {accounts[0]}}).ID)
	for range 20 {
		answered("revoked", last, 401)
	}
	g.Stop(t)
	g.Start(t)
	answered("revoked and restarted", last, 401)
	answered("beside it", last-1, 200)
}
