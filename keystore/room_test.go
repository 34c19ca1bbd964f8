package keystore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// TestShares: whoever is limited to an account or an organization fills their own share of members, admin tokens and webhook
// endpoints, and leaves the others theirs. An organization's share is for its accounts, too.
func TestShares(t *testing.T) {
	t.Parallel()
	s := keystoretest.NewStore(t, keystore.Options{})
	ctx, by := t.Context(), keystore.Actor{Kind: "test"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "org"})
	must(err)
	account := func(organization string) string {
		t.Helper()
		a, _, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "a", Organization: organization})
		must(err)
		return a.ID
	}
	emails := 0
	for _, kind := range []struct {
		noun                  string
		account, organization int
		make                  func(account, organization string) error
	}{
		{"members", keystore.MaxAccountMembers, keystore.MaxOrganizationMembers, func(account, organization string) error {
			emails++
			_, _, err := s.InviteMember(ctx, by, keystore.MemberParams{
				Email: fmt.Sprintf("%d@example.com", emails), Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: account, Organization: organization}},
			}, time.Hour)
			return err
		}},
		{"admin tokens", keystore.MaxAccountTokens, keystore.MaxOrganizationTokens, func(account, organization string) error {
			_, _, err := s.CreateAdminToken(ctx, by, keystore.AdminTokenParams{Name: "t", Role: keystore.RoleViewer, Account: account, Organization: organization})
			return err
		}},
		{"webhook endpoints", keystore.MaxAccountWebhooks, keystore.MaxOrganizationWebhooks, func(account, organization string) error {
			_, _, err := s.CreateWebhookEndpoint(ctx, by, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"*"}, Account: account, Organization: organization})
			return err
		}},
	} {
		full := func(account, organization, want string) {
			t.Helper()
			err := kind.make(account, organization)
			if keystore.CodeOf(err) != keystore.CodeConflict || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), kind.noun) {
				t.Errorf("%s of %s%s: %v, want %q", kind.noun, account, organization, err, want)
			}
		}
		alone, left := account(""), kind.organization
		for range kind.account {
			must(kind.make(alone, ""))
		}
		full(alone, "", fmt.Sprintf("the account has %d ", kind.account))
		for left > 1 {
			a := account(o.ID)
			for range min(kind.account, left-1) {
				must(kind.make(a, ""))
				left--
			}
		}
		must(kind.make("", o.ID))
		full("", o.ID, fmt.Sprintf("the organization has %d ", kind.organization))
		full(account(o.ID), "", fmt.Sprintf("the organization has %d ", kind.organization))
		must(kind.make(account(""), ""))
		if kind.noun != "members" { // an owner of the installation has no share, nor a viewer of it
			must(kind.make("", ""))
		}
	}
	// Who has a role there already is none more, whatever the role; somebody else's member is one more.
	rows, _, err := s.Snapshot().Members(keystore.Page{Limit: 1}, func(m *keystore.Member) bool { return m.Grants[0].Organization == o.ID })
	must(err)
	_, err = s.UpdateMember(ctx, by, rows[0].ID, keystore.MemberPatch{Grants: keystore.To([]keystore.Grant{{Role: keystore.RoleOwner, Organization: o.ID}})})
	must(err)
	rows, _, err = s.Snapshot().Members(keystore.Page{Limit: 1}, func(m *keystore.Member) bool {
		return m.Grants[0].Account != "" && !s.Directory().MemberOf(m.Grants[0].Account, o.ID)
	})
	must(err)
	_, err = s.UpdateMember(ctx, by, rows[0].ID, keystore.MemberPatch{Grants: keystore.To(append([]keystore.Grant{{Role: keystore.RoleViewer, Organization: o.ID}}, rows[0].Grants...))})
	if keystore.CodeOf(err) != keystore.CodeConflict {
		t.Errorf("one more member of a full organization: %v", err)
	}
}
