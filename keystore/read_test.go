package keystore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// pages reads a list to its end and gives the ids.
func pages[T any](t *testing.T, limit int, list func(keystore.Page) ([]T, bool, error), id func(T) string) []string {
	t.Helper()
	var ids []string
	p := keystore.Page{Limit: limit}
	for range 1000 {
		rows, more, err := list(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) > limit || (more && len(rows) < limit) {
			t.Fatalf("a page of %d rows, more: %v, limit %d", len(rows), more, limit)
		}
		for _, r := range rows {
			ids = append(ids, id(r))
		}
		if !more {
			return ids
		}
		p.StartingAfter = ids[len(ids)-1]
	}
	t.Fatal("the list does not end")
	return nil
}

func keyID(k *keystore.Key) string { return k.ID }

func TestKeyLists(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	b, _ := mustAccount(t, s, "B")
	o := mustOrganization(t, s, "O")
	for i := range 23 {
		p := restricted(a.ID)
		p.Name = fmt.Sprintf("Key %02d", i)
		if i%3 == 0 {
			p.Mode = policy.ModeSandbox
		}
		if i%5 == 0 {
			p.ExpiresAt = c.at.Add(time.Hour)
		}
		if i%2 == 0 {
			p.Account = b.ID
		}
		if i%11 == 0 {
			p.Kind, p.Account, p.Organization = policy.KindOrganization, "", o.ID
		}
		if i == 7 {
			p.Note = "in the VAULT"
		}
		k, _ := mustKey(t, s, p)
		if i%7 == 0 {
			if _, err := s.DeleteKey(t.Context(), by, k.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	snap := s.Snapshot()
	all := pages(t, 100, func(p keystore.Page) ([]*keystore.Key, bool, error) {
		return snap.Keys(keystore.KeyFilter{}, p, c.at)
	}, keyID)
	if len(all) != s.Len() || len(all) != 31 || !slices.IsSortedFunc(all, func(x, y string) int {
		kx, _ := snap.Key(x)
		ky, _ := snap.Key(y)
		return ky.CreatedAt.Compare(kx.CreatedAt)
	}) {
		t.Fatalf("%d of %d keys, newest first: %v", len(all), s.Len(), all)
	}
	one, _ := snap.Key(all[4])
	for name, f := range map[string]keystore.KeyFilter{
		"all":                {},
		"account":            {Account: a.ID},
		"account and mode":   {Account: b.ID, Mode: policy.ModeSandbox},
		"organization":       {Organization: o.ID},
		"kind":               {Kind: policy.KindPublishable},
		"mode":               {Mode: policy.ModeLive},
		"sandbox":            {Sandbox: a.DefaultSandbox},
		"active":             {Status: keystore.StatusActive},
		"expiring":           {Status: keystore.StatusExpiring},
		"deleted":            {Status: keystore.StatusDeleted, Account: b.ID},
		"expired":            {Status: keystore.StatusExpired},
		"name":               {Query: "kEy 1"},
		"note":               {Query: "vault"},
		"id":                 {Query: one.ID},
		"last four":          {Query: one.Mask[len(one.Mask)-4:]},
		"the prefix is none": {Query: "sk_live_"},
		"everything":         {Account: a.ID, Mode: policy.ModeLive, Kind: policy.KindRestricted, Status: keystore.StatusActive, Query: "key"},
		"unknown account":    {Account: "acct_none"},
	} {
		matches := func(k *keystore.Key) bool {
			return (f.Account == "" || k.Account == f.Account) && (f.Organization == "" || k.Organization == f.Organization) &&
				(f.Mode == 0 || k.Mode == f.Mode) && (f.Kind == 0 || k.Kind == f.Kind) && (f.Sandbox == "" || k.Sandbox == f.Sandbox) &&
				(f.Status == "" || k.Status(c.at) == f.Status)
		}
		var want []string
		for _, id := range all {
			k, _ := snap.Key(id)
			if !matches(k) {
				continue
			}
			switch name {
			case "name", "everything":
				if len(k.Name) < 5 || (name == "name" && k.Name[4] != '1') || k.Name[:3] != "Key" {
					continue
				}
			case "note":
				if k.Note == "" {
					continue
				}
			case "id", "last four":
				if k.ID != one.ID {
					continue
				}
			case "the prefix is none":
				continue
			}
			want = append(want, id)
		}
		for _, limit := range []int{1, 3, 10, 100} {
			got := pages(t, limit, func(p keystore.Page) ([]*keystore.Key, bool, error) { return snap.Keys(f, p, c.at) }, keyID)
			if name == "everything" {
				got = slices.DeleteFunc(got, func(id string) bool { k, _ := snap.Key(id); return k.Name == "" })
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d: got %v\nwant %v", name, limit, got, want)
			}
		}
	}
}

func TestOtherLists(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	o, other := mustOrganization(t, s, "O"), mustOrganization(t, s, "P")
	var accounts, members []string
	for i := range 13 {
		p := keystore.AccountParams{Name: fmt.Sprint("A", i)}
		if i%3 == 0 {
			p.Organization = o.ID
		}
		a, _, err := s.CreateAccount(t.Context(), by, p)
		if err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a.ID)
		if i%3 == 0 {
			members = append(members, a.ID)
		}
	}
	moved := members[1]
	if _, err := s.UpdateAccount(t.Context(), by, moved, keystore.AccountPatch{Organization: keystore.To(other.ID)}); err != nil {
		t.Fatal(err)
	}
	members = slices.Delete(members, 1, 2)
	slices.Reverse(accounts)
	slices.Reverse(members)
	snap := s.Snapshot()
	accountID := func(a *keystore.Account) string { return a.ID }
	for _, limit := range []int{1, 2, 5, 100} {
		for org, want := range map[string][]string{"": accounts, o.ID: members, other.ID: {moved}, "org_none": nil} {
			got := pages(t, limit, func(p keystore.Page) ([]*keystore.Account, bool, error) { return snap.Accounts(org, p) }, accountID)
			if !slices.Equal(got, want) {
				t.Errorf("accounts of %q in pages of %d: %v, want %v", org, limit, got, want)
			}
		}
		got := pages(t, limit, snap.Organizations, func(o *keystore.Organization) string { return o.ID })
		if want := []string{other.ID, o.ID}; !slices.Equal(got, want) {
			t.Errorf("organizations in pages of %d: %v, want %v", limit, got, want)
		}
	}
}

func TestPageErrors(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, keys := mustAccount(t, s, "A")
	list := func(f keystore.KeyFilter, p keystore.Page) error {
		_, _, err := s.Snapshot().Keys(f, p, c.at)
		return err
	}
	wantError(t, "negative limit", list(keystore.KeyFilter{}, keystore.Page{Limit: -1}), keystore.CodeInvalid, "limit")
	wantError(t, "large limit", list(keystore.KeyFilter{}, keystore.Page{Limit: 101}), keystore.CodeInvalid, "limit")
	wantError(t, "another's id", list(keystore.KeyFilter{}, keystore.Page{StartingAfter: a.ID}), keystore.CodeInvalid, "starting_after")
	wantError(t, "junk", list(keystore.KeyFilter{}, keystore.Page{StartingAfter: "key_\xff"}), keystore.CodeInvalid, "starting_after")
	wantError(t, "two owners", list(keystore.KeyFilter{Account: a.ID, Organization: "org_1"}, keystore.Page{}), keystore.CodeInvalid, "organization")
	wantError(t, "status", list(keystore.KeyFilter{Status: "alive"}, keystore.Page{}), keystore.CodeInvalid, "status")
	// A cursor stays good when its row is none any more: the list goes on below it.
	after := keys[2].ID[:len(keys[2].ID)-1] + "z"
	rows, _, err := s.Snapshot().Keys(keystore.KeyFilter{Account: a.ID}, keystore.Page{StartingAfter: after}, c.at)
	if err != nil || len(rows) < 2 || rows[len(rows)-1].ID != keys[0].ID {
		t.Errorf("after an id that is no row: %v, %v", rows, err)
	}
}

// TestSnapshotStands: a snapshot is the store at one moment, whatever is written afterwards.
func TestSnapshotStands(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, keys := mustAccount(t, s, "A")
	snap := s.Snapshot()
	revision := snap.Revision()
	if _, err := s.DeleteKey(t.Context(), by, keys[2].ID); err != nil {
		t.Fatal(err)
	}
	mustKey(t, s, restricted(a.ID))
	rows, _, err := snap.Keys(keystore.KeyFilter{Account: a.ID}, keystore.Page{}, c.at)
	if err != nil || len(rows) != 4 || snap.Revision() != revision {
		t.Errorf("the snapshot moved: %d keys at revision %d", len(rows), snap.Revision())
	}
	if k, _ := snap.Key(keys[2].ID); k.Deleted {
		t.Error("the snapshot sees a later deletion")
	}
}

// TestIDsRise: lists are in the order of ids, so ids must rise whatever the clock does, and across a restart.
func TestIDsRise(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	last := ""
	for i := range 200 {
		if i == 100 {
			c.at = c.at.Add(-time.Hour) // somebody put the clock back
		}
		k, _ := mustKey(t, s, restricted(a.ID))
		if k.ID <= last || len(k.ID) != 24 {
			t.Fatalf("id %s after %s", k.ID, last)
		}
		last = k.ID
	}
	if at := keystore.IDTime(last); at.Before(c.at) {
		t.Errorf("the id is of %v", at)
	}
}
