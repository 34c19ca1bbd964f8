package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// How many invitations are mailed in a day: to one address, whoever asks for it; for all who act for one account or
// organization together; and for one caller without a limit. Mailboxes of strangers are not ours to fill.
const (
	mailsToAddress = 5
	mailsOfOwner   = 100
	mailsOfCaller  = 1000
	mailsTime      = 24 * time.Hour
)

// mails says whether invitations to an address are sent there.
func (c *call) mails(email string) bool {
	return c.api.Mail != nil && c.api.SiteURL() != "" && email != ""
}

// viewInvited sends the link, or shows it to who invites: never both, since who accepts one that was sent has shown that the
// address is theirs.
func (c *call) viewInvited(ctx context.Context, m *keystore.Member, token policy.Token) (Member, error) {
	site := c.api.SiteURL()
	sent := false
	if m.Mailed {
		err := errors.New("no site has a dashboard any more")
		if site != "" {
			err = c.api.Mail(ctx, m, policy.TokenFrom(auth.InvitationLink(site, token)))
		}
		if sent = err == nil; !sent {
			c.api.Logger.Warn("sending an invitation by e-mail", zap.String("member", m.ID), zap.Error(err))
			if m, token, err = c.api.Store.RenewInvitation(ctx, c.actor, m.ID, m.Revision, auth.InvitationLifetime, false); err != nil {
				return Member{}, err
			}
		}
	}
	c.revision = m.Revision
	out := c.viewMember(m)
	out.Invitation = &Invitation{ExpiresAt: *stamp(m.InvitedUntil)}
	if sent {
		out.Invitation.SentTo = some(m.Email)
		return out, nil
	}
	if site != "" {
		out.Invitation.Link = Token(auth.InvitationLink(site, token))
	} else {
		out.Invitation.Token = Token(token.Reveal())
	}
	return out, nil
}

// countMail counts an invitation that will be mailed to an address, before anything is done, and refuses one too many.
func (c *call) countMail(ctx context.Context, email string) error {
	if !c.mails(email) {
		return nil
	}
	by, most := c.actor.Kind+":"+c.actor.ID, uint32(mailsOfCaller)
	if c.caller.Limited() {
		by, most = c.caller.Scope().String(), mailsOfOwner
	}
	for _, limit := range []struct {
		name string
		most uint32
	}{
		{"invitations mailed for " + by, most}, // first: it bounds how many addresses are counted
		{"invitations mailed to " + keystore.NormalEmail(email), mailsToAddress},
	} {
		within, err := c.api.Store.Count(ctx, limit.name, limit.most, c.now.Add(mailsTime))
		if err != nil {
			return err
		}
		if !within {
			return c.told(&auth.Refusal{
				Status: http.StatusTooManyRequests, Code: auth.CodeLocked, RetryAfter: mailsTime,
				Message: "too many invitations were sent by e-mail today: try again tomorrow",
			})
		}
	}
	return nil
}

// renew invites a member again whom the caller commands, as they are: who has got a grant meanwhile is judged anew.
func (c *call) renew(ctx context.Context, m *keystore.Member) (Member, error) {
	m, token, err := c.api.Store.RenewInvitation(ctx, c.actor, m.ID, m.Revision, auth.InvitationLifetime, c.mails(m.Email))
	if err != nil {
		return Member{}, err
	}
	return c.viewInvited(ctx, m, token)
}
