package main_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// oldData is what an older version has left: see testdata/upgrade/make.sh.
type oldData struct {
	Account      string                  `json:"account"`
	Organization string                  `json:"organization"`
	Keys         map[string]gatetest.Key `json:"keys"`
}

// unpackOld puts the data directory of an older version into a home, and answers what is in it.
func unpackOld(t *testing.T, path, home string) (old oldData) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	for in := tar.NewReader(plain); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || !filepath.IsLocal(h.Name) {
			t.Fatalf("%s: %q, %v", path, h.Name, err)
		}
		to := filepath.Join(home, h.Name)
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(to, 0o700)
		} else if err = os.MkdirAll(filepath.Dir(to), 0o700); err == nil {
			var data []byte
			if data, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	made := filepath.Join(home, "made.json")
	text, err := os.ReadFile(made)
	if err == nil {
		err = json.Unmarshal(text, &old)
	}
	if err == nil {
		err = os.Remove(made) // it holds tokens, which nothing of a home may
	}
	if err != nil {
		t.Fatal(err)
	}
	return old
}

// TestUpgradeFromAnOlderVersion starts this version on what older ones have really written: their keys work, or have ended, as before, what can
// be revealed is, the trail is in order, and the request log, its journal and its Parquet files, is read. Changes go on. The way back is the
// backup that was taken before.
func TestUpgradeFromAnOlderVersion(t *testing.T) {
	t.Parallel()
	made, err := filepath.Glob("testdata/upgrade/*.tar.gz")
	if err != nil || len(made) == 0 {
		t.Fatalf("nothing of an older version: %v", err)
	}
	for _, path := range made {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".tar.gz"), func(t *testing.T) {
			t.Parallel()
			g := gatetest.New(t)
			old := unpackOld(t, path, g.Dir)
			for _, k := range old.Keys {
				g.Admin.Remember(k.Token)
			}
			g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
			site := gatetest.FreeAddr(t)
			_, port, _ := strings.Cut(site, ":")
			g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog + "\nrequest_log archive {\n\tretention 3650d\n}\n", Sites: "http://:" + port + " {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}"}.Text(g))
			requests := filepath.Join(g.DataDir(), "keystile", "requests")
			for _, kind := range []string{"*.parquet", "*.jsonl"} {
				if files, _ := filepath.Glob(filepath.Join(requests, kind)); len(files) == 0 {
					t.Errorf("the old log has no %s: the test shows less than it says", kind)
				}
			}
			g.Start(t)
			check := func(when string, want map[string]int) {
				t.Helper()
				for name, status := range want {
					lines := []string{gatetest.Bearer(old.Keys[name].Token)}
					if name == "organization" {
						lines = append(lines, "Stripe-Context: "+old.Account, "Stripe-Version: 2026-01-01")
					}
					answer, err := gatetest.Send(site, "", gatetest.Request("GET", "/v1/customers", "", lines...))
					if err != nil || answer.Status != status {
						t.Errorf("%s, key %q: got %+v, %v, want %d", when, name, answer, err, status)
					}
				}
			}
			check("upgraded", map[string]int{"secret": 200, "restricted": 200, "organization": 200, "sandbox": 200, "later": 200, "gone": 401})
			if again := g.Admin.Reveal(t, old.Keys["sandbox"].ID); again.Token != old.Keys["sandbox"].Token {
				t.Error("the sandbox key reveals another token")
			}
			wants(t, g.Run(t, "event", "verify"), 0, "in order")
			rows := func(values url.Values) (n int) {
				for _, row := range g.Admin.Records(t, values) {
					if !strings.HasSuffix(row["path"].(string), "/customers") { // those are of this test
						n++
					}
				}
				return n
			}
			for name, want := range map[string]int{"secret": 40, "restricted": 20, "gone": 1} {
				if got := rows(url.Values{"key": {old.Keys[name].ID}}); got != want {
					t.Errorf("%d records of the key %q, want %d", got, name, want)
				}
			}
			if got := rows(url.Values{"path": {"/v1/customers/7"}}); got != 2 {
				t.Errorf("%d records of a path, want one of the archive and one of the journal", got)
			}
			now := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": old.Account, "name": "of the new version"})
			g.Stop(t)
			g.Start(t)
			check("restarted", map[string]int{"secret": 200, "gone": 401})
			g.Stop(t)

			backup := filepath.Join(g.Dir, "backup.tar")
			wants(t, g.Run(t, "restore", backup, "--check"), 0, "whole")
			wants(t, g.Run(t, "restore", backup, "--force"), 0, "restored")
			g.Start(t)
			check("restored", map[string]int{"secret": 200, "restricted": 200, "organization": 200, "sandbox": 200, "later": 401, "gone": 401})
			if answer, err := gatetest.Send(site, "", get("/v1/customers", now.Token)); err != nil || answer.Status != 401 {
				t.Errorf("a key of after the backup: %+v, %v", answer, err)
			}
			if got := rows(url.Values{"key": {old.Keys["secret"].ID}}); got != 40 {
				t.Errorf("%d records after the restore, want 40: they are in no backup, and stay", got)
			}
		})
	}
}
