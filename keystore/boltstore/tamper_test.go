package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// TestTamperedEvents edits the file as somebody could who has it: each edit is found, and named by its place.
func TestTamperedEvents(t *testing.T) {
	t.Parallel()
	const count = 1200 // more than one batch of a read
	swap := func(b *bolt.Bucket, x, y uint64) error {
		one, two := bytes.Clone(b.Get(seq(x))), bytes.Clone(b.Get(seq(y)))
		if err := b.Put(seq(x), two); err != nil {
			return err
		}
		return b.Put(seq(y), one)
	}
	tests := []struct {
		name  string
		edit  func(b *bolt.Bucket) error
		fault uint64
	}{
		{"nothing", func(*bolt.Bucket) error { return nil }, 0},
		{"the first removed", func(b *bolt.Bucket) error { return b.Delete(seq(1)) }, 1},
		{"one removed", func(b *bolt.Bucket) error { return b.Delete(seq(700)) }, 700},
		{"one at the edge of a batch removed", func(b *bolt.Bucket) error { return b.Delete(seq(501)) }, 501},
		{"one changed", func(b *bolt.Bucket) error {
			return b.Put(seq(300), bytes.Replace(b.Get(seq(300)), []byte(`"Ada"`), []byte(`"Eve"`), 1))
		}, 301},
		{"one byte changed", func(b *bolt.Bucket) error {
			body := bytes.Clone(b.Get(seq(2)))
			body[len(body)-3] ^= 1 // of the hash that it names
			return b.Put(seq(2), body)
		}, 2},
		{"one unreadable", func(b *bolt.Bucket) error { return b.Put(seq(9), []byte("{")) }, 9},
		{"two swapped", func(b *bolt.Bucket) error { return swap(b, 40, 41) }, 40},
		{"two far ones swapped", func(b *bolt.Bucket) error { return swap(b, 100, 1100) }, 100},
		{"one twice", func(b *bolt.Bucket) error { return b.Put(seq(77), b.Get(seq(76))) }, 77},
		{"one added at the end", func(b *bolt.Bucket) error { return b.Put(seq(5000), b.Get(seq(76))) }, count + 1},
		{"one removed and the others moved up", func(b *bolt.Bucket) error {
			for at := uint64(600); at < 900; at++ {
				if err := b.Put(seq(at), bytes.Clone(b.Get(seq(at+1)))); err != nil {
					return err
				}
			}
			return nil
		}, 600},
	}
	original := filepath.Join(t.TempDir(), "keys.db")
	s := openTampered(t, original)
	for i := range count {
		if _, err := s.CreateOrganization(t.Context(), keystore.Actor{Kind: "member", Name: "Ada"}, keystore.OrganizationParams{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	before := verify(t, s, keystore.ChainPlace{})
	if before.Fault != nil || !before.Complete || before.Checked != count || before.Place.Seq != count {
		t.Fatalf("before the edits: %+v", before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.db")
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Update(func(tx *bolt.Tx) error { return tc.edit(tx.Bucket([]byte("events"))) }); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			s := openTampered(t, path)
			defer s.Close()
			got := verify(t, s, keystore.ChainPlace{})
			switch {
			case !got.Complete:
				t.Errorf("the verification is not complete: %+v", got)
			case (got.Fault == nil) != (tc.fault == 0):
				t.Errorf("fault %+v, want one at %d", got.Fault, tc.fault)
			case got.Fault != nil && (got.Fault.Seq != tc.fault || got.Fault.Reason == ""):
				t.Errorf("fault %+v, want one at %d", got.Fault, tc.fault)
			}
			// Whoever has noted where the chain ended finds the same from there, or nothing amiss behind it.
			again := verify(t, s, before.Place)
			if (again.Fault == nil) != (tc.fault <= count) {
				t.Errorf("from the noted end: %+v, want a fault only behind it", again.Fault)
			}
		})
	}
}

func seq(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func openTampered(t *testing.T, path string) *keystore.Store {
	t.Helper()
	backend, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verify(t *testing.T, s *keystore.Store, from keystore.ChainPlace) *keystore.ChainReport {
	t.Helper()
	report, err := s.VerifyEvents(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return report
}
