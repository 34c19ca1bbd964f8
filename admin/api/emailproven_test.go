package api_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

	// To name the member by id is to have seen the address, and no more: nobody is spared the question, whatever they own.
	patch := map[string]any{"grants": []any{on("administrator", b.ID)}}
	f.do("PATCH", "/v1/members/"+m.ID, patch, f.verify(other, "update_member", m.ID, patch)...).fails(409, "email_unproven", "email_unproven")
	f.do("PATCH", "/v1/members/"+m.ID, patch).fails(409, "email_unproven", "email_unproven")
	f.do("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{owner()}}).fails(409, "email_unproven", "email_unproven")
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
	f.ok("PATCH", "/v1/members/"+m.ID, map[string]any{"grants": []any{owner()}, "email_unproven": true})
	grace := map[string]any{"email": "grace@example.com", "grants": []any{owner()}}
	f.ok("POST", "/v1/members", grace, f.verify(cookie, "invite_member", "", grace)...)
	f.proven(m.ID, true)
	f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil)
	f.proven(m.ID, true) // nobody has come by that link
}

// TestInvitationMails: nobody fills a mailbox with invitations, and nobody sends them by the hundred for one account.
func TestInvitationMails(t *testing.T) {
	t.Parallel()
	var box mailbox
	f := newMemberFixture(t, func(c *api.Config) { c.Mail = box.send })
	a := f.account("a")
	viewer := map[string]any{"role": "viewer", "account": a.ID}
	invite := func(email string, headers ...string) *answer {
		return f.do("POST", "/v1/members", map[string]any{"email": email, "grants": []any{viewer}}, headers...)
	}
	m := as[api.Member](invite("jenny@example.com"))
	for range 4 {
		f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil)
	}
	token := box.token()
	refused := f.do("POST", "/v1/members/"+m.ID+"/invitation", nil, "Idempotency-Key", "again")
	refused.fails(429, "rate_limit", "")
	if refused.header.Get("Retry-After") != "86400" || len(box.links) != 5 {
		t.Errorf("Retry-After %q after %d mails", refused.header.Get("Retry-After"), len(box.links))
	}
	f.ok("DELETE", "/v1/members/"+m.ID, nil)
	invite("Jenny@example.com").fails(429, "rate_limit", "")
	f.do("POST", "/v1/invitations/accept", map[string]any{"invitation": token, "name": "x", "password": testPassword}).fails(404, "invitation_invalid", "invitation")
	f.advance(24 * time.Hour)
	m = as[api.Member](invite("jenny@example.com").want(200))
	f.ok("POST", "/v1/members/"+m.ID+"/invitation", nil, "Idempotency-Key", "again") // the refusal did not use the key up

	admin := map[string]any{"role": "administrator", "account": a.ID}
	f.ok("POST", "/v1/members", map[string]any{"email": "admin@example.com", "grants": []any{admin}})
	cookie := f.accept(box.token())
	sent := len(box.links)
	for i := range 100 {
		invite(fmt.Sprintf("m%d@example.com", i), "Cookie", cookie).want(200)
	}
	invite("more@example.com", "Cookie", cookie).fails(429, "rate_limit", "")
	if len(box.links) != sent+100 {
		t.Errorf("%d mails for one account, want 100", len(box.links)-sent)
	}
	invite("more@example.com").want(200)
}
