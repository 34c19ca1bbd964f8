package pgstore_test

import (
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// TestFleetMembers: who is invited on one node can accept on another and sign in on a third; the session is good on all,
// and its end is in force on each that says so.
func TestFleetMembers(t *testing.T) {
	t.Parallel()
	nodes, ctx := fleet(t, 3), t.Context()
	invited, invitation, err := nodes[0].InviteMember(ctx, by, keystore.MemberParams{
		Email: "jenny@example.com", Grants: []keystore.Grant{{Role: keystore.RoleOwner}},
	}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	digest := invitation.Digest()
	reach(t, nodes[1], invited.Revision)
	m, err := nodes[1].AcceptInvitation(ctx, by, &digest, keystore.Acceptance{Name: "Jenny", Password: policy.TokenFrom("$argon2id$…")})
	if err != nil {
		t.Fatal(err)
	}
	session, token, err := nodes[2].CreateSession(ctx, by, keystore.SessionParams{Member: m.ID, Method: "password", Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cookie := token.Digest()
	for i, s := range nodes {
		reach(t, s, session.Revision)
		if found, ok := s.Snapshot().SessionByDigest(&cookie); !ok || found.Member != m.ID {
			t.Errorf("node %d does not know the session", i)
		}
		if found, ok := s.Snapshot().MemberByEmail("jenny@example.com"); !ok || !found.Active {
			t.Errorf("node %d does not know the member as active: %+v", i, found)
		}
	}
	if err := nodes[0].DeleteSession(ctx, by, session.ID); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes[0].WaitApplied(ctx, nodes[0].Snapshot().Revision(), waitLimit) {
		if !n.Applied {
			t.Errorf("node %s has not applied the end of the session in time", n.Node)
		}
	}
	for i, s := range nodes {
		if _, ok := s.Snapshot().SessionByDigest(&cookie); ok {
			t.Errorf("node %d still knows a session that has ended", i)
		}
	}
}
