package keystore_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// bulkRow is row i of an import: every tenth by its token, the others by their digest.
func bulkRow(account string, i int) *keystore.ImportParams {
	p := &keystore.ImportParams{KeyParams: restricted(account)}
	p.Name = fmt.Sprint("service ", i%100)
	if i%10 == 0 {
		p.Token = policy.TokenFrom(fmt.Sprintf("legacy-%08d", i))
		return p
	}
	p.Digest, p.Last4 = bulkDigest(i), fmt.Sprintf("%04d", i%10000)
	return p
}

func bulkDigest(i int) policy.Digest {
	if i%10 == 0 {
		return policy.TokenFrom(fmt.Sprintf("legacy-%08d", i)).Digest()
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

func begin(t testing.TB, s *keystore.Store, dryRun bool) *keystore.Importer {
	t.Helper()
	m, err := s.BeginImport(by, dryRun)
	if err != nil {
		t.Fatalf("beginning an import: %v", err)
	}
	return m
}

func fill(t testing.TB, m *keystore.Importer, account string, n int) {
	t.Helper()
	for i := range n {
		if err := m.Add(i+1, bulkRow(account, i)); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
	}
}

// TestImporter imports enough keys for several stages, while others write, and finds the same after a restart.
func TestImporter(t *testing.T) {
	t.Parallel()
	n := 50_000
	if os.Getenv("KEYSTILE_IMPORT_LARGE") != "" {
		n = 1_000_000
	}
	path := filepath.Join(t.TempDir(), "keys.db")
	open := func() *keystore.Store {
		backend, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := keystore.Open(context.WithoutCancel(t.Context()), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	a, _ := mustAccount(t, s, "Shop")
	heap := heapNow()
	started := time.Now()
	m := begin(t, s, false)
	fill(t, m, a.ID, n)
	t.Logf("%d rows validated in %v, heap +%d MiB", n, time.Since(started), (heapNow()-heap)>>20)
	if s.Len() != 4 || s.HasImported() {
		t.Error("keys show before the commit")
	}
	if _, err := s.BeginImport(by, false); keystore.CodeOf(err) != keystore.CodeConflict {
		t.Errorf("a second import at the same time: %v, want a conflict", err)
	}
	// Others write meanwhile; their keys stay theirs.
	stop, wrote := make(chan struct{}), make(chan int)
	var longest time.Duration
	go func() {
		count := 0
		defer func() { wrote <- count }()
		for {
			select {
			case <-stop:
				return
			default:
				at := time.Now()
				if _, _, err := s.CreateKey(context.Background(), by, restricted(a.ID)); err != nil {
					t.Errorf("creating a key during the import: %v", err)
					return
				}
				longest = max(longest, time.Since(at))
				count++
			}
		}
	}()
	started = time.Now()
	sum, err := m.Commit(t.Context())
	took := time.Since(started)
	close(stop)
	others := <-wrote
	m.Close()
	if err != nil {
		t.Fatalf("committing: %v", err)
	}
	t.Logf("%d rows committed in %v with %d writes of others, the slowest of %v; heap +%d MiB", n, took, others, longest, (heapNow()-heap)>>20)
	if sum.Keys != n || sum.Counts["live restricted"] != n || !strings.HasPrefix(sum.ID, "imp_") {
		t.Errorf("summary %+v", sum)
	}
	check := func(when string, s *keystore.Store) {
		t.Helper()
		if got := s.Len(); got != n+4+others {
			t.Errorf("%s: %d keys, want %d", when, got, n+4+others)
		}
		for _, i := range []int{0, 1, n / 2, n - 1} {
			d := bulkDigest(i)
			k, _ := s.Lookup(&d)
			if k == nil || !k.Imported || k.Account != a.ID || k.ID < sum.First || k.ID > sum.Last || k.Name != fmt.Sprint("service ", i%100) {
				t.Errorf("%s: row %d is %+v", when, i, k)
			}
		}
		if !s.HasImported() {
			t.Errorf("%s: no imported keys are known", when)
		}
		report, err := s.VerifyEvents(t.Context(), keystore.ChainPlace{})
		if err != nil || report.Fault != nil {
			t.Errorf("%s: the chain: %+v, %v", when, report, err)
		}
		// One event stands for all, and is found by any of the keys.
		d := bulkDigest(n / 2)
		k, _ := s.Lookup(&d)
		page, err := s.Events(t.Context(), &keystore.EventFilter{Object: k.ID}, keystore.Page{})
		if err != nil || len(page.Events) != 1 || page.Events[0].Type != keystore.EventKeyImportCompleted || page.Events[0].Object != sum.ID || page.Events[0].Account != a.ID {
			t.Errorf("%s: the key's events: %+v, %v", when, page, err)
		}
	}
	check("at once", s)
	// Paging through all of them takes bounded pages.
	started, seen := time.Now(), 0
	for after := ""; ; {
		rows, more, err := s.Snapshot().Keys(keystore.KeyFilter{Account: a.ID}, keystore.Page{Limit: 100, StartingAfter: after}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if seen += len(rows); !more {
			break
		}
		after = rows[len(rows)-1].ID
	}
	if seen != n+4+others {
		t.Errorf("paging lists %d keys, want %d", seen, n+4+others)
	}
	t.Logf("paged through %d keys in %v", seen, time.Since(started))
	// An imported key lives on like any other.
	d := bulkDigest(3)
	k, _ := s.Lookup(&d)
	if _, err := s.DeleteKey(t.Context(), by, k.ID); err != nil {
		t.Errorf("deleting an imported key: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	started = time.Now()
	s = open()
	defer s.Close()
	t.Logf("opened in %v", time.Since(started))
	check("after a restart", s)
	if k, _ := s.Lookup(&d); k == nil || !k.Deleted {
		t.Errorf("after a restart the deleted key is %+v", k)
	}
}

func heapNow() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestImporterRefuses: what is wrong with a row is said with its line, and nothing is written.
func TestImporterRefuses(t *testing.T) {
	t.Parallel()
	s := keystoretest.NewStore(t, keystore.Options{})
	a, keys := mustAccount(t, s, "Shop")
	before := s.Snapshot().Revision()
	m := begin(t, s, false)
	defer m.Close()
	fill(t, m, a.ID, 3)
	tests := []struct {
		name string
		row  keystore.ImportParams
		code keystore.Code
		want string
	}{
		{"again", *bulkRow(a.ID, 1), keystore.CodeConflict, "line 2"},
		{"in the store", keystore.ImportParams{KeyParams: restricted(a.ID), Digest: keys[0].Digest}, keystore.CodeConflict, "another key"},
		{"no owner", *bulkRow("acct_0000000000000000", 7), keystore.CodeNotFound, "account"},
		{"no token", keystore.ImportParams{KeyParams: restricted(a.ID)}, keystore.CodeMissing, "token"},
	}
	for _, tc := range tests {
		err := m.Add(9, &tc.row)
		if keystore.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s and %q", tc.name, err, tc.code, tc.want)
		}
	}
	if m.Len() != 3 || s.Snapshot().Revision() != before {
		t.Errorf("%d rows, revision %d", m.Len(), s.Snapshot().Revision())
	}
	// Somebody else is faster.
	taken := keystore.ImportParams{KeyParams: restricted(a.ID), Digest: bulkDigest(1)}
	if _, err := s.ImportKeys(t.Context(), by, []keystore.ImportParams{taken}); err != nil {
		t.Fatal(err)
	}
	_, err := m.Commit(t.Context())
	var rows *keystore.ImportError
	if !errors.As(err, &rows) || rows.Rows[0].Param != "line 2.token" || rows.Rows[0].Code != keystore.CodeConflict {
		t.Errorf("Commit = %v, want the conflict of line 2", err)
	}
	if s.Len() != 5 {
		t.Errorf("%d keys, want the 4 of the account and 1", s.Len())
	}
	m.Close()

	dry := begin(t, s, true)
	defer dry.Close()
	if err := dry.Add(1, bulkRow(a.ID, 2)); err != nil {
		t.Fatal(err)
	}
	if sum, err := dry.Commit(t.Context()); err != nil || sum.Keys != 1 || sum.ID != "" || s.Len() != 5 {
		t.Errorf("a dry run: %+v, %v, %d keys", sum, err, s.Len())
	}
}

// TestImporterFaults: a commit that fails, whether or not it is durable, leaves all keys or none, also after a restart.
func TestImporterFaults(t *testing.T) {
	t.Parallel()
	for fault, wrote := range map[keystoretest.Fault]bool{
		keystoretest.FaultLost: false, keystoretest.FaultPersisted: true,
		keystoretest.FaultBlindLost: false, keystoretest.FaultBlindPersisted: true,
	} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			memory := keystoretest.NewMemory()
			backend := &keystoretest.Faulty{Backend: memory}
			options := keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)}
			s, err := keystore.Open(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			a, _ := mustAccount(t, s, "Shop")
			m := begin(t, s, false)
			fill(t, m, a.ID, 100)
			backend.Break(fault)
			_, err = m.Commit(t.Context())
			m.Close()
			if (err == nil) != (fault == keystoretest.FaultPersisted) {
				t.Errorf("Commit = %v", err)
			}
			backend.Break(keystoretest.FaultNone)
			mustOrganization(t, s, "after")
			want := 4
			if wrote {
				want = 104
			}
			for s.Len() != want && wrote && time.Since(started) < 30*time.Second {
				time.Sleep(time.Millisecond) // the importer was told that it is not known; the keys come all the same
			}
			if s.Len() != want {
				t.Errorf("%d keys, want %d", s.Len(), want)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			options.Backend = memory.Reopen()
			s, err = keystore.Open(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if s.Len() != want {
				t.Errorf("after a restart: %d keys, want %d", s.Len(), want)
			}
		})
	}
}
