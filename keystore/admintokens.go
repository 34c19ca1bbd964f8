package keystore

import (
	"context"

	"github.com/keystile/keystile/policy"
)

// MaxAdminTokens is how many admin tokens there may be.
const MaxAdminTokens = 10_000

// The events of admin tokens.
const (
	EventAdminTokenCreated EventType = "admin_token.created"
	EventAdminTokenDeleted EventType = "admin_token.deleted"
)

// CreateAdminToken makes an admin token. Its credential is in the answer and nowhere else, ever. That nobody makes one
// with more rights than their own is for the caller to see to: the store does not know what its actors may do.
func (s *Store) CreateAdminToken(ctx context.Context, by Actor, p AdminTokenParams) (*AdminToken, policy.Token, error) {
	var made *AdminToken
	var token policy.Token
	err := s.write(ctx, by, func(c *change) (err error) {
		if err := c.checkAdminToken(&p); err != nil {
			return err
		}
		made = &AdminToken{
			Name: p.Name, Role: p.Role, Organization: p.Organization, Account: p.Account,
			CreatedAt: c.now, CreatedBy: c.actor.label(), ExpiresAt: milliseconds(p.ExpiresAt), usage: new(usageCell),
		}
		if made.ID, err = c.newID(prefixAdminToken); err != nil {
			return err
		}
		if token, err = policy.GenerateAdminToken(s.tokens.rand); err != nil {
			return err
		}
		made.Mask, made.Digest = policy.MaskAdminToken(token.Reveal()), token.Digest()
		if err := c.putNewAdminToken(made); err != nil {
			return err
		}
		return c.event(EventAdminTokenCreated, made.ID, made.Account, made.Organization, nil, made.summary())
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}

func (c *change) checkAdminToken(p *AdminTokenParams) error {
	if err := checkName("name", p.Name); err != nil {
		return err
	}
	if _, known := ParseRole(string(p.Role)); !known {
		return invalid("role", "the role is owner, administrator, developer or viewer")
	}
	switch {
	case p.Organization != "" && p.Account != "":
		return invalid("account", "a token is limited to an organization or to an account, not to both")
	case p.Organization != "":
		if _, err := c.organization("organization", p.Organization); err != nil {
			return err
		}
	case p.Account != "":
		if _, err := c.account("account", p.Account); err != nil {
			return err
		}
	}
	if !p.ExpiresAt.IsZero() && !p.ExpiresAt.After(c.now) {
		return invalid("expires_at", "the end must be in the future")
	}
	count := func(belongs func(account, organization string) bool) int {
		n := 0
		next := walkTable[*AdminToken](c.txn, tableAdminTokens, "")
		for t := next(); t != nil; t = next() {
			if belongs(t.Account, t.Organization) {
				n++
			}
		}
		return n
	}
	if count(func(_, _ string) bool { return true }) >= MaxAdminTokens {
		return conflict("", "there are %d admin tokens, more are not possible: delete those that nobody uses", MaxAdminTokens)
	}
	return c.roomFor(tokenShare, p.Account, p.Organization, count)
}

func (c *change) putNewAdminToken(t *AdminToken) error {
	if _, taken := first[*AdminToken](c.txn, tableAdminTokens, indexDigest, &t.Digest); taken {
		return conflict("", "another admin token has this credential already") // broken randomness: fail closed
	}
	t.Revision = c.revision
	if err := t.checkStored(); err != nil {
		return err
	}
	return c.put(TableAdminToken, tableAdminTokens, t.ID, t, t.encode())
}

// DeleteAdminToken ends an admin token: no call that starts after this returns is accepted with it.
func (s *Store) DeleteAdminToken(ctx context.Context, by Actor, id string) error {
	return s.write(ctx, by, func(c *change) error {
		t, ok := first[*AdminToken](c.txn, tableAdminTokens, indexID, id)
		if !ok {
			return notFound("", "admin token", id)
		}
		if err := c.txn.Delete(tableAdminTokens, t); err != nil {
			return err
		}
		c.rows = append(c.rows, Row{Table: TableAdminToken, ID: t.ID})
		return c.event(EventAdminTokenDeleted, t.ID, t.Account, t.Organization, t.summary(), nil)
	})
}

func (t *AdminToken) summary() map[string]any {
	m := map[string]any{"name": t.Name, "role": string(t.Role), "token_masked": t.Mask}
	putText(m, "organization", t.Organization)
	putText(m, "account", t.Account)
	putTime(m, "expires_at", t.ExpiresAt)
	return m
}
