package keystore

// The bounds of what one customer may have of what the installation has a bound for: whoever is limited to an account or an
// organization fills their own share, and nobody else's. An organization's share is for what is on it and on its accounts
// together. An account has as many webhook endpoints as the API that this is modelled on gives it.
const (
	MaxAccountMembers       = 500
	MaxOrganizationMembers  = 1000
	MaxAccountTokens        = 200
	MaxOrganizationTokens   = 500
	MaxAccountWebhooks      = 16
	MaxOrganizationWebhooks = 48
)

// share is what an account and an organization may have of something.
type share struct {
	noun                  string // in the plural
	account, organization int
}

var (
	memberShare  = share{"members", MaxAccountMembers, MaxOrganizationMembers}
	tokenShare   = share{"admin tokens", MaxAccountTokens, MaxOrganizationTokens}
	webhookShare = share{"webhook endpoints", MaxAccountWebhooks, MaxOrganizationWebhooks}
)

func (s share) fullAccount(n int) error {
	return conflict("", "the account has %d %s, more are not possible: delete those that nobody uses", n, s.noun)
}

func (s share) fullOrganization(n int) error {
	return conflict("", "the organization has %d %s together with its accounts, more are not possible: delete those that nobody uses", n, s.noun)
}

// roomFor refuses one more on an account or an organization whose share is full; what is on neither has no share. count counts
// what there is on what belongs says.
func (c *change) roomFor(s share, account, organization string, count func(belongs func(account, organization string) bool) int) error {
	if account != "" {
		n := count(func(a, _ string) bool { return a == account })
		if n >= s.account {
			return s.fullAccount(n)
		}
		if organization = c.organizationOf(account); organization == "" {
			return nil
		}
	}
	if organization == "" {
		return nil
	}
	n := count(func(a, o string) bool { return o == organization || a != "" && c.organizationOf(a) == organization })
	if n >= s.organization {
		return s.fullOrganization(n)
	}
	return nil
}

// organizationOf is the organization that an account belongs to, "" for none.
func (c *change) organizationOf(account string) string {
	if account == "" {
		return ""
	}
	staged := c.staged()
	if a, ok := staged.Account(account); ok {
		return a.Organization
	}
	return ""
}

// roomForGrants refuses a grant that is new to a member where the share of members is full. A member counts once, however many
// roles they have there. All is counted in one walk: a member may have a thousand grants.
func (c *change) roomForGrants(old *Member, grants []Grant) error {
	counts := map[string]int{} // of members by account and organization
	all := walkTable[*Member](c.txn, tableMembers, "")
	for m := all(); m != nil; m = all() {
		if old != nil && m.ID == old.ID {
			continue
		}
		on := map[string]bool{}
		for _, g := range m.Grants {
			for _, id := range []string{g.Account, g.Organization, c.organizationOf(g.Account)} {
				if id != "" && !on[id] {
					on[id] = true
					counts[id]++
				}
			}
		}
	}
	for _, g := range grants {
		if g.On() == "" || old != nil && holds(old, g.Account, g.Organization) {
			continue
		}
		if n := counts[g.Account]; g.Account != "" && n >= memberShare.account {
			return memberShare.fullAccount(n)
		}
		organization := g.Organization
		if g.Account != "" {
			organization = c.organizationOf(g.Account)
		}
		if n := counts[organization]; organization != "" && n >= memberShare.organization {
			return memberShare.fullOrganization(n)
		}
	}
	return nil
}

// holds says whether a member has a grant on the very same.
func holds(m *Member, account, organization string) bool {
	for _, g := range m.Grants {
		if g.Account == account && g.Organization == organization {
			return true
		}
	}
	return false
}
