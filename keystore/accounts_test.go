package keystore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func TestCreateAccount(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	o := mustOrganization(t, s, "Org")
	a, keys, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "Shop", Organization: o.ID, DefaultVersion: "2024-06-20"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Name != "Shop" || a.Organization != o.ID || a.DefaultVersion != "2024-06-20" || !a.CreatedAt.Equal(c.at) || a.Revision != 2 {
		t.Errorf("account = %+v", a)
	}
	b, ok := s.Snapshot().Sandbox(a.DefaultSandbox)
	if !ok || b.Name != "default" || b.Account != a.ID {
		t.Errorf("default sandbox = %+v, %v", b, ok)
	}
	want := []struct {
		kind policy.Kind
		mode policy.Mode
		name string
		mask string
	}{
		{policy.KindSecret, policy.ModeSandbox, "Secret key", "sk_test_****"},
		{policy.KindPublishable, policy.ModeSandbox, "Publishable key", "pk_test_****"},
		{policy.KindSecret, policy.ModeLive, "Secret key", "sk_live_****"},
		{policy.KindPublishable, policy.ModeLive, "Publishable key", "pk_live_****"},
	}
	if len(keys) != len(want) {
		t.Fatalf("%d keys, want %d", len(keys), len(want))
	}
	for i, k := range keys {
		w := want[i]
		if k.Kind != w.kind || k.Mode != w.mode || k.Name != w.name || !strings.HasPrefix(k.Mask, w.mask) || len(k.Mask) != len(w.mask)+4 {
			t.Errorf("key %d = %s %s %q %s, want %+v", i, k.Kind, k.Mode, k.Name, k.Mask, w)
		}
		if !k.Default || k.Imported || k.Account != a.ID || k.CreatedBy != "mem_1" || !k.Revealable() {
			t.Errorf("key %d = %+v", i, k)
		}
		if (k.PublicToken != "") != (k.Kind == policy.KindPublishable) {
			t.Errorf("key %d has public token %q", i, k.PublicToken)
		}
		if sandboxed := k.Mode == policy.ModeSandbox; (k.Sandbox == a.DefaultSandbox) != sandboxed || (k.Sandbox == "") == sandboxed {
			t.Errorf("key %d is in sandbox %q", i, k.Sandbox)
		}
		if got, _ := s.Lookup(&k.Digest); got != k {
			t.Errorf("key %d cannot be looked up", i)
		}
		p := k.Principal
		if p.KeyID != k.ID || p.Kind != k.Kind || p.Mode != k.Mode || p.Owner != a.ID || p.Sandbox != k.Sandbox || p.Mask != k.Mask ||
			p.Permissions != nil || p.Networks != nil || p.Ended {
			t.Errorf("key %d has principal %+v", i, p)
		}
	}
	wantEvents(t, backend, "organization.created", "account.created", "sandbox.created",
		"key.created", "key.created", "key.created", "key.created")
}

func TestAccountErrors(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	trail := len(events(t, backend))
	create := func(p keystore.AccountParams) error {
		_, _, err := s.CreateAccount(t.Context(), by, p)
		return err
	}
	update := func(p keystore.AccountPatch) error {
		_, err := s.UpdateAccount(t.Context(), by, a.ID, p)
		return err
	}
	long := strings.Repeat("ü", 201)
	wantError(t, "no name", create(keystore.AccountParams{}), keystore.CodeMissing, "name")
	wantError(t, "blank name", create(keystore.AccountParams{Name: " \u00a0"}), keystore.CodeMissing, "name")
	wantError(t, "long name", create(keystore.AccountParams{Name: long}), keystore.CodeInvalid, "name")
	wantError(t, "control character", create(keystore.AccountParams{Name: "a\x1b[31m"}), keystore.CodeInvalid, "name")
	wantError(t, "turned writing", create(keystore.AccountParams{Name: "a\u202eb"}), keystore.CodeInvalid, "name")
	wantError(t, "bad UTF-8", create(keystore.AccountParams{Name: "a\xff"}), keystore.CodeInvalid, "name")
	wantError(t, "unknown organization", create(keystore.AccountParams{Name: "A", Organization: "org_none"}), keystore.CodeNotFound, "organization")
	wantError(t, "version with a blank", create(keystore.AccountParams{Name: "A", DefaultVersion: "2024 06"}), keystore.CodeInvalid, "default_api_version")
	wantError(t, "null name", update(keystore.AccountPatch{Name: keystore.Null[string]()}), keystore.CodeMissing, "name")
	wantError(t, "unknown organization", update(keystore.AccountPatch{Organization: keystore.To("org_none")}), keystore.CodeNotFound, "organization")
	_, err := s.UpdateAccount(t.Context(), by, "acct_none", keystore.AccountPatch{})
	wantError(t, "unknown account", err, keystore.CodeNotFound, "")
	_, err = s.UpdateOrganization(t.Context(), by, "org_none", keystore.OrganizationPatch{})
	wantError(t, "unknown organization", err, keystore.CodeNotFound, "")
	_, err = s.CreateOrganization(t.Context(), by, keystore.OrganizationParams{})
	wantError(t, "no name", err, keystore.CodeMissing, "name")
	if got := len(events(t, backend)); got != trail {
		t.Errorf("refused changes left %d events", got-trail)
	}
	if err := create(keystore.AccountParams{Name: strings.Repeat("ü", 200)}); err != nil {
		t.Errorf("a name of 200 characters: %v", err)
	}
}

