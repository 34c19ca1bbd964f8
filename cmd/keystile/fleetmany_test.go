package main_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestFleetManyKeys puts many keys into a database (KEYSTILE_TEST_FLEET_KEYS; `make bench-fleet` takes a million) while three gateways
// share it, and tells how long they take to arrive, how long a node takes to start, how much memory it needs, and how far it is
// behind while another one writes.
func TestFleetManyKeys(t *testing.T) {
	t.Parallel()
	count := roundsOf(t, "KEYSTILE_TEST_FLEET_KEYS", 5000)
	f := newFleet(t, "")
	a, b, c := f.nodes[0], f.nodes[1], f.nodes[2]
	account := a.Admin.CreateAccount(t, "Many", "").ID
	file := filepath.Join(t.TempDir(), "keys.jsonl")
	writeKeys(t, file, account, count)

	began := time.Now()
	rows, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	answer, err := http.Post(a.Admin.URL("/v1/key_imports"), "application/x-ndjson", rows) // without a time limit
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != 200 {
		t.Fatalf("importing: %d %s, %v", answer.StatusCode, text, err)
	}
	imported := time.Since(began)
	for _, m := range []*fleetMember{b, c} {
		for deadline := time.Now().Add(2 * fleetLimit); m.metric(t, "keys") < float64(count); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v of %d keys have arrived", m.metric(t, "keys"), count)
			}
		}
	}
	t.Logf("%d keys imported in %v; all nodes had them %v after the answer", count, imported.Round(time.Millisecond), (time.Since(began) - imported).Round(time.Millisecond))
	size, err := pgtest.Text(f.dsn, `SELECT pg_database_size(current_database())::text`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the database takes %s MB", size[:max(0, len(size)-6)])

	c.Stop(t)
	began = time.Now()
	c.Start(t)
	t.Logf("a node started in %v; it takes %.0f MB, the one that imported %.0f MB, the third %.0f MB",
		time.Since(began).Round(time.Millisecond), residentMB(t, c), residentMB(t, a), residentMB(t, b))
	if keys := c.metric(t, "keys"); keys < float64(count) {
		t.Errorf("it has loaded %v keys", keys)
	}

	// One node writes all the time, another one makes keys, and the third is asked for them.
	var over atomic.Bool
	written, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for ; !over.Load(); written++ {
			if err := c.Admin.TryDo("POST", "/v1/keys", gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "beside"}, nil); err != nil {
				t.Errorf("writing beside: %v", err)
				return
			}
		}
	}()
	var lags []time.Duration
	for range roundsOf(t, "KEYSTILE_TEST_FLEET_LAGS", 20) {
		key := a.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "asked for"})
		began := time.Now()
		b.becomes(t, key.Token, 200)
		lags = append(lags, time.Since(began))
	}
	over.Store(true)
	<-done
	t.Logf("while another node wrote %d keys, a new key was accepted elsewhere after p50 %v, p99 %v, at most %v",
		written, quantile(lags, 0.5), quantile(lags, 0.99), quantile(lags, 1))
}

// writeKeys writes a file of keys to import, by their digests.
func writeKeys(t *testing.T, file, account string, count int) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(out)
	for i := range count {
		fmt.Fprintf(w, `{"sha256":"%x","kind":"secret","mode":"live","account":%q,"name":"imported %d"}`+"\n", sha256.Sum256([]byte(fmt.Sprint("many keys ", i))), account, i)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// residentMB is how much memory a node has taken.
func residentMB(t *testing.T, m *fleetMember) float64 {
	t.Helper()
	return m.anyMetric(t, "process_resident_memory_bytes") / 1e6
}
