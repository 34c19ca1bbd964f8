package auth_test

import (
	"errors"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	store := keystoretest.NewStore(t, keystore.Options{Now: clock})
	by := keystore.Actor{Kind: "system"}
	made, token, err := store.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{
		Name: "ci", Role: keystore.RoleDeveloper, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	good := token.Reveal()
	tokens := &auth.Tokens{Store: store, Now: clock}
	from := netip.MustParseAddr("192.0.2.1")
	try := func(lines ...string) (*auth.Caller, string, bool) {
		t.Helper()
		r := httptest.NewRequest("GET", "/v1/keys?token="+good, nil)
		for _, line := range lines {
			r.Header.Add("Authorization", line)
		}
		c, err := tokens.Caller(r, from)
		if err == nil {
			return c, "", false
		}
		var refusal *auth.Refusal
		if !errors.As(err, &refusal) || refusal.Status != 401 || strings.Contains(refusal.Error(), good[4:]) {
			t.Errorf("%q: refused with %v", lines, err)
			return nil, "", false
		}
		return nil, refusal.Code, refusal.Guess
	}
	for _, test := range []struct {
		lines []string
		code  string
		guess bool
	}{
		{nil, auth.CodeRequired, false},
		{[]string{"Bearer " + good}, "", false},
		{[]string{"bEARER  " + good}, "", false},
		{[]string{"Bearer " + good, "Bearer " + good}, auth.CodeInvalid, true},
		{[]string{"Bearer " + good + ", Bearer x"}, auth.CodeInvalid, true},
		{[]string{"Basic " + good}, auth.CodeInvalid, true},
		{[]string{good}, auth.CodeInvalid, true},
		{[]string{""}, auth.CodeInvalid, true},
		{[]string{"Bearer "}, auth.CodeInvalid, true},
		{[]string{"Bearer " + made.ID}, auth.CodeInvalid, true},
		{[]string{"Bearer " + good[:41]}, auth.CodeInvalid, true},
		{[]string{"Bearer " + strings.Repeat("x", 1<<16)}, auth.CodeInvalid, true},
	} {
		if _, code, guess := try(test.lines...); code != test.code || guess != test.guess {
			t.Errorf("%.60q: %q, guess %v; want %q, %v", test.lines, code, guess, test.code, test.guess)
		}
	}
	c, _, _ := try("Bearer " + good)
	if c == nil || c.Actor != (keystore.Actor{Kind: "admin_token", ID: made.ID, Name: "ci", Address: "192.0.2.1"}) || c.Role != keystore.RoleDeveloper || !c.Still() {
		t.Fatalf("caller %+v", c)
	}
	now = now.Add(time.Hour)
	if _, code, guess := try("Bearer " + good); code != auth.CodeExpired || guess || c.Still() {
		t.Errorf("at its end: %q, guess %v, still %v", code, guess, c.Still())
	}
	now = now.Add(-time.Second)
	if !c.Still() {
		t.Error("before its end it is over")
	}
	if err := store.DeleteAdminToken(t.Context(), by, made.ID); err != nil {
		t.Fatal(err)
	}
	if _, code, _ := try("Bearer " + good); code != auth.CodeInvalid || c.Still() {
		t.Errorf("deleted: %q, still %v", code, c.Still())
	}
}

// TestFailsClosed: what nobody has decided is refused, for everybody but root.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	owner := &auth.Caller{Role: keystore.RoleOwner}
	for what, err := range map[string]error{
		"a call that is not in the table": owner.May("drop_everything"),
		"no role":                         new(auth.Caller).May("list_keys"),
		"an unknown role":                 (&auth.Caller{Role: "root"}).May("list_keys"),
		"granting without a role":         new(auth.Caller).MayGrant(keystore.RoleViewer, "", ""),
		"granting an unknown role":        owner.MayGrant("root", "", ""),
	} {
		var refusal *auth.Refusal
		if !errors.As(err, &refusal) || refusal.Status != 403 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if new(auth.Caller).Still() || new(auth.Caller).SeesTokens() || new(auth.Caller).Covers(nil, "acct_1", "") {
		t.Error("the zero caller may do something")
	}
	root := auth.Root(keystore.Actor{Kind: "local"})
	if err := root.May("drop_everything"); err != nil || !root.Still() || !root.SeesTokens() || root.Limited() {
		t.Errorf("root: %v", err)
	}
}

// TestGrants: nobody hands on more than they have.
func TestGrants(t *testing.T) {
	t.Parallel()
	all := []keystore.Role{keystore.RoleViewer, keystore.RoleDeveloper, keystore.RoleAdministrator, keystore.RoleOwner}
	for _, mine := range all {
		for _, given := range all {
			for _, limits := range []struct {
				org, acct           string // the caller's
				grantOrg, grantAcct string
				ok                  bool
			}{
				{"", "", "", "", true}, {"", "", "org_1", "", true}, {"", "", "", "acct_1", true},
				{"org_1", "", "", "", false}, {"org_1", "", "org_1", "", true}, {"org_1", "", "", "acct_1", true},
				{"", "acct_1", "", "", false}, {"", "acct_1", "org_1", "", false}, {"", "acct_1", "", "acct_1", true},
			} {
				c := &auth.Caller{Role: mine, Organization: limits.org, Account: limits.acct}
				want := mine.Includes(given) && limits.ok
				if err := c.MayGrant(given, limits.grantOrg, limits.grantAcct); (err == nil) != want {
					t.Errorf("%s grants %s with %+v: %v", mine, given, limits, err)
				}
			}
		}
	}
	end := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c := &auth.Caller{Role: keystore.RoleOwner, ExpiresAt: end}
	for at, want := range map[time.Time]bool{{}: false, end: true, end.Add(time.Second): false, end.Add(-time.Second): true} {
		if err := c.MayLast(at); (err == nil) != want {
			t.Errorf("a token that ends at %v by one that ends at %v: %v", at, end, err)
		}
	}
	if err := (&auth.Caller{Role: keystore.RoleOwner}).MayLast(time.Time{}); err != nil {
		t.Errorf("a token without an end: %v", err)
	}
}
