package keystore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// seen is all that a snapshot says of its keys.
func seen(t *testing.T, snap *keystore.Snapshot, account string, now time.Time) (all []string) {
	t.Helper()
	for _, f := range []keystore.KeyFilter{{}, {Account: account}, {Account: account, Mode: policy.ModeLive}} {
		next, err := snap.EachKey(f, now)
		if err != nil {
			t.Fatal(err)
		}
		for k := next(); k != nil; k = next() {
			found, byID := snap.Find(&k.Digest), ""
			if k, ok := snap.Key(k.ID); ok {
				byID = k.Note
			}
			if found == nil || found.Note != k.Note || found.Deleted != k.Deleted || byID != k.Note {
				t.Fatalf("a list has %+v, the look-up %+v, by id its note is %q", k, found, byID)
			}
			all = append(all, fmt.Sprint(k.ID, k.Note, k.Deleted))
		}
		all = append(all, "-")
	}
	return all
}

// TestFoldLeavesSnapshots: what a snapshot shows, by its lists and by look-ups, stays the same through changes and folds that
// come after it; and a fold changes nothing for a new one.
func TestFoldLeavesSnapshots(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	type held struct {
		snap *keystore.Snapshot
		all  []string
	}
	var snaps []held
	hold := func() {
		snap := s.Snapshot()
		snaps = append(snaps, held{snap, seen(t, snap, a.ID, c.at)})
	}
	var keys []*keystore.Key
	for round := range 6 {
		for range 5 {
			k, _ := mustKey(t, s, restricted(a.ID))
			keys = append(keys, k)
		}
		hold()
		before := snaps[len(snaps)-1].all
		s.FoldNow()
		if n := s.Newer(); n != 0 {
			t.Errorf("%d keys are still in memdb after a fold", n)
		}
		if after := seen(t, s.Snapshot(), a.ID, c.at); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("a fold changed what is seen:\n%v\n%v", before, after)
		}
		hold()
		for i, k := range keys {
			switch {
			case i%5 == round:
				if _, err := s.DeleteKey(t.Context(), by, k.ID); err != nil {
					t.Fatal(err)
				}
			case i%5 > round:
				if _, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Note: keystore.To(fmt.Sprint("note ", round))}); err != nil {
					t.Fatal(err)
				}
			}
		}
		hold()
	}
	for i, h := range snaps {
		if now := seen(t, h.snap, a.ID, c.at); fmt.Sprint(now) != fmt.Sprint(h.all) {
			t.Errorf("snapshot %d shows another state than when it was taken:\n%v\n%v", i, h.all, now)
		}
	}
}

// TestFoldByItself: many new keys do not stay in memdb.
func TestFoldByItself(t *testing.T) {
	t.Parallel()
	s := keystoretest.NewStore(t, keystore.Options{})
	a, _ := mustAccount(t, s, "A")
	const n = keystore.FoldAtLeast + 1
	rows := make([]keystore.ImportParams, n)
	for i := range rows {
		rows[i] = *bulkRow(a.ID, i)
	}
	if _, err := s.ImportKeys(t.Context(), by, rows); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Newer() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d keys are still in memdb", s.Newer())
		}
	}
	for i := range rows {
		d := bulkDigest(i)
		if k, _ := s.Lookup(&d); k == nil {
			t.Fatalf("key %d is gone", i)
		}
	}
	if s.Len() != n+4 {
		t.Errorf("the store has %d keys, want %d", s.Len(), n+4)
	}
}

// TestUseOfAFoldedKey: all versions of a key share the note of its last use, in the base and in front of it.
func TestUseOfAFoldedKey(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	_, keys := mustAccount(t, s, "A")
	d := keys[0].Digest
	for round := range 4 {
		k, _ := s.Lookup(&d)
		at := c.at.Add(time.Duration(round) * time.Hour)
		s.Touch(k, at, by4)
		s.FoldNow()
		if u, ok := s.LastUsed(k.ID); !ok || !u.At.Equal(at) || u.Address != by4 {
			t.Errorf("round %d: the last use is %+v, want %v", round, u, at)
		}
		if _, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Note: keystore.To(fmt.Sprint(round))}); err != nil {
			t.Fatal(err)
		}
		if u, ok := s.LastUsed(k.ID); !ok || !u.At.Equal(at) {
			t.Errorf("round %d, after an edit: the last use is %+v, want %v", round, u, at)
		}
	}
}

