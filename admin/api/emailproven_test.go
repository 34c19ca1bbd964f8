package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// mailbox takes the invitations that are mailed.
type mailbox struct {
	fails bool
	links []string
}

func (b *mailbox) send(_ context.Context, _ *keystore.Member, link policy.Token) error {
	b.links = append(b.links, link.Reveal())
	if b.fails {
		return errors.New("the mail server is away")
	}
	return nil
}

func (b *mailbox) token() string {
	_, token, _ := strings.Cut(b.links[len(b.links)-1], "#")
	return token
}

func (f *memberFixture) accept(token string) string {
	f.t.Helper()
	return cookieOf(f.ok("POST", "/v1/invitations/accept", map[string]any{"invitation": token, "name": "x", "password": testPassword}))
}

func (f *memberFixture) proven(id string, want bool) {
	f.t.Helper()
	if m := as[api.Member](f.ok("GET", "/v1/members/"+id, nil)); m.EmailProven != want {
		f.t.Errorf("email_proven of %s is %v, want %v", *m.Email, m.EmailProven, want)
	}
}

// TestSquattedAddress: who invites an address and takes the shown link themselves does not get what others grant to that
// address later.
func TestSquattedAddress(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	a, b := f.account("a"), f.account("b")
	on := func(role, account string) map[string]any { return map[string]any{"role": role, "account": account} }
	_, admin := f.member("admin@example.com", on("administrator", a.ID))
	_, other := f.member("other@example.com", on("administrator", b.ID))
	m, token := f.invite(map[string]any{"email": "boss@example.com", "grants": []any{on("viewer", a.ID)}}, "Cookie", admin)
	f.accept(token)
	f.proven(m.ID, false)

	more := map[string]any{"email": "boss@example.com", "grants": []any{on("viewer", b.ID)}}
	f.do("POST", "/v1/members", more).fails(409, "email_unproven", "email_unproven")
	f.do("POST", "/v1/members", more, "Cookie", other).fails(409, "email_unproven", "email_unproven")
	more["email_unproven"] = true
	f.ok("POST", "/v1/members", more, "Cookie", other)

	// Now nobody but the installation's owners answers for all that the member has.
	patch := map[string]any{"grants": []any{on("administrator", b.ID)}}
	f.do("PATCH", "/v1/members/"+m.ID, patch, f.verify(other, "update_member", m.ID, patch)...).fails(409, "email_unproven", "email_unproven")
	f.ok("PATCH", "/v1/members/"+m.ID, patch)
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{on("viewer", b.ID)}}, "Cookie", other) // less is no question
	patch["email_unproven"] = true
	f.ok("PATCH", "/v1/members/"+m.ID, patch, f.verify(other, "update_member", m.ID, patch)...)

	// A puppet's address is changed to the one that is waited for.
	puppet, token := f.invite(map[string]any{"email": "puppet@example.com", "grants": []any{on("viewer", a.ID)}}, "Cookie", admin)
	f.accept(token)
	chief := map[string]any{"email": "chief@example.com"}
	f.ok("PATCH", "/v1/members/"+puppet.ID, chief, f.verify(admin, "update_member", puppet.ID, chief)...)
	f.do("POST", "/v1/members", map[string]any{"email": "chief@example.com", "grants": []any{owner()}}).fails(409, "email_unproven", "email_unproven")
}

// TestEmailProven: an invitation that only the mailbox has seen proves the address, until it changes or a link is handed over.
func TestEmailProven(t *testing.T) {
	t.Parallel()
	var box mailbox
	f := newMemberFixture(t, func(c *api.Config) { c.Mail = box.send })
	invite := func(email string) api.Member {
		t.Helper()
		return as[api.Member](f.ok("POST", "/v1/members", map[string]any{"email": email, "grants": []any{map[string]any{"role": "viewer"}}}))
	}
	m := invite("jenny@example.com")
	if m.Invitation.SentTo == nil || m.Invitation.Link != "" {
		t.Fatalf("the invitation: %+v", m.Invitation.SentTo)
	}
	f.accept(box.token())
	f.proven(m.ID, true)
	f.ok("POST", "/v1/members", map[string]any{"email": "jenny@example.com", "grants": []any{map[string]any{"role": "developer", "account": f.account("a").ID}}})
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"name": "Jenny"})
	f.proven(m.ID, true)
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"email": "jenny@example.org"})
	f.proven(m.ID, false)

	// Where the mail does not go out the link is shown, and proves nothing; the one in the mail, if it comes after all, opens
	// nothing.
	box.fails = true
	renewed := f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil)
	f.do("POST", "/v1/invitations/accept", map[string]any{"invitation": box.token(), "name": "x", "password": testPassword}).fails(404, "invitation_invalid", "invitation")
	cookie := f.accept(linkToken(renewed))
	f.proven(m.ID, false)

	// A code that came by e-mail proves it too.
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{owner()}})
	grace := map[string]any{"email": "grace@example.com", "grants": []any{owner()}}
	f.ok("POST", "/v1/members", grace, f.verify(cookie, "invite_member", "", grace)...)
	f.proven(m.ID, true)
	f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil)
	f.proven(m.ID, true) // nobody has come by that link
}
