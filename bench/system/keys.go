package main

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/stripe/stripe-mock/embedded"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/policy"
)

// prepared is what the servers and the load of a scenario need, as files.
type prepared struct {
	store, master  string // of Keystile
	catalog        string
	requests       string // one a line: path and token
	nginx, haproxy string // maps of keys
	caddy          string // a Caddyfile map; "": too many keys for one
	account        string
}

const (
	mostRequests = 1 << 18 // different lines of the load; wrk goes through them again and again
	caddyMapKeys = 1000
	base62       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Paths that the keys may read, of the 594 operations in the catalog.
var paths = []string{"/v1/charges", "/v1/charges/ch_1", "/v1/customers/cus_1", "/v1/prices/price_1", "/v1/invoices/in_1/lines"}

// token is the nth restricted key: the same in each run.
func token(n int) string {
	random := rand.New(rand.NewPCG(uint64(n), 62)) //nolint:gosec // it must not be secret, but the same each time
	var b strings.Builder
	b.WriteString("rk_live_")
	for range 32 {
		b.WriteByte(base62[random.IntN(62)])
	}
	sum := crc32.ChecksumIEEE([]byte(b.String()))
	var check [6]byte
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = base62[sum%62]
		sum /= 62
	}
	return b.String() + string(check[:])
}

func (o *options) prepare(s *scenario) (*prepared, error) {
	p := &prepared{
		store: filepath.Join(o.dir, fmt.Sprintf("keys-%d.db", s.keys)), master: filepath.Join(o.dir, "master.key"),
		catalog: filepath.Join(o.dir, "spec3.json"), requests: filepath.Join(o.dir, fmt.Sprintf("requests-%d-%t-%d.txt", s.keys, s.zipf, s.bad)),
		nginx: filepath.Join(o.dir, fmt.Sprintf("nginx-%d.map", s.keys)), haproxy: filepath.Join(o.dir, fmt.Sprintf("haproxy-%d.map", s.keys)),
	}
	if err := os.WriteFile(p.catalog, embedded.OpenAPISpec, 0o600); err != nil {
		return nil, err
	}
	if err := p.fillStore(s.keys); err != nil {
		return nil, fmt.Errorf("filling %s: %w", p.store, err)
	}
	if err := p.writeRequests(s); err != nil {
		return nil, err
	}
	if s.keys <= caddyMapKeys {
		p.caddy = filepath.Join(o.dir, "caddy.map")
	}
	return p, p.writeMaps(s.keys)
}

// fillStore makes a store with so many restricted keys, or takes the one of an earlier run.
func (p *prepared) fillStore(keys int) (err error) {
	fresh := false
	if _, err := os.Stat(p.store); err != nil {
		fresh = true
	}
	backend, err := boltstore.Open(p.store, boltstore.Options{})
	if err != nil {
		return err
	}
	ctx, by := context.Background(), keystore.Actor{Kind: "system", Name: "bench"}
	store, err := keystore.Open(ctx, keystore.Options{Backend: backend, MasterKey: keystore.MasterKeyFile(p.master)})
	if err != nil {
		return err
	}
	defer func() {
		if closing := store.Close(); err == nil {
			err = closing
		}
	}()
	if !fresh {
		accounts, _, err := store.Snapshot().Accounts("", keystore.Page{Limit: 1})
		if err == nil && len(accounts) > 0 {
			p.account = accounts[0].ID
		}
		return err
	}
	fmt.Printf("making a store with %d keys\n", keys)
	var accounts []string
	for i := range max(1, keys/1000) {
		a, _, err := store.CreateAccount(ctx, by, keystore.AccountParams{Name: fmt.Sprint("account ", i)})
		if err != nil {
			return err
		}
		accounts = append(accounts, a.ID)
	}
	p.account = accounts[len(accounts)-1]
	rights := policy.NewPermissions(map[string]policy.Access{"charge": policy.AccessRead, "customer": policy.AccessRead, "price": policy.AccessRead, "line_item": policy.AccessRead})
	m, err := store.BeginImport(by, false)
	if err != nil {
		return err
	}
	defer m.Close()
	for i := range keys {
		t := token(i)
		err := m.Add(i+1, &keystore.ImportParams{
			KeyParams: keystore.KeyParams{Account: accounts[i%len(accounts)], Kind: policy.KindRestricted, Mode: policy.ModeLive, Name: fmt.Sprint("service ", i%100), Permissions: rights},
			Digest:    policy.DigestOf(t), Last4: t[len(t)-4:],
		})
		if err != nil {
			return err
		}
	}
	_, err = m.Commit(ctx)
	return err
}

// writeRequests draws the load.
func (p *prepared) writeRequests(s *scenario) error {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same load in each run
	zipf := rand.NewZipf(random, 1.1, 1, uint64(s.keys-1))
	return writeLines(p.requests, func(w *bufio.Writer) {
		for i := range mostRequests {
			n := random.IntN(s.keys)
			if s.zipf {
				n = int(zipf.Uint64())
			}
			if s.bad > 0 && i*s.bad%100 < s.bad {
				n += s.keys // of the right form, and nobody's
			}
			fmt.Fprintf(w, "%s %s\n", paths[i%len(paths)], token(n))
		}
	})
}

// writeMaps writes the keys for those that know no more of them.
func (p *prepared) writeMaps(keys int) error {
	for _, m := range []struct{ path, form string }{{p.nginx, "\"Bearer %s\" 1;\n"}, {p.haproxy, "%s 1\n"}, {p.caddy, "\t\t\"Bearer %s\" 1\n"}} {
		if m.path == "" {
			continue
		}
		err := writeLines(m.path, func(w *bufio.Writer) {
			for i := range keys {
				fmt.Fprintf(w, m.form, token(i))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeLines writes a file that is the same in each run, unless it is there.
func writeLines(path string, write func(*bufio.Writer)) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "unfinished-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	write(w)
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
