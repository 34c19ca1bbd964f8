package keystore_test

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

func mustInvite(t testing.TB, s *keystore.Store, email string, grants ...keystore.Grant) (*keystore.Member, policy.Token) {
	t.Helper()
	m, token, err := s.InviteMember(t.Context(), by, keystore.MemberParams{Email: email, Grants: grants}, time.Hour)
	if err != nil {
		t.Fatalf("inviting %s: %v", email, err)
	}
	return m, token
}

func mustMember(t testing.TB, s *keystore.Store, email string, grants ...keystore.Grant) *keystore.Member {
	t.Helper()
	_, token := mustInvite(t, s, email, grants...)
	digest := token.Digest()
	m, err := s.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: email, Password: policy.TokenFrom("the hash of " + email)})
	if err != nil {
		t.Fatalf("accepting: %v", err)
	}
	return m
}

var ownerGrant = keystore.Grant{Role: keystore.RoleOwner}

func TestMemberErrors(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	mustInvite(t, s, "taken@example.com", ownerGrant)
	trail := len(events(t, backend))
	good := keystore.MemberParams{Name: "Ada", Email: "ada@example.com", Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: a.ID}}}
	for _, tc := range []struct {
		name  string
		set   func(*keystore.MemberParams)
		code  keystore.Code
		param string
	}{
		{"no address", func(p *keystore.MemberParams) { p.Email = "" }, keystore.CodeMissing, "email"},
		{"no at", func(p *keystore.MemberParams) { p.Email = "ada.example.com" }, keystore.CodeInvalid, "email"},
		{"two at", func(p *keystore.MemberParams) { p.Email = "a@b@example.com" }, keystore.CodeInvalid, "email"},
		{"no dot", func(p *keystore.MemberParams) { p.Email = "ada@example" }, keystore.CodeInvalid, "email"},
		{"a line", func(p *keystore.MemberParams) { p.Email = "ada@example.com\r\nBcc: x@example.com" }, keystore.CodeInvalid, "email"},
		{"two addresses", func(p *keystore.MemberParams) { p.Email = "ada@example.com,bob@example.com" }, keystore.CodeInvalid, "email"},
		{"long", func(p *keystore.MemberParams) { p.Email = strings.Repeat("x", 250) + "@example.com" }, keystore.CodeInvalid, "email"},
		{"taken, in capitals", func(p *keystore.MemberParams) { p.Email = " TAKEN@example.com" }, keystore.CodeConflict, "email"},
		{"a name that hides", func(p *keystore.MemberParams) { p.Name = "a\u202eb" }, keystore.CodeInvalid, "name"},
		{"no grant", func(p *keystore.MemberParams) { p.Grants = nil }, keystore.CodeMissing, "grants"},
		{"unknown role", func(p *keystore.MemberParams) { p.Grants[0].Role = "root" }, keystore.CodeInvalid, "grants[0].role"},
		{"on two", func(p *keystore.MemberParams) { p.Grants[0].Organization = "org_1" }, keystore.CodeInvalid, "grants[0].account"},
		{"unknown account", func(p *keystore.MemberParams) { p.Grants[0].Account = "acct_none" }, keystore.CodeNotFound, "grants[0].account"},
		{"twice", func(p *keystore.MemberParams) { p.Grants = append(p.Grants, p.Grants[0]) }, keystore.CodeInvalid, "grants[1]"},
		{"too many", func(p *keystore.MemberParams) { p.Grants = make([]keystore.Grant, keystore.MaxMemberGrants+1) }, keystore.CodeInvalid, "grants"},
	} {
		p := good
		p.Grants = slices.Clone(good.Grants)
		tc.set(&p)
		_, _, err := s.InviteMember(t.Context(), by, p, time.Hour)
		wantError(t, tc.name, err, tc.code, tc.param)
	}
	if got := len(events(t, backend)); got != trail {
		t.Errorf("%d events, want %d: refused ones are none", got, trail)
	}
}

