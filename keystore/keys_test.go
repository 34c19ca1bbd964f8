package keystore_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

func TestCreateKey(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	o := mustOrganization(t, s, "O")
	box, _, err := s.CreateSandbox(t.Context(), by, a.ID, "staging")
	if err != nil {
		t.Fatal(err)
	}
	read := permissions("charges", policy.AccessRead)
	cases := []struct {
		name   string
		params keystore.KeyParams
		check  func(k *keystore.Key) bool
		prefix string
	}{
		{"live secret", keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID}, func(k *keystore.Key) bool {
			return k.Name == "Secret key" && !k.Revealable() && k.Principal.Permissions == nil && !k.Default && k.Sandbox == ""
		}, "sk_live_"},
		{"sandbox secret", keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: a.ID, Name: "mine"}, func(k *keystore.Key) bool {
			return k.Name == "mine" && k.Revealable() && k.Sandbox == a.DefaultSandbox
		}, "sk_test_"},
		{"other sandbox", keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: a.ID, Sandbox: box.ID}, func(k *keystore.Key) bool {
			return k.Sandbox == box.ID && k.Principal.Sandbox == box.ID
		}, "sk_test_"},
		{"restricted without permissions", keystore.KeyParams{Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: a.ID, Name: "r"}, func(k *keystore.Key) bool {
			p := k.Principal
			return p.Permissions != nil && p.Permissions.Len() == 0 && p.ConnectedPermissions != nil && p.ConnectedPermissions.Len() == 0
		}, "rk_live_"},
		{"restricted", keystore.KeyParams{
			Kind: policy.KindRestricted, Mode: policy.ModeSandbox, Account: a.ID, Name: "r", Note: "vault\nb",
			Permissions: read, ConnectedPermissions: read, IPRanges: []string{"203.0.113.0/24", "10.1.2.3"},
			ExpiresAt: c.at.Add(time.Hour), Metadata: map[string]string{"team": "a"},
		}, func(k *keystore.Key) bool {
			p := k.Principal
			return p.Permissions.Get("charges") == policy.AccessRead && p.ConnectedPermissions.Get("charges") == policy.AccessRead &&
				len(k.IPRanges) == 2 && p.Networks.Len() == 2 && k.ExpiresAt.Equal(c.at.Add(time.Hour)) &&
				p.ExpiresAt.Equal(k.ExpiresAt) && k.Metadata["team"] == "a" && k.Status(c.at) == keystore.StatusExpiring
		}, "rk_test_"},
		{"organization", keystore.KeyParams{Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: o.ID}, func(k *keystore.Key) bool {
			return k.Organization == o.ID && k.Account == "" && k.Principal.Permissions == nil && k.Principal.Owner == o.ID
		}, "sk_org_live_"},
		{"organization with none", keystore.KeyParams{
			Kind: policy.KindOrganization, Mode: policy.ModeSandbox, Organization: o.ID, Permissions: policy.NewPermissions(nil),
		}, func(k *keystore.Key) bool {
			return k.Principal.Permissions != nil && k.Principal.Permissions.Len() == 0 && k.Sandbox == "" && k.Revealable()
		}, "sk_org_test_"},
	}
	for _, tc := range cases {
		k, token := mustKey(t, s, tc.params)
		if !tc.check(k) {
			t.Errorf("%s: key = %+v", tc.name, k)
		}
		text := token.Reveal()
		if kind, mode, class := policy.ParseToken(text); !strings.HasPrefix(text, tc.prefix) || class != policy.TokenOurs ||
			kind != tc.params.Kind || mode != tc.params.Mode {
			t.Errorf("%s: the token is a %v of %v %v, want prefix %s", tc.name, class, kind, mode, tc.prefix)
		}
		digest := token.Digest()
		if got, _ := s.Lookup(&digest); got != k {
			t.Errorf("%s: the token does not find the key", tc.name)
		}
		if k.Mask != tc.prefix+"****"+text[len(text)-4:] {
			t.Errorf("%s: mask %q", tc.name, k.Mask)
		}
		wantEvents(t, backend, "key.created")
	}
}

