package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
)

// TestOlderFile: a file from before admin tokens and kept values is whole. It can be probed, and gets what it lacks when it
// is opened.
func TestOlderFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.db")
	open := func() keystore.Backend {
		t.Helper()
		b, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	shut := func(c interface{ Close() error }) {
		t.Helper()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b := open()
	organization := keystore.Row{Table: keystore.TableOrganization, ID: "org_1", Data: []byte("x")}
	head := keystore.Head{Revision: 1}
	if err := b.Commit(t.Context(), &keystore.Commit{Next: head, Rows: []keystore.Row{organization}}); err != nil {
		t.Fatal(err)
	}
	shut(b)
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket([]byte("kept")); err != nil {
			return err
		}
		return tx.DeleteBucket([]byte("admin_tokens"))
	})
	if err != nil {
		t.Fatal(err)
	}
	shut(db)
	if err := boltstore.Probe(path); err != nil {
		t.Errorf("Probe: %v", err)
	}
	b = open()
	defer shut(b)
	if err := b.Keep(t.Context(), []keystore.KeptRow{{ID: "one", Expires: time.UnixMilli(1), Data: []byte("1")}}, nil); err != nil {
		t.Errorf("Keep: %v", err)
	}
	token := keystore.Row{Table: keystore.TableAdminToken, ID: "adm_1", Data: []byte("y")}
	if err := b.Commit(t.Context(), &keystore.Commit{Previous: head, Next: keystore.Head{Revision: 2}, Rows: []keystore.Row{token}}); err != nil {
		t.Errorf("Commit: %v", err)
	}
	rows := 0
	if _, err := b.Load(t.Context(), func(keystore.Row) error { rows++; return nil }); err != nil || rows != 2 {
		t.Errorf("Load: %d rows, %v", rows, err)
	}
}
