package keystore

// The bounds of what one customer may have of what the installation has a bound for: whoever is limited to an account or an
// organization fills their own share, and nobody else's. An organization's share is for what is on it and on its accounts
// together.
const (
	MaxAccountMembers       = 500
	MaxOrganizationMembers  = 1000
	MaxAccountTokens        = 200
	MaxOrganizationTokens   = 500
	MaxAccountWebhooks      = 10
	MaxOrganizationWebhooks = 30
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

// roomFor refuses one more on an account or an organization whose share is full; what is on neither has no share. count counts
// what there is on what belongs says.
func (c *change) roomFor(s share, account, organization string, count func(belongs func(account, organization string) bool) int) error {
	if account != "" {
		n := count(func(a, _ string) bool { return a == account })
		if n >= s.account {
			return conflict("", "the account has %d %s, more are not possible: delete those that nobody uses", n, s.noun)
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
		return conflict("", "the organization has %d %s together with its accounts, more are not possible: delete those that nobody uses", n, s.noun)
	}
	return nil
}

// organizationOf is the organization that an account belongs to, "" for none.
func (c *change) organizationOf(account string) string {
	staged := Snapshot{txn: c.txn}
	if a, ok := staged.Account(account); ok {
		return a.Organization
	}
	return ""
}

// roomForGrants refuses a grant that is new to a member where the share of members is full. A member counts once, however many
// roles they have there.
func (c *change) roomForGrants(old *Member, grants []Grant) error {
	for _, g := range grants {
		if g.On() == "" || old != nil && holds(old, g.Account, g.Organization) {
			continue
		}
		err := c.roomFor(memberShare, g.Account, g.Organization, func(belongs func(account, organization string) bool) int {
			n := 0
			all := walkTable[*Member](c.txn, tableMembers, "")
			for m := all(); m != nil; m = all() {
				for _, has := range m.Grants {
					if (old == nil || m.ID != old.ID) && belongs(has.Account, has.Organization) {
						n++
						break
					}
				}
			}
			return n
		})
		if err != nil {
			return err
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