func TestCreateKeyErrors(t *testing.T) {
	t.Parallel()
	backend, c := keystoretest.NewMemory(), newClock()
	s := keystoretest.NewStore(t, keystore.Options{
		Backend: backend, Now: c.now, Resources: func(r string) bool { return r == "charges" },
	})
	a, _ := mustAccount(t, s, "A")
	b, _ := mustAccount(t, s, "B")
	o := mustOrganization(t, s, "O")
	secret := keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID}
	org := keystore.KeyParams{Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: o.ID}
	ours, err := policy.GenerateToken(strings.NewReader(strings.Repeat("0123456789", 100)), policy.KindSecret, policy.ModeLive)
	if err != nil {
		t.Fatal(err)
	}
	many := make(map[string]string)
	for i := range 51 {
		many[fmt.Sprint(i)] = "x"
	}
	manyRanges := make([]string, 201)
	for i := range manyRanges {
		manyRanges[i] = fmt.Sprintf("10.0.%d.%d", i/100, i%100+1)
	}
	cases := []struct {
		name  string
		base  keystore.KeyParams
		edit  func(p *keystore.KeyParams)
		code  keystore.Code
		param string
	}{
		{"no kind", secret, func(p *keystore.KeyParams) { p.Kind = 0 }, keystore.CodeMissing, "kind"},
		{"no mode", secret, func(p *keystore.KeyParams) { p.Mode = 0 }, keystore.CodeMissing, "mode"},
		{"publishable", secret, func(p *keystore.KeyParams) { p.Kind = policy.KindPublishable }, keystore.CodeInvalid, "kind"},
		{"no account", secret, func(p *keystore.KeyParams) { p.Account = "" }, keystore.CodeMissing, "account"},
		{"unknown account", secret, func(p *keystore.KeyParams) { p.Account = "acct_none" }, keystore.CodeNotFound, "account"},
		{"secret of an organization", secret, func(p *keystore.KeyParams) { p.Organization = o.ID }, keystore.CodeInvalid, "organization"},
		{"live in a sandbox", secret, func(p *keystore.KeyParams) { p.Sandbox = a.DefaultSandbox }, keystore.CodeInvalid, "sandbox"},
		{"another's sandbox", secret, func(p *keystore.KeyParams) { p.Mode, p.Sandbox = policy.ModeSandbox, b.DefaultSandbox }, keystore.CodeNotFound, "sandbox"},
		{"organization with account", org, func(p *keystore.KeyParams) { p.Account = a.ID }, keystore.CodeInvalid, "account"},
		{"no organization", org, func(p *keystore.KeyParams) { p.Organization = "" }, keystore.CodeMissing, "organization"},
		{"unknown organization", org, func(p *keystore.KeyParams) { p.Organization = "org_x" }, keystore.CodeNotFound, "organization"},
		{"organization in a sandbox", org, func(p *keystore.KeyParams) { p.Sandbox = a.DefaultSandbox }, keystore.CodeInvalid, "sandbox"},
		{"restricted without a name", restricted(a.ID), func(p *keystore.KeyParams) { p.Name = "" }, keystore.CodeMissing, "name"},
		{"long name", secret, func(p *keystore.KeyParams) { p.Name = strings.Repeat("x", 201) }, keystore.CodeInvalid, "name"},
		{"token as name", secret, func(p *keystore.KeyParams) { p.Name = ours.Reveal() }, keystore.CodeInvalid, "name"},
		{"token in the note", secret, func(p *keystore.KeyParams) { p.Note = "key: \"" + ours.Reveal() + "\"" }, keystore.CodeInvalid, "note"},
		{"long note", secret, func(p *keystore.KeyParams) { p.Note = strings.Repeat("x", 2001) }, keystore.CodeInvalid, "note"},
		{"control in note", secret, func(p *keystore.KeyParams) { p.Note = "a\x00" }, keystore.CodeInvalid, "note"},
		{"much metadata", secret, func(p *keystore.KeyParams) { p.Metadata = many }, keystore.CodeInvalid, "metadata"},
		{"long metadata key", secret, func(p *keystore.KeyParams) { p.Metadata = map[string]string{strings.Repeat("k", 41): "v"} }, keystore.CodeInvalid, "metadata"},
		{"long metadata value", secret, func(p *keystore.KeyParams) { p.Metadata = map[string]string{"k": strings.Repeat("v", 501)} }, keystore.CodeInvalid, "metadata[k]"},
		{"expiry now", secret, func(p *keystore.KeyParams) { p.ExpiresAt = c.at }, keystore.CodeInvalid, "expires_at"},
		{"expiry past", secret, func(p *keystore.KeyParams) { p.ExpiresAt = c.at.Add(-time.Hour) }, keystore.CodeInvalid, "expires_at"},
		{"permissions on a secret key", secret, func(p *keystore.KeyParams) { p.Permissions = permissions("charges", policy.AccessRead) }, keystore.CodeInvalid, "permissions"},
		{"connected on a secret key", secret, func(p *keystore.KeyParams) { p.ConnectedPermissions = policy.NewPermissions(nil) }, keystore.CodeInvalid, "connected_permissions"},
		{"unknown resource", restricted(a.ID), func(p *keystore.KeyParams) { p.Permissions = permissions("chrages", policy.AccessRead) }, keystore.CodeInvalid, "permissions[chrages]"},
		{"unknown connected resource", restricted(a.ID), func(p *keystore.KeyParams) { p.ConnectedPermissions = permissions("x", policy.AccessRead) }, keystore.CodeInvalid, "connected_permissions[x]"},
		{"origins on a secret key", secret, func(p *keystore.KeyParams) { p.AllowedOrigins = []string{"https://a.example"} }, keystore.CodeInvalid, "allowed_origins"},
		{"empty ranges", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{} }, keystore.CodeInvalid, "ip_ranges"},
		{"junk range", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{"10.0.0.1", "x"} }, keystore.CodeInvalid, "ip_ranges[1]"},
		{"host bits", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{"10.0.0.1/8"} }, keystore.CodeInvalid, "ip_ranges[0]"},
		{"everything", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{"0.0.0.0/0"} }, keystore.CodeInvalid, "ip_ranges[0]"},
		{"IPv6", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{"2001:db8::/32"} }, keystore.CodeInvalid, "ip_ranges[0]"},
		{"twice", secret, func(p *keystore.KeyParams) { p.IPRanges = []string{"10.0.0.1", "10.0.0.1/32"} }, keystore.CodeInvalid, "ip_ranges[1]"},
		{"too many", secret, func(p *keystore.KeyParams) { p.IPRanges = manyRanges }, keystore.CodeInvalid, "ip_ranges"},
	}
	revision, trail := s.Snapshot().Revision(), len(events(t, backend))
	for _, tc := range cases {
		p := tc.base
		tc.edit(&p)
		k, token, err := s.CreateKey(t.Context(), by, p)
		wantError(t, tc.name, err, tc.code, tc.param)
		if k != nil || !token.IsZero() {
			t.Errorf("%s: a refused key was given out", tc.name)
		}
		if err != nil && strings.Contains(err.Error(), ours.Reveal()[8:]) {
			t.Errorf("%s: the error repeats a token", tc.name)
		}
	}
	if s.Snapshot().Revision() != revision || len(events(t, backend)) != trail {
		t.Error("refused keys left something behind")
	}
}

