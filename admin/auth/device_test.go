package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// TestLockOutByOthers: whoever types wrong passwords for somebody else's address locks out the address, and not the browser in
// which its owner has signed in before, wherever that is now. The cookie of another member is worth nothing, nor one that is old
// or changed; and guesses with the cookie are counted like all others.
func TestLockOutByOthers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := keystoretest.NewStore(t, keystore.Options{Now: clock})
	sessions, err := auth.NewSessions(store, clock, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	right, wrong := policy.TokenFrom("correct horse battery"), policy.TokenFrom("not this one, surely")
	var joined *auth.Session
	join := func(email string) *http.Cookie {
		t.Helper()
		_, token, err := store.InviteMember(t.Context(), keystore.Actor{Kind: "system"}, keystore.MemberParams{
			Email: email, Grants: []keystore.Grant{{Role: keystore.RoleOwner}},
		}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := sessions.Accept(httptest.NewRequest("POST", "/v1/session", nil), auth.Accept{Invitation: token, Name: "x", Password: right})
		if err != nil {
			t.Fatal(err)
		}
		joined = s
		device, err := sessions.DeviceCookie(s)
		if err != nil {
			t.Fatal(err)
		}
		return device
	}
	other, jenny := join("other@example.com"), join("jenny@example.com")
	from := netip.MustParseAddr("198.51.100.1")
	signIn := func(password policy.Token, cookies ...*http.Cookie) string {
		t.Helper()
		from = from.Next() // each from elsewhere
		r := httptest.NewRequest("POST", "/v1/session", nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		_, _, err := sessions.SignIn(r.WithContext(auth.WithClient(r.Context(), auth.Client{Address: from})), auth.SignIn{Email: "jenny@example.com", Password: password})
		var refusal *auth.Refusal
		if errors.As(err, &refusal) {
			return refusal.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		return ""
	}
	for range 10 {
		signIn(wrong)
	}
	changed := *jenny
	if changed.Value = jenny.Value[:20] + "A" + jenny.Value[21:]; changed.Value == jenny.Value {
		changed.Value = jenny.Value[:20] + "B" + jenny.Value[21:]
	}
	for what, cookies := range map[string][]*http.Cookie{"no cookie": nil, "another member's": {other}, "a changed one": {&changed}, "two": {jenny, other}} {
		if code := signIn(right, cookies...); code != auth.CodeLocked {
			t.Errorf("with %s: %q, want to be locked out", what, code)
		}
	}
	if code := signIn(right, jenny); code != "" {
		t.Errorf("the owner's own browser: %q", code)
	}
	for range 10 {
		if code := signIn(wrong, jenny); code != auth.CodeCredentials {
			t.Errorf("a guess in that browser: %q", code)
		}
	}
	if code := signIn(right, jenny); code != auth.CodeLocked {
		t.Errorf("after ten guesses in that browser: %q", code)
	}
	now = now.Add(181 * 24 * time.Hour)
	for range 10 {
		signIn(wrong)
	}
	if code := signIn(right, jenny); code != auth.CodeLocked {
		t.Errorf("half a year later: %q", code)
	}
	// Whoever has known a password may have collected cookies with it.
	now = now.Add(24 * time.Hour)
	fresh, err := sessions.DeviceCookie(joined)
	if err != nil {
		t.Fatal(err)
	}
	next := policy.TokenFrom("another horse battery")
	if err := sessions.SetPassword(t.Context(), joined, right, next); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		signIn(wrong)
	}
	if code := signIn(next, fresh); code != auth.CodeLocked {
		t.Errorf("with a cookie from before the password was changed: %q", code)
	}
}
