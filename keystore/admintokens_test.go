package keystore_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	order := []keystore.Role{keystore.RoleViewer, keystore.RoleDeveloper, keystore.RoleAdministrator, keystore.RoleOwner}
	for i, strong := range order {
		for j, weak := range order {
			if got, want := strong.Includes(weak), i >= j; got != want {
				t.Errorf("%s includes %s: %v, want %v", strong, weak, got, want)
			}
		}
		for _, none := range []keystore.Role{"", "root", "Owner"} {
			if strong.Includes(none) || none.Includes(strong) || none.Includes(none) {
				t.Errorf("%q is taken for a role", none)
			}
			if _, ok := keystore.ParseRole(string(none)); ok {
				t.Errorf("ParseRole(%q) is ok", none)
			}
		}
	}
}

func TestAdminTokens(t *testing.T) {
	t.Parallel()
	clock, backend := newClock(), keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: clock.now})
	account, _ := mustAccount(t, s, "Acme")
	made, token, err := s.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{
		Name: "ci", Role: keystore.RoleDeveloper, Account: account.ID, ExpiresAt: clock.at.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !policy.IsAdminToken(token.Reveal()) || len(made.ID) != 24 || made.CreatedBy != by.ID || !strings.HasSuffix(token.Reveal(), made.Mask[8:]) {
		t.Errorf("made %+v", made)
	}
	other, _, err := s.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "all", Role: keystore.RoleOwner})
	if err != nil {
		t.Fatal(err)
	}
	digest := token.Digest()
	from := netip.MustParseAddr("192.0.2.7")
	check := func(when string, s *keystore.Store, used bool) {
		t.Helper()
		found, ok := s.Snapshot().AdminTokenByDigest(&digest)
		if !ok || found.ID != made.ID || found.Role != keystore.RoleDeveloper || found.Account != account.ID || found.Organization != "" ||
			found.Mask != made.Mask || found.Expired(clock.at) || !found.Expired(clock.at.Add(time.Hour)) || !found.CreatedAt.Equal(clock.at) {
			t.Fatalf("%s: found %+v", when, found)
		}
		if usage, ok := found.LastUsed(); ok != used || used && (usage.Address != from || !usage.At.Equal(clock.at)) {
			t.Errorf("%s: last used %+v, %v; want %v", when, usage, ok, used)
		}
		rows, more, err := s.Snapshot().AdminTokens(keystore.Page{}, nil)
		if err != nil || more || len(rows) != 2 || rows[0].ID != other.ID || rows[1].ID != made.ID {
			t.Errorf("%s: list %v, %v, %v", when, rows, more, err)
		}
		rows, _, _ = s.Snapshot().AdminTokens(keystore.Page{}, func(t *keystore.AdminToken) bool { return t.Account != "" })
		if len(rows) != 1 || rows[0].ID != made.ID {
			t.Errorf("%s: filtered list %v", when, rows)
		}
	}
	check("at once", s, false)
	s.TouchAdminToken(made, clock.at, from)
	check("used", s, true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := backend.Reopen()
	s = keystoretest.NewStore(t, keystore.Options{Backend: again, Now: clock.now})
	check("after a restart", s, true)

	if err := s.DeleteAdminToken(t.Context(), by, made.ID); err != nil {
		t.Fatal(err)
	}
	if found, ok := s.Snapshot().AdminTokenByDigest(&digest); ok {
		t.Errorf("a deleted token is found: %+v", found)
	}
	wantError(t, "deleting twice", s.DeleteAdminToken(t.Context(), by, made.ID), keystore.CodeNotFound, "")

	var types []string
	for _, e := range events(t, again) {
		if e.Object == made.ID {
			types = append(types, string(e.Type))
			if e.Account != account.ID {
				t.Errorf("%s names account %q", e.Type, e.Account)
			}
		}
	}
	if got, want := strings.Join(types, " "), "admin_token.created admin_token.deleted"; got != want {
		t.Errorf("events %q, want %q", got, want)
	}
	// nothing at rest is the credential
	secret := []byte(token.Reveal()[4:])
	_ = again.Events(t.Context(), 1, 100, false, func(e keystore.EventRow) error {
		if bytes.Contains(e.Body, secret) {
			t.Errorf("event %d holds the credential", e.Seq)
		}
		return nil
	})
	_, _ = again.Load(t.Context(), func(r keystore.Row) error {
		if bytes.Contains(r.Data, secret) {
			t.Errorf("%s holds the credential", r.ID)
		}
		return nil
	})
}