func TestSettingsThatSwap(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	s.SetResources(func(string) bool { return false })
	_, _, err := s.CreateKey(t.Context(), by, restricted(a.ID))
	wantError(t, "no resource is known", err, keystore.CodeInvalid, "permissions[charges]")
	s.SetResources(nil)
	s.SetIPv6Ranges(true)
	p := restricted(a.ID)
	p.IPRanges = []string{"2001:db8::/32"}
	k, _ := mustKey(t, s, p)
	s.SetResources(func(string) bool { return false })
	s.SetIPv6Ranges(false)
	// What is there stays, and does not stand in the way of other edits.
	if _, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Name: keystore.To("n")}); err != nil {
		t.Errorf("renaming: %v", err)
	}
	if _, _, err := s.RotateKey(t.Context(), by, k.ID, keystore.RotateParams{}); err != nil {
		t.Errorf("rotating: %v", err)
	}
}

func TestUpdateKey(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.Note, p.Metadata, p.IPRanges = "old", map[string]string{"a": "1", "b": "2"}, []string{"10.0.0.0/8"}
	k, _ := mustKey(t, s, p)
	update := func(patch keystore.KeyPatch) *keystore.Key {
		t.Helper()
		next, err := s.UpdateKey(t.Context(), by, k.ID, patch)
		if err != nil {
			t.Fatalf("UpdateKey: %v", err)
		}
		return next
	}
	next := update(keystore.KeyPatch{Name: keystore.To("new"), IfRevision: k.Revision})
	if next.Name != "new" || next.Note != "old" || k.Name != "billing" || next.Digest != k.Digest {
		t.Errorf("renamed: %+v", next)
	}
	wantEvents(t, backend, "key.updated")
	_, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Name: keystore.To("late"), IfRevision: k.Revision})
	wantError(t, "an old revision", err, keystore.CodeRevision, "")

	next = update(keystore.KeyPatch{Note: keystore.Null[string](), Metadata: keystore.To(map[string]string{"a": "", "c": "3"})})
	if next.Note != "" || !maps.Equal(next.Metadata, map[string]string{"b": "2", "c": "3"}) {
		t.Errorf("note and metadata: %q %v", next.Note, next.Metadata)
	}
	if !maps.Equal(k.Metadata, p.Metadata) {
		t.Error("the old object was changed in place")
	}
	next = update(keystore.KeyPatch{Metadata: keystore.Null[map[string]string]()})
	if next.Metadata != nil {
		t.Errorf("metadata: %v", next.Metadata)
	}
	next = update(keystore.KeyPatch{
		Permissions:          keystore.To(permissions("charges", policy.AccessRead)),
		ConnectedPermissions: keystore.To(permissions("payouts", policy.AccessWrite)),
	})
	if next.Principal.Permissions.Get("charges") != policy.AccessRead || next.Principal.ConnectedPermissions.Get("payouts") != policy.AccessWrite {
		t.Errorf("permissions: %+v", next.Principal)
	}
	next = update(keystore.KeyPatch{IPRanges: keystore.To([]string{"203.0.113.9", "192.0.2.0/24"})})
	if next.Principal.Networks.Len() != 2 || len(next.IPRanges) != 2 {
		t.Errorf("ranges: %+v", next.IPRanges)
	}
	_, err = s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{IPRanges: keystore.Field[[]string]{Set: true}})
	wantError(t, "a nil list is an empty one", err, keystore.CodeInvalid, "ip_ranges")
	next = update(keystore.KeyPatch{IPRanges: keystore.Null[[]string]()})
	if next.IPRanges != nil || next.Principal.Networks != nil {
		t.Errorf("lifted: %+v", next.IPRanges)
	}
	next = update(keystore.KeyPatch{ExpiresAt: keystore.To(c.at.Add(1500 * time.Microsecond))})
	if !next.ExpiresAt.Equal(c.at.Add(time.Millisecond)) || !next.Principal.ExpiresAt.Equal(next.ExpiresAt) {
		t.Errorf("expiry: %v", next.ExpiresAt)
	}
	next = update(keystore.KeyPatch{ExpiresAt: keystore.Null[time.Time]()})
	if !next.ExpiresAt.IsZero() || next.Status(c.at) != keystore.StatusActive {
		t.Errorf("expiry: %v", next.ExpiresAt)
	}
	trail := len(events(t, backend))
	if again := update(keystore.KeyPatch{Name: keystore.To("new"), IPRanges: keystore.Null[[]string]()}); again.Revision != next.Revision {
		t.Error("a patch that changes nothing was a change")
	}
	if len(events(t, backend)) != trail {
		t.Error("a patch that changes nothing has an event")
	}

	fail := func(name, id string, patch keystore.KeyPatch, code keystore.Code, param string) {
		t.Helper()
		_, err := s.UpdateKey(t.Context(), by, id, patch)
		wantError(t, name, err, code, param)
	}
	publishable, secret := standard[3].ID, standard[2].ID
	fail("null permissions", k.ID, keystore.KeyPatch{Permissions: keystore.Null[*policy.Permissions]()}, keystore.CodeInvalid, "permissions")
	fail("null name of a restricted key", k.ID, keystore.KeyPatch{Name: keystore.Null[string]()}, keystore.CodeMissing, "name")
	fail("past expiry", k.ID, keystore.KeyPatch{ExpiresAt: keystore.To(c.at)}, keystore.CodeInvalid, "expires_at")
	fail("zero expiry", k.ID, keystore.KeyPatch{ExpiresAt: keystore.To(time.Time{})}, keystore.CodeInvalid, "expires_at")
	fail("permissions of a secret key", secret, keystore.KeyPatch{Permissions: keystore.To(policy.NewPermissions(nil))}, keystore.CodeInvalid, "permissions")
	fail("ranges of a publishable key", publishable, keystore.KeyPatch{IPRanges: keystore.To([]string{"10.0.0.1"})}, keystore.CodeInvalid, "ip_ranges")
	fail("expiry of a publishable key", publishable, keystore.KeyPatch{ExpiresAt: keystore.To(c.at.Add(time.Hour))}, keystore.CodeInvalid, "expires_at")
	fail("unknown key", "key_none", keystore.KeyPatch{}, keystore.CodeNotFound, "")
	for _, bad := range []string{"example.com", "https://a.example/x", "https://*.example.com", "https://", "https://u@a.example", "https://a.example:", "null", "https://a b.example"} {
		fail(bad, publishable, keystore.KeyPatch{AllowedOrigins: keystore.To([]string{bad})}, keystore.CodeInvalid, "allowed_origins[0]")
	}
	fail("the same origin", publishable, keystore.KeyPatch{AllowedOrigins: keystore.To([]string{"https://a.example", "HTTPS://A.example:443/"})}, keystore.CodeInvalid, "allowed_origins[1]")
	got, err := s.UpdateKey(t.Context(), by, publishable, keystore.KeyPatch{
		AllowedOrigins: keystore.To([]string{"HTTPS://Shop.Example.com:443/", "http://localhost:3000", "http://[::1]:8080"}),
	})
	want := []string{"https://shop.example.com", "http://localhost:3000", "http://[::1]:8080"}
	if err != nil || !slices.Equal(got.AllowedOrigins, want) || !slices.Equal(got.Principal.Origins, want) {
		t.Errorf("origins = %v, %v; want %v", got, err, want)
	}
	renamed, err := s.UpdateKey(t.Context(), by, secret, keystore.KeyPatch{Name: keystore.To("x")})
	if err != nil || renamed.Name != "x" {
		t.Errorf("renaming: %v", err)
	}
	if renamed, err = s.UpdateKey(t.Context(), by, secret, keystore.KeyPatch{Name: keystore.Null[string]()}); err != nil || renamed.Name != "Secret key" {
		t.Errorf("a null name gives %q, %v", renamed.Name, err)
	}
}