// TestErrorsDoNotRepeatTokens: who pastes a token where an id belongs must not find it in an answer or a log.
func TestErrorsDoNotRepeatTokens(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	token := "sk_live_4eC39HqLyjWDarjtT1zdp7dc4eC39HqLyjWDar"
	_, err := s.DeleteKey(t.Context(), by, token)
	if err == nil || strings.Contains(err.Error(), token[8:]) {
		t.Errorf("DeleteKey(token) = %v", err)
	}
	_, _, err = s.Snapshot().Keys(keystore.KeyFilter{}, keystore.Page{StartingAfter: token}, time.Time{})
	if err == nil || strings.Contains(err.Error(), token[8:]) {
		t.Errorf("Keys(starting after token) = %v", err)
	}
}

func TestUpdateAccount(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	o := mustOrganization(t, s, "Org")
	a, _ := mustAccount(t, s, "A")
	dir := s.Directory()
	next, err := s.UpdateAccount(t.Context(), by, a.ID, keystore.AccountPatch{
		Name: keystore.To("B"), Organization: keystore.To(o.ID), DefaultVersion: keystore.To("2025-01-01"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if next.Name != "B" || next.Organization != o.ID || next.DefaultVersion != "2025-01-01" || next.Revision != s.Snapshot().Revision() {
		t.Errorf("account = %+v", next)
	}
	if a.Name != "A" || a.Organization != "" {
		t.Error("the old object was changed in place")
	}
	if !dir.MemberOf(a.ID, o.ID) || dir.DefaultVersion(a.ID) != "2025-01-01" || dir.DefaultSandbox(a.ID) != a.DefaultSandbox {
		t.Error("the directory does not know of the change")
	}
	e := events(t, backend)
	last := e[len(e)-1]
	if last.Type != keystore.EventAccountUpdated || last.Before["name"] != "A" || last.After["name"] != "B" ||
		last.Before["organization"] != nil || last.After["organization"] != o.ID || last.Object != a.ID {
		t.Errorf("event = %+v", last)
	}

	_, err = s.UpdateAccount(t.Context(), by, a.ID, keystore.AccountPatch{Name: keystore.To("late"), IfRevision: a.Revision})
	wantError(t, "an old revision of the account", err, keystore.CodeRevision, "")
	_, err = s.UpdateOrganization(t.Context(), by, o.ID, keystore.OrganizationPatch{Name: keystore.To("late"), IfRevision: next.Revision})
	wantError(t, "another revision of the organization", err, keystore.CodeRevision, "")
	revision := s.Snapshot().Revision()
	if _, err := s.UpdateAccount(t.Context(), by, a.ID, keystore.AccountPatch{Name: keystore.To("B")}); err != nil {
		t.Fatal(err)
	}
	if s.Snapshot().Revision() != revision || len(events(t, backend)) != len(e) {
		t.Error("a patch that changes nothing was a change")
	}

	if _, err = s.UpdateAccount(t.Context(), by, a.ID, keystore.AccountPatch{
		Organization: keystore.Null[string](), DefaultVersion: keystore.Null[string](),
	}); err != nil {
		t.Fatal(err)
	}
	if dir.MemberOf(a.ID, o.ID) || dir.MemberOf(a.ID, "") || dir.DefaultVersion(a.ID) != "" {
		t.Error("the directory still knows the old organization or version")
	}
	renamed, err := s.UpdateOrganization(t.Context(), by, o.ID, keystore.OrganizationPatch{Name: keystore.To("Group")})
	if err != nil || renamed.Name != "Group" || o.Name != "Org" {
		t.Errorf("UpdateOrganization = %+v, %v", renamed, err)
	}
	wantEvents(t, backend, "account.updated", "organization.updated")
}

func TestConnections(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	var ids []string
	for i := range 4 {
		a, _ := mustAccount(t, s, fmt.Sprint("A", i))
		ids = append(ids, a.ID)
	}
	dir := s.Directory()
	connect := func(a, b int) error {
		_, err := s.Connect(t.Context(), by, ids[a], ids[b])
		return err
	}
	for _, pair := range [][2]int{{0, 2}, {0, 1}, {1, 2}, {2, 3}, {3, 0}} { // any depth, also around
		if err := connect(pair[0], pair[1]); err != nil {
			t.Fatalf("connecting %v: %v", pair, err)
		}
		if !dir.Connected(ids[pair[0]], ids[pair[1]]) {
			t.Errorf("%v is not connected", pair)
		}
	}
	a, _ := s.Snapshot().Account(ids[0])
	if len(a.Connections) != 2 || a.Connections[0] != ids[1] || a.Connections[1] != ids[2] {
		t.Errorf("connections = %v, want them in order", a.Connections)
	}
	for _, pair := range [][2]int{{1, 0}, {0, 3}, {2, 1}, {0, 0}} { // no direction but the one given, no short cuts
		if dir.Connected(ids[pair[0]], ids[pair[1]]) {
			t.Errorf("%v is connected", pair)
		}
	}
	wantError(t, "to itself", connect(0, 0), keystore.CodeConflict, "connected_id")
	if again, err := s.Connect(t.Context(), by, ids[0], ids[1]); err != nil || again.Revision != a.Revision || len(again.Connections) != 2 {
		t.Errorf("connecting twice = %+v, %v, want no change", again, err)
	}
	_, err := s.Connect(t.Context(), by, ids[0], "acct_none")
	wantError(t, "to an unknown account", err, keystore.CodeNotFound, "connected_id")
	_, err = s.Connect(t.Context(), by, "acct_none", ids[0])
	wantError(t, "an unknown account", err, keystore.CodeNotFound, "")
	_, err = s.Disconnect(t.Context(), by, ids[0], ids[3])
	wantError(t, "what is not connected", err, keystore.CodeNotFound, "connected_id")

	next, err := s.Disconnect(t.Context(), by, ids[0], ids[1])
	if err != nil || len(next.Connections) != 1 || dir.Connected(ids[0], ids[1]) || !dir.Connected(ids[0], ids[2]) {
		t.Errorf("Disconnect = %+v, %v", next, err)
	}
	if len(a.Connections) != 2 {
		t.Error("the old object was changed in place")
	}
	wantEvents(t, backend, "account.connected", "account.disconnected")
}

func TestSandboxes(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	other, _ := mustAccount(t, s, "B")
	box, keys, err := s.CreateSandbox(t.Context(), by, a.ID, "staging")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || keys[0].Kind != policy.KindSecret || keys[1].Kind != policy.KindPublishable ||
		keys[0].Sandbox != box.ID || keys[1].Sandbox != box.ID || keys[0].Mode != policy.ModeSandbox {
		t.Errorf("the keys of the sandbox are %+v", keys)
	}
	extra, _ := mustKey(t, s, keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.ModeSandbox, Account: a.ID, Sandbox: box.ID, Name: "r",
	})
	create := func(account, name string) error {
		_, _, err := s.CreateSandbox(t.Context(), by, account, name)
		return err
	}
	wantError(t, "the same name", create(a.ID, "staging"), keystore.CodeConflict, "name")
	wantError(t, "the default's name", create(a.ID, "default"), keystore.CodeConflict, "name")
	wantError(t, "no name", create(a.ID, ""), keystore.CodeMissing, "name")
	wantError(t, "an unknown account", create("acct_none", "x"), keystore.CodeNotFound, "")
	if err := create(other.ID, "staging"); err != nil {
		t.Errorf("the same name in another account: %v", err)
	}
	rows, more, err := s.Snapshot().Sandboxes(a.ID, keystore.Page{})
	if err != nil || more || len(rows) != 2 || rows[0].ID != box.ID || rows[1].ID != a.DefaultSandbox {
		t.Errorf("Sandboxes = %v, %v, %v", rows, more, err)
	}

	wantError(t, "the default sandbox", s.DeleteSandbox(t.Context(), by, a.ID, a.DefaultSandbox), keystore.CodeNotDeletable, "")
	wantError(t, "by another account", s.DeleteSandbox(t.Context(), by, other.ID, box.ID), keystore.CodeNotFound, "")
	wantError(t, "an unknown one", s.DeleteSandbox(t.Context(), by, a.ID, "sbx_none"), keystore.CodeNotFound, "")
	if err := s.DeleteSandbox(t.Context(), by, a.ID, box.ID); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*keystore.Key{keys[0], keys[1], extra} {
		now, _ := s.Lookup(&k.Digest)
		if now == nil || now.Status(c.at) != keystore.StatusDeleted || !now.Principal.Ended {
			t.Errorf("key %s of the deleted sandbox is %+v", k.ID, now)
		}
	}
	for _, k := range standard {
		if now, _ := s.Lookup(&k.Digest); now.Status(c.at) != keystore.StatusActive {
			t.Errorf("key %s of another place is %s", k.ID, now.Status(c.at))
		}
	}
	if _, ok := s.Snapshot().Sandbox(box.ID); ok {
		t.Error("the sandbox is still there")
	}
	wantEvents(t, backend, "key.deleted", "key.deleted", "key.deleted", "sandbox.deleted")
	if err := create(a.ID, "staging"); err != nil {
		t.Errorf("the name of a deleted sandbox: %v", err)
	}
	_, _, err = s.CreateKey(t.Context(), by, keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: a.ID, Sandbox: box.ID})
	wantError(t, "a key in a deleted sandbox", err, keystore.CodeNotFound, "sandbox")
}

func TestSandboxLimit(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	for i := 1; i < keystore.MaxSandboxes; i++ {
		if _, _, err := s.CreateSandbox(t.Context(), by, a.ID, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := s.CreateSandbox(t.Context(), by, a.ID, "one too many")
	wantError(t, "one too many", err, keystore.CodeConflict, "")
}