func TestAdminTokenParams(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := keystoretest.NewStore(t, keystore.Options{Now: clock.now})
	account, _ := mustAccount(t, s, "Acme")
	organization := mustOrganization(t, s, "Org")
	for _, tc := range []struct {
		what  string
		p     keystore.AdminTokenParams
		code  keystore.Code
		param string
	}{
		{"no name", keystore.AdminTokenParams{Role: keystore.RoleOwner}, keystore.CodeMissing, "name"},
		{"no role", keystore.AdminTokenParams{Name: "x"}, keystore.CodeInvalid, "role"},
		{"unknown role", keystore.AdminTokenParams{Name: "x", Role: "root"}, keystore.CodeInvalid, "role"},
		{"two limits", keystore.AdminTokenParams{Name: "x", Role: keystore.RoleOwner, Account: account.ID, Organization: organization.ID}, keystore.CodeInvalid, "account"},
		{"unknown account", keystore.AdminTokenParams{Name: "x", Role: keystore.RoleOwner, Account: "acct_0000000000000000"}, keystore.CodeNotFound, "account"},
		{"unknown organization", keystore.AdminTokenParams{Name: "x", Role: keystore.RoleOwner, Organization: "org_0000000000000000"}, keystore.CodeNotFound, "organization"},
		{"over already", keystore.AdminTokenParams{Name: "x", Role: keystore.RoleOwner, ExpiresAt: clock.at}, keystore.CodeInvalid, "expires_at"},
	} {
		_, _, err := s.CreateAdminToken(t.Context(), by, tc.p)
		wantError(t, tc.what, err, tc.code, tc.param)
	}
	_, token, err := s.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "x", Role: keystore.RoleOwner})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.CreateOrganization(t.Context(), by, keystore.OrganizationParams{Name: "token " + token.Reveal()})
	wantError(t, "an admin token in a name", err, keystore.CodeInvalid, "name")
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	clock, backend := newClock(), keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: clock.now})
	a := &keystore.Answer{Caller: "admin_token:adm_1", Key: "k", Fingerprint: [32]byte{7}, Expires: clock.at.Add(time.Hour), Body: []byte(`{"token":"secret text"}`)}
	if err := s.SaveAnswer(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	check := func(when string, s *keystore.Store) {
		t.Helper()
		got, err := s.FindAnswer(t.Context(), a.Caller, a.Key)
		if err != nil || got == nil || string(got.Body) != string(a.Body) || got.Fingerprint != a.Fingerprint || !got.Expires.Equal(a.Expires) {
			t.Errorf("%s: found %+v, %v", when, got, err)
		}
		for _, other := range [][2]string{{"admin_token:adm_2", "k"}, {a.Caller, "k2"}, {"admin_token:adm_", "1k"}, {"", ""}} {
			if got, err := s.FindAnswer(t.Context(), other[0], other[1]); got != nil || err != nil {
				t.Errorf("%s: found another's: %+v, %v", when, got, err)
			}
		}
	}
	check("at once", s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept := func() (rows []keystore.KeptRow) {
		_ = backend.Reopen().LoadKept(t.Context(), func(r keystore.KeptRow) error {
			rows = append(rows, r)
			return nil
		})
		return rows
	}
	rows := kept()
	if len(rows) != 1 || bytes.Contains(rows[0].Data, []byte("secret text")) || strings.Contains(rows[0].ID, "adm_1") {
		t.Errorf("at rest there is %q", rows)
	}
	s = keystoretest.NewStore(t, keystore.Options{Backend: backend.Reopen(), Now: clock.now})
	check("after a restart", s)

	// moved to another place it does not open
	rows[0].Expires = rows[0].Expires.Add(time.Hour)
	if err := backend.Reopen().Keep(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := s.FindAnswer(t.Context(), a.Caller, a.Key); got != nil || err == nil {
		t.Errorf("an answer with another end: %+v, %v", got, err)
	}
	rows[0].Expires = a.Expires
	if err := backend.Reopen().Keep(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
	clock.at = a.Expires
	if got, err := s.FindAnswer(t.Context(), a.Caller, a.Key); got != nil || err != nil {
		t.Errorf("after its time: %+v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_ = keystoretest.NewStore(t, keystore.Options{Backend: backend.Reopen(), Now: clock.now})
	if rows := kept(); len(rows) != 0 {
		t.Errorf("%d answers outlive their time", len(rows))
	}
}

// TestClockAheadKeepsAnswers: a clock that is ahead for a while destroys no saved answer, also if the store is opened meanwhile; a call that is
// repeated is not made again. An answer is over once the clock has stayed there.
func TestClockAheadKeepsAnswers(t *testing.T) {
	t.Parallel()
	const ahead = 40 * 24 * time.Hour
	clock, backend, passed := newClock(), keystoretest.NewMemory(), time.Duration(0)
	o := keystore.Options{Backend: backend, Now: clock.now, Elapsed: func() time.Duration { return passed }}
	s := keystoretest.NewStore(t, o)
	if _, err := s.CreateOrganization(t.Context(), keystore.Actor{Kind: "admin", Name: "x"}, keystore.OrganizationParams{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	a := &keystore.Answer{Caller: "x", Key: "k", Expires: clock.at.Add(24 * time.Hour), Body: []byte("{}")}
	if err := s.SaveAnswer(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	check := func(when string, want bool) {
		t.Helper()
		if got, err := s.FindAnswer(t.Context(), a.Caller, a.Key); err != nil || (got != nil) != want {
			t.Errorf("%s: found %+v, %v", when, got, err)
		}
	}
	clock.at = clock.at.Add(ahead)
	check("ahead", true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Backend = backend.Reopen()
	s = keystoretest.NewStore(t, o)
	check("opened by a clock that is ahead", true)
	clock.at = clock.at.Add(-ahead)
	check("put right", true)
	clock.at = clock.at.Add(ahead)
	check("ahead again", true)
	clock.at, passed = clock.at.Add(time.Hour), passed+time.Hour
	check("stayed there", false)
}