func TestOrganizationKeyPermissionsCanBeLifted(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	o := mustOrganization(t, s, "O")
	k, _ := mustKey(t, s, keystore.KeyParams{
		Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: o.ID, Permissions: permissions("charges", policy.AccessRead),
	})
	next, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Permissions: keystore.Null[*policy.Permissions]()})
	if err != nil || next.Principal.Permissions != nil {
		t.Errorf("UpdateKey = %+v, %v", next, err)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		key  keystore.Key
		want keystore.Status
	}{
		{keystore.Key{}, keystore.StatusActive},
		{keystore.Key{ExpiresAt: at.Add(1)}, keystore.StatusExpiring},
		{keystore.Key{ExpiresAt: at}, keystore.StatusExpired},
		{keystore.Key{ExpiresAt: at.Add(-1)}, keystore.StatusExpired},
		{keystore.Key{EndedAt: at.Add(-1)}, keystore.StatusExpired},
		{keystore.Key{EndedAt: at.Add(-1), ExpiresAt: at.Add(time.Hour)}, keystore.StatusExpired},
		{keystore.Key{EndedAt: at.Add(-1), Deleted: true}, keystore.StatusDeleted},
	} {
		if got := tc.key.Status(at); got != tc.want {
			t.Errorf("status of %+v = %s, want %s", tc.key, got, tc.want)
		}
	}
}
