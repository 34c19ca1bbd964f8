package api_test

import (
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

// linkToken is the token of the link in an answer.
func linkToken(a *answer) string {
	a.t.Helper()
	m := as[api.Member](a)
	if m.Invitation == nil {
		a.t.Fatalf("%s: no invitation in the answer", a.call)
	}
	_, token, ok := strings.Cut(string(m.Invitation.Link), "#")
	if !ok {
		a.t.Fatalf("%s: the link is %q", a.call, string(m.Invitation.Link))
	}
	return token
}

// TestInvitationHoldsNoLaterGrants: who invites somebody to one account has the link in hand. What others grant that member
// later does not open with it: else the administrator of an account becomes the owner of the installation.
func TestInvitationHoldsNoLaterGrants(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	a, b := f.account("a"), f.account("b")
	_, cookie := f.member("admin@example.com", map[string]any{"role": "administrator", "account": a.ID})
	accept := func(token string) *answer {
		return f.do("POST", "/v1/invitations/accept", map[string]any{"invitation": token, "name": "x", "password": testPassword})
	}
	viewer := map[string]any{"role": "viewer", "account": a.ID}
	taken := func(email string) (string, string) {
		m, token := f.invite(map[string]any{"email": email, "grants": []any{viewer}}, "Cookie", cookie)
		return m.ID, token
	}

	_, old := taken("boss@example.com")
	invited := f.ok("POST", "/v1/members", map[string]any{"email": "boss@example.com", "grants": []any{owner()}})
	accept(old).fails(404, "invitation_invalid", "invitation")
	accept(linkToken(invited)).want(200)

	id, old := taken("chief@example.com")
	f.ok("PATCH", "/v1/members/"+id, map[string]any{"grants": []any{viewer, owner()}})
	accept(old).fails(404, "invitation_invalid", "invitation")

	// Who has come already is invited again, and then gets more.
	id, old = taken("late@example.com")
	accept(old).want(200)
	old = linkToken(f.ok("POST", "/v1/members/"+id+"/invitation", "{}", f.verify(cookie, "renew_invitation", id, map[string]any{})...))
	f.ok("POST", "/v1/members", map[string]any{"email": "late@example.com", "grants": []any{owner()}, "email_unproven": true})
	accept(old).fails(404, "invitation_invalid", "invitation")

	// Less is no reason to end an invitation, and others may not take one over.
	m, token := f.invite(map[string]any{"email": "less@example.com", "grants": []any{map[string]any{"role": "administrator", "account": b.ID}}})
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{map[string]any{"role": "viewer", "account": b.ID}}})
	more := map[string]any{"email": "less@example.com", "grants": []any{viewer}}
	f.do("POST", "/v1/members", more, f.verify(cookie, "invite_member", "", more)...).fails(409, "conflict", "email")
	accept(token).want(200)
}

// TestInvitationAgainAsksForACode: an invitation that is made anew on the way, for a member with more rights than those that
// are granted now, is no way around the code.
func TestInvitationAgainAsksForACode(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	f.invite(map[string]any{"email": "boss@example.com", "grants": []any{map[string]any{"role": "administrator"}}})
	more := map[string]any{"email": "boss@example.com", "grants": []any{map[string]any{"role": "viewer", "account": f.account("a").ID}}}
	f.do("POST", "/v1/members", more, "Cookie", cookie).fails(403, "verification_required", "Keystile-Verification")
	linkToken(f.ok("POST", "/v1/members", more, f.verify(cookie, "invite_member", "", more)...))
}