// TestImportArrivesLate: an import that comes into memory after another node has revoked some of its keys brings none back.
func TestImportArrivesLate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int
		fold bool // what the other node changed, before the import arrives
	}{{50, false}, {keystore.FoldAtLeast + 1, false}, {50, true}, {2 * keystore.FoldAtLeast, true}} { // into memdb, and as a base
		n := c.n
		t.Run(fmt.Sprint(n, c.fold), func(t *testing.T) {
			t.Parallel()
			from := keystoretest.NewStore(t, keystore.Options{})
			a, _ := mustAccount(t, from, "A")
			m := begin(t, from, false)
			fill(t, m, a.ID, n)
			sum, err := m.Commit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			var keys, revoked []*keystore.Key
			next, err := from.Snapshot().EachKey(keystore.KeyFilter{}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for k := next(); k != nil; k = next() {
				if k.ID >= sum.First && k.ID <= sum.Last {
					keys = append(keys, k)
				}
			}
			slices.Reverse(keys) // as an import has them
			s := keystoretest.NewStore(t, keystore.Options{})
			for i := 0; i < len(keys); i += 7 {
				k := *keys[i]
				k.Deleted, k.EndedAt, k.Revision = true, k.CreatedAt, k.Revision+1
				revoked = append(revoked, &k)
			}
			// Keys that another node has made at the same time: their ids stand among those of the import.
			var others []*keystore.Key
			for i := 3; i < len(keys)-1; i += 11 {
				k := *keys[i]
				k.ID += "x"
				k.Digest = policy.DigestOf(k.ID)
				others = append(others, &k)
			}
			if err := s.ArriveLate(keys, append(revoked, others...), c.fold); err != nil {
				t.Fatal(err)
			}
			check := func(when string) {
				t.Helper()
				if s.Len() != n+len(others) {
					t.Errorf("%s: the store has %d keys, want %d", when, s.Len(), n+len(others))
				}
				next, err := s.Snapshot().EachKey(keystore.KeyFilter{}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				listed := 0
				for k := next(); k != nil; k = next() {
					listed++
					if got, ok := s.Snapshot().Key(k.ID); !ok || got.Deleted != k.Deleted {
						t.Fatalf("%s: a list has %+v, by its id it is %+v", when, k, got)
					}
				}
				if listed != s.Len() {
					t.Errorf("%s: %d keys are listed, want %d", when, listed, s.Len())
				}
				for i, k := range keys {
					for range 2 {
						got, _ := s.Lookup(&k.Digest)
						if got == nil || got.Deleted != (i%7 == 0) {
							t.Fatalf("%s: key %d is %+v", when, i, got)
						}
					}
				}
			}
			check("arrived")
			s.WaitForCache()
			check("cached")
			for i, k := range append(others, keys...) {
				if !s.Snapshot().Find(&k.Digest).Current() {
					t.Fatalf("key %d of %d is not the newest version of itself", i, len(others)+len(keys))
				}
			}
			s.FoldNow()
			check("folded")
		})
	}
}

// TestFilterOverChanges: a filter judges the newest version of a key, also if an older one in the base would fit.
func TestFilterOverChanges(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.Name = "alpha"
	k, _ := mustKey(t, s, p)
	s.FoldNow()
	find := func(query string) (ids []string) {
		for _, account := range []string{"", a.ID} {
			rows, _, err := s.Snapshot().Keys(keystore.KeyFilter{Account: account, Query: query}, keystore.Page{}, c.at)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				ids = append(ids, row.ID)
			}
		}
		return ids
	}
	if got := find("alpha"); len(got) != 2 || got[0] != k.ID {
		t.Errorf("before the change: %v", got)
	}
	if _, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Name: keystore.To("beta")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := find("alpha"); len(got) != 0 {
			t.Errorf("by the old name: %v", got)
		}
		if got := find("beta"); len(got) != 2 || got[0] != k.ID {
			t.Errorf("by the new name: %v", got)
		}
		s.FoldNow()
	}
}

// TestOlderVersionComesLater: while an import is handed on, changes of its keys are handed on ahead of it. What the import
// brought of such a key brings nothing back; what was sealed anew counts, though the key is at the same revision.
func TestOlderVersionComesLater(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	n := s.Len()
	revoked := *k
	revoked.Deleted, revoked.EndedAt, revoked.Revision = true, k.CreatedAt, k.Revision+1
	for range 2 { // in memdb, and in the base
		if err := s.ApplyKeys(&revoked); err != nil {
			t.Fatal(err)
		}
		newer := s.Newer()
		if err := s.ApplyKeys(k); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Lookup(&k.Digest); !got.Deleted || got.Revision != revoked.Revision {
			t.Errorf("an older version brought the key back: %+v", got)
		}
		if err := s.ApplyKeys(&revoked); err != nil { // once more, as after an interruption
			t.Fatal(err)
		}
		if s.Len() != n || s.Newer() != newer {
			t.Errorf("%d keys, %d of them in memdb, want %d and %d", s.Len(), s.Newer(), n, newer)
		}
		s.FoldNow()
	}
	if err := s.ApplyKeys(keystore.Resealed(&revoked, "anew")); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Lookup(&k.Digest); keystore.SealedOf(got) != "anew" {
		t.Error("what was sealed anew does not count")
	}
}
