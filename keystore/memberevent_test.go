package keystore_test

import (
	"testing"

	"github.com/keystile/keystile/keystore"
)

// TestEventOfTwoPlaces: a change that takes a member from one place to another is not told to who is limited to one of them:
// it would name the other.
func TestEventOfTwoPlaces(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	var on []keystore.Grant
	for _, name := range []string{"a", "b"} {
		account, _, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		on = append(on, keystore.Grant{Role: keystore.RoleViewer, Account: account.ID})
	}
	m := mustMember(t, s, "jenny@example.com", on[0], on[1])
	stronger := keystore.Grant{Role: keystore.RoleDeveloper, Account: on[0].Account}
	for _, step := range []struct {
		grants []keystore.Grant
		about  string
	}{
		{on[:1], ""}, // it had both
		{[]keystore.Grant{stronger}, on[0].Account},
		{on[1:], ""},
	} {
		if _, err := s.UpdateMember(t.Context(), by, m.ID, keystore.MemberPatch{Grants: keystore.To(step.grants)}); err != nil {
			t.Fatal(err)
		}
		trail, err := s.Events(t.Context(), &keystore.EventFilter{Type: "member.updated"}, keystore.Page{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if e := trail.Events[0]; e.Account != step.about {
			t.Errorf("the event of %v is about '%s', want '%s'", step.grants, e.Account, step.about)
		}
	}
}
