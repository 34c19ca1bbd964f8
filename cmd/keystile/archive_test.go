package main_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestArchive: records outlast stops and kills, in whatever form they are kept by then: each is there once, as it was, and can be
// found by what it says. After a stop the journal becomes a Parquet file.
func TestArchive(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, key, _ := siteFor(t, "mode any", backend.Addr)
	dir := filepath.Join(g.DataDir(), "keystile", "requests")
	var ids []string
	records := make(map[string]gatetest.Record)
	for round, end := range []func(testing.TB){g.Stop, g.Kill, g.Stop} {
		answer, err := gatetest.Send(site, source(), get("/v1/customers", key.Token))
		if err != nil {
			t.Fatal(err)
		}
		id := answer.Header.Get("Request-Id")
		ids = append(ids, id)
		records[id] = g.Admin.AwaitRecord(t, id)
		end(t)
		g.Start(t)
		g.Admin.CloseIdle()
		awaitParquet(t, dir, round+1)
		for i, id := range ids {
			again := g.Admin.AwaitRecord(t, id)
			for name, value := range records[id] {
				if again[name] != value {
					t.Errorf("round %d, record %d: %s is %v, was %v", round, i, name, again[name], value)
				}
			}
		}
		found := g.Admin.Records(t, url.Values{"key": {key.ID}, "path": {"/v1/cust"}})
		if len(found) != len(ids) {
			t.Fatalf("round %d: got %d records of the key, want %d", round, len(found), len(ids))
		}
		for i, r := range found {
			if r["id"] != ids[len(ids)-1-i] {
				t.Errorf("round %d: record %d is %v, want the newest first", round, i, r["id"])
			}
		}
	}
}

// awaitParquet waits until the journals of n lives are Parquet files, and nothing else is left of them.
func awaitParquet(t *testing.T, dir string, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		sealed, err := filepath.Glob(filepath.Join(dir, "*.parquet"))
		if err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) == n && len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			entries, _ := os.ReadDir(dir)
			t.Fatalf("got %d Parquet files and %d journals, want %d and none: %v", len(sealed), len(left), n, entries)
		}
	}
}
