package auth_test

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// TestTriesAtOnce: of many guesses that come at the same time no more are looked at than one after the other would be, and
// what was not looked at does not count.
func TestTriesAtOnce(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var later atomic.Int64
	clock := func() time.Time { return now.Add(time.Duration(later.Load())) }
	store := keystoretest.NewStore(t, keystore.Options{Now: clock})
	sessions, err := auth.NewSessions(store, clock, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := store.InviteMember(t.Context(), keystore.Actor{Kind: "system"}, keystore.MemberParams{
		Email: "jenny@example.com", Grants: []keystore.Grant{{Role: keystore.RoleOwner}},
	}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	password := policy.TokenFrom("correct horse battery")
	r := httptest.NewRequest("POST", "/v1/session", nil)
	own, _, err := sessions.Accept(r, auth.Accept{Invitation: token, Name: "Jenny", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	codes := func(try func(from netip.Addr) error) map[string]int {
		var mu sync.Mutex
		var all sync.WaitGroup
		counts := make(map[string]int)
		from := netip.MustParseAddr("198.51.100.1")
		for range 30 {
			from = from.Next()
			address := from
			all.Go(func() {
				var refusal *auth.Refusal
				if err := try(address); !errors.As(err, &refusal) {
					t.Errorf("a wrong password got %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				counts[refusal.Code]++
			})
		}
		all.Wait()
		return counts
	}
	wrong := policy.TokenFrom("not this one, surely")
	signIn := func(from netip.Addr, password policy.Token) error {
		r := r.WithContext(auth.WithClient(r.Context(), auth.Client{Address: from}))
		_, _, err := sessions.SignIn(r, auth.SignIn{Email: "jenny@example.com", Password: password})
		return err
	}
	if got := codes(func(from netip.Addr) error { return signIn(from, wrong) }); got[auth.CodeCredentials] > 10 || got[auth.CodeLocked] < 20 {
		t.Errorf("signing in: %v, want at most 10 tries looked at", got)
	}
	if got := codes(func(netip.Addr) error { return sessions.SetPassword(t.Context(), own, wrong, password) }); got[auth.CodeCredentials] > 10 || got[auth.CodeLocked] < 20 {
		t.Errorf("changing the password: %v, want at most 10 tries looked at", got)
	}
	later.Store(int64(time.Hour))
	for range 12 { // what has succeeded does not count
		if err := signIn(netip.MustParseAddr("192.0.2.1"), password); err != nil {
			t.Fatal(err)
		}
	}
}
