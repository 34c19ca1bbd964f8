package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// TestManyRoles: of a member with many roles the form shows a part, and saves what it shows: the others stay.
func TestManyRoles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	grants := []keystore.Grant{{Role: keystore.RoleViewer, Organization: f.organization}}
	for range 30 {
		a, _, err := f.store.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		grants = append(grants, keystore.Grant{Role: keystore.RoleViewer, Account: a.ID})
	}
	m, _, err := f.store.InviteMember(t.Context(), by, keystore.MemberParams{Email: "m@example.com", Grants: grants}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	page := f.get("/members/"+m.ID+"?from=12").ok().has("Roles 13 to 24 of 31", "Previous", "Next")
	rows := strings.Split(page.body, `name="on" value="`)
	if len(rows) != 13 {
		t.Fatalf("%d rows, want 12", len(rows)-1)
	}
	gone, _, _ := strings.Cut(rows[1], `"`)
	fields := []string{"name", "Grace", "others", strings.ReplaceAll(valueIn(t, page.body, `name="others" value="`), "&#10;", "\n"), "role", "", "on", gone}
	for _, row := range rows[2:13] {
		on, _, _ := strings.Cut(row, `"`)
		fields = append(fields, "role", "developer", "on", on)
	}
	f.post("/members/"+m.ID, fields...).goesTo("/members/" + m.ID)
	now, _ := f.store.Snapshot().Member(m.ID)
	developers := 0
	for _, g := range now.Grants {
		if g.On() == gone {
			t.Error("the role that was taken away is there")
		}
		if g.Role == keystore.RoleDeveloper {
			developers++
		}
	}
	if len(now.Grants) != 30 || developers != 11 || now.Name != "Grace" {
		t.Errorf("%d roles, %d of them developer", len(now.Grants), developers)
	}
}
