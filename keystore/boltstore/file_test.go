package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// openStore opens a whole key store on a file.
func openStore(t testing.TB, path string) (*keystore.Store, error) {
	t.Helper()
	b, err := boltstore.Open(path, boltstore.Options{LockTimeout: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	return keystore.Open(context.Background(), keystore.Options{Backend: b, MasterKey: keystoretest.MasterKey(t)})
}

// filled is a file with a few hundred keys in it.
func filled(t testing.TB, accounts int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.db")
	s, err := openStore(t, path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		if _, _, err := s.CreateAccount(context.Background(), by, keystore.AccountParams{Name: fmt.Sprint("A", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantSentence(t *testing.T, name string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", name)
		return
	}
	text := err.Error()
	if strings.ContainsAny(text, "\n") {
		t.Errorf("%s: the error is more than a sentence: %q", name, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q does not say %q", name, text, w)
		}
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "keys.db")
	s, err := openStore(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateOrganization(t.Context(), by, keystore.OrganizationParams{Name: "O"}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("the directory holds %v", left)
	}
}

// TestFailedStartLeavesNothing: a start that fails for another reason than the file leaves no file and no directory.
func TestFailedStartLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keystile", "keys.db")
	b, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = keystore.Open(t.Context(), keystore.Options{Backend: b, MasterKey: keystore.MasterKeyText([]byte("junk"))})
	wantSentence(t, "a bad master key", err, "no keyset")
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSecondProcess(t *testing.T) {
	t.Parallel()
	path := filled(t, 1)
	s, err := openStore(t, path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openStore(t, path)
	wantSentence(t, "a second one", err, path, "is in use by another process")
	if err := boltstore.Probe(path); err != nil {
		t.Errorf("probing a file in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openStore(t, path); err != nil {
		t.Fatalf("after the first one has gone: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestManyFirstStarts: of many that start at once on no file exactly one gets it, and what it stores is in the file.
func TestManyFirstStarts(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.db")
	var group sync.WaitGroup
	winners := make(chan *keystore.Store, 8)
	for range 8 {
		group.Go(func() {
			s, err := openStore(t, path)
			if err == nil {
				winners <- s
			} else if !strings.Contains(err.Error(), "in use") {
				t.Errorf("opening: %v", err)
			}
		})
	}
	group.Wait()
	close(winners)
	if len(winners) != 1 {
		t.Fatalf("%d stores opened one file", len(winners))
	}
	s := <-winners
	o, err := s.CreateOrganization(t.Context(), by, keystore.OrganizationParams{Name: "O"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = openStore(t, path); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Snapshot().Organization(o.ID); !ok {
		t.Error("what the winner stored is not in the file")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := boltstore.Probe(filepath.Join(dir, "new", "keys.db")); err != nil {
		t.Errorf("no file: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("probing made %v", left)
	}
	path := filled(t, 3)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := boltstore.Probe(path); err != nil {
		t.Errorf("a good file: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
		t.Error("probing changed the file")
	}
}

// TestNotAStore: files that are none of ours are refused by one sentence, by Open as by Probe, and not touched.
func TestNotAStore(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile(filled(t, 20))
	if err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := bolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	noMeta := bytes.Clone(whole)
	for _, at := range []int{0, 4096} {
		copy(noMeta[at:at+200], make([]byte, 200))
	}
	huge := bytes.Clone(whole)
	for _, at := range []int{16, 4096 + 16} {
		binary.LittleEndian.PutUint64(huge[at+40:], 1<<60) // the sum is wrong then, too
	}
	for name, tc := range map[string]struct {
		content []byte
		words   []string
	}{
		"empty":           {nil, []string{"damaged"}},
		"text":            {[]byte("hello"), []string{"damaged"}},
		"zeros":           {make([]byte, 1<<16), []string{"damaged"}},
		"no meta pages":   {noMeta, []string{"damaged"}},
		"a huge page id":  {huge, []string{"damaged"}},
		"cut off":         {whole[:len(whole)/2], []string{"cut off"}},
		"cut in the head": {whole[:5000], []string{"cut off"}},
		"another program": {theirs, []string{"no key store of this program"}},
	} {
		path := filepath.Join(t.TempDir(), "keys.db")
		if err := os.WriteFile(path, tc.content, 0o600); err != nil {
			t.Fatal(err)
		}
		for how, open := range map[string]func(string) error{
			"Open":  func(path string) error { _, err := openStore(t, path); return err },
			"Probe": boltstore.Probe,
		} {
			wantSentence(t, name+" "+how, open(path), append(tc.words, path)...)
			if after, _ := os.ReadFile(path); !bytes.Equal(after, tc.content) {
				t.Errorf("%s: %s changed the file", name, how)
			}
		}
	}
	if _, err := openStore(t, t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
}

// TestDamagedPages overwrites parts of a good file at random. Whatever happens there, the process lives, a refusal is one
// sentence that changes nothing, and a store that opens holds only keys that were made.
func TestDamagedPages(t *testing.T) {
	t.Parallel()
	good := filled(t, 60)
	s, err := openStore(t, good)
	if err != nil {
		t.Fatal(err)
	}
	whole := contents(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	refused := 0
	const rounds = 150
	for round := range rounds {
		bad := bytes.Clone(content)
		at := r.IntN(len(bad))
		switch round % 3 {
		case 0: // a page of junk
			at -= at % 4096
			for i := range 4096 {
				bad[at+i] = byte(r.Uint32())
			}
		case 1: // a page that was never written
			at -= at % 4096
			clear(bad[at : at+4096])
		case 2: // one bit
			bad[at] ^= 1 << r.IntN(8)
		}
		path := filepath.Join(t.TempDir(), "keys.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(t, path)
		if err != nil {
			refused++
			wantSentence(t, fmt.Sprintf("round %d at %d", round, at), err)
			if after, _ := os.ReadFile(path); !bytes.Equal(after, bad) {
				t.Errorf("round %d: a refused file was changed", round)
			}
			continue
		}
		for id, v := range contents(t, s) {
			if was, ok := whole[id]; !ok || (strings.HasPrefix(id, "key_") && was != v) {
				t.Errorf("round %d at %d: the damaged store shows %s as\n%v, it was\n%v", round, at, id, v, was)
			}
		}
		_ = s.Close()
	}
	if refused == 0 {
		t.Error("no damage was found: this test shows nothing")
	}
	t.Logf("%d of %d damaged files were refused", refused, rounds)
}