// TestMemberLife: what is known of a member outlives a restart, changes are events without secrets, and nothing that opens a
// door is in the backend in clear.
func TestMemberLife(t *testing.T) {
	t.Parallel()
	s, backend, clock := newStore(t)
	m, invitation := mustInvite(t, s, "ada@example.com", ownerGrant)
	clock.at = clock.at.Add(time.Hour)
	late := invitation.Digest()
	_, err := s.AcceptInvitation(t.Context(), by, &late, keystore.Acceptance{Name: "Ada", Password: policy.TokenFrom("x")})
	wantError(t, "an invitation that is over", err, keystore.CodeNotFound, "")
	_, invitation, err = s.RenewInvitation(t.Context(), by, m.ID, 0, time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	digest := invitation.Digest()
	password, app := policy.TokenFrom("$argon2id$hash-of-a-password"), policy.TokenFrom("JBSWY3DPEHPK3PXP")
	if _, err := s.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: "Ada", Email: "eve@example.com", Password: password}); err == nil {
		t.Error("the invitation took another address")
	}
	if m, err = s.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: "Ada", Password: password}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: "Eve", Password: password}); err == nil {
		t.Error("the invitation opened twice")
	}
	session, cookie, err := s.CreateSession(t.Context(), by, keystore.SessionParams{Member: m.ID, Method: keystore.SignInPassword, Lifetime: 24 * time.Hour, UserAgent: "x\x00y"})
	if err != nil || session.UserAgent != "xy" {
		t.Fatalf("%+v, %v", session, err)
	}
	recovery := []policy.Digest{policy.DigestOf("r1"), policy.DigestOf("r2")}
	if err := s.EnrollTOTP(t.Context(), by, m.ID, app, recovery, session.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.UseRecoveryCode(t.Context(), by, m.ID, recovery[0]); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a used recovery code", s.UseRecoveryCode(t.Context(), by, m.ID, recovery[0]), keystore.CodeInvalid, "recovery_code")
	wantEvents(t, backend, keystore.EventMemberJoined, keystore.EventSessionCreated, keystore.EventMemberTOTPEnrolled, keystore.EventMemberRecoveryCodeUsed)
	at := clock.at.Add(10 * time.Minute)
	s.TouchSession(t.Context(), session, at, netip.MustParseAddr("192.0.2.7"))
	if err := s.KeepSecret(t.Context(), "something", clock.at.Add(time.Hour), []byte("a kept secret")); err != nil {
		t.Fatal(err)
	}

	secrets := []string{
		invitation.Reveal(), cookie.Reveal(), password.Reveal(), app.Reveal(), "a kept secret",
		string(recovery[1][:]), // in a sealed list only
	}
	again := backend.Reopen()
	look := func(what string, data []byte) {
		for _, secret := range secrets {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds a secret", what)
			}
		}
	}
	if _, err := again.Load(t.Context(), func(r keystore.Row) error { look(r.Table.String(), r.Data); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := again.LoadKept(t.Context(), func(r keystore.KeptRow) error { look(r.ID, r.Data); return nil }); err != nil {
		t.Fatal(err)
	}
	err = again.Events(t.Context(), 1, 1<<62, false, func(e keystore.EventRow) error { look("an event", e.Body); return nil })
	if err != nil {
		t.Fatal(err)
	}

	s2 := keystoretest.NewStore(t, keystore.Options{Backend: again, Now: clock.now})
	v := s2.Snapshot()
	m2, ok := v.MemberByEmail("ADA@example.com")
	if !ok || m2.ID != m.ID || !m2.Active || !m2.HasTOTP || m2.Recovery != 1 || m2.Name != "Ada" || !m2.Owner() {
		t.Fatalf("after a restart: %+v", m2)
	}
	creds, err := s2.MemberCredentials(m2)
	if err != nil || creds.Password.Reveal() != password.Reveal() || creds.TOTP.Reveal() != app.Reveal() || len(creds.Recovery) != 1 {
		t.Errorf("credentials after a restart: %v, %v", creds, err)
	}
	digest = cookie.Digest()
	session2, ok := v.SessionByDigest(&digest)
	if !ok || session2.ID != session.ID || !session2.LastSeen().At.Equal(at) || session2.LastSeen().Address.String() != "192.0.2.7" {
		t.Errorf("the session after a restart: %+v", session2)
	}
	if plain, err := s2.KeptSecret(t.Context(), "something"); err != nil || string(plain) != "a kept secret" {
		t.Errorf("what was kept: %q, %v", plain, err)
	}
	clock.at = clock.at.Add(time.Hour)
	if plain, err := s2.KeptSecret(t.Context(), "something"); err != nil || plain != nil {
		t.Errorf("after its end: %q, %v", plain, err)
	}
	// moved to another name it does not open
	clock.at = clock.at.Add(-time.Hour)
	row, err := again.Kept(t.Context(), "secret something")
	if err != nil || row == nil {
		t.Fatal(err)
	}
	row.ID = "secret else"
	if err := again.Keep(t.Context(), []keystore.KeptRow{*row}, nil); err != nil {
		t.Fatal(err)
	}
	if plain, err := s2.KeptSecret(t.Context(), "else"); err == nil {
		t.Errorf("a moved secret opens: %q", plain)
	}
}

// TestMembersEnd: the last owner stays, and what ends a member's rights ends their sessions.
func TestMembersEnd(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	one := mustMember(t, s, "one@example.com", ownerGrant)
	mustInvite(t, s, "invited@example.com", ownerGrant) // counts for nothing yet
	viewer := []keystore.Grant{{Role: keystore.RoleViewer, Account: a.ID}}
	_, err := s.UpdateMember(t.Context(), by, one.ID, keystore.MemberPatch{Grants: keystore.To(viewer)})
	wantError(t, "demoting the last owner", err, keystore.CodeConflict, "")
	wantError(t, "deleting the last owner", s.DeleteMember(t.Context(), by, one.ID), keystore.CodeConflict, "")
	two := mustMember(t, s, "two@example.com", ownerGrant)
	session, _, err := s.CreateSession(t.Context(), by, keystore.SessionParams{Member: one.ID, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMember(t.Context(), by, one.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Snapshot().Session(session.ID); ok {
		t.Error("the session of a deleted member is there")
	}
	wantEvents(t, backend, keystore.EventSessionDeleted, keystore.EventMemberDeleted)
	var sessions []*keystore.Session
	for range keystore.MaxMemberSessions + 3 {
		session, _, err := s.CreateSession(t.Context(), by, keystore.SessionParams{Member: two.ID, Lifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	if got := s.Snapshot().Sessions(two.ID); len(got) != keystore.MaxMemberSessions || got[0].ID != sessions[len(sessions)-1].ID {
		t.Errorf("%d sessions", len(got))
	}
	if err := s.SetPassword(t.Context(), by, two.ID, policy.TokenFrom("new"), sessions[len(sessions)-1].ID); err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot().Sessions(two.ID); len(got) != 1 {
		t.Errorf("%d sessions after a new password", len(got))
	}
}

// TestLedger: of many at the same time, on several nodes, no more get through than may.
func TestLedger(t *testing.T) {
	t.Parallel()
	s, backend, clock := newStore(t)
	other := keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: clock.now})
	var wait sync.WaitGroup
	var through atomic.Int32
	for i := range 40 {
		wait.Go(func() {
			node := s
			if i%2 == 1 {
				node = other
			}
			ok, err := node.Count(t.Context(), "tries", 5, clock.at.Add(time.Minute))
			if err != nil {
				t.Error(err)
			}
			if ok {
				through.Add(1)
			}
		})
	}
	wait.Wait()
	if through.Load() != 5 {
		t.Errorf("%d got through, want 5", through.Load())
	}
	if ok, err := s.Count(t.Context(), "others", 1, clock.at.Add(time.Minute)); !ok || err != nil {
		t.Errorf("another name: %v, %v", ok, err)
	}
	clock.at = clock.at.Add(time.Minute)
	if ok, err := s.Count(t.Context(), "tries", 5, clock.at.Add(time.Minute)); !ok || err != nil {
		t.Errorf("after the end: %v, %v", ok, err)
	}
	if ok, _ := s.Count(t.Context(), "never", 0, clock.at.Add(time.Minute)); ok {
		t.Error("none may, and one got through")
	}
}
