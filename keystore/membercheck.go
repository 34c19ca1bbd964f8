package keystore

import (
	"errors"
	"fmt"
)

func (c *change) member(id string) (*Member, error) {
	if m, ok := first[*Member](c.txn, tableMembers, indexID, id); ok {
		return m, nil
	}
	return nil, notFound("", "member", id)
}

func (c *change) putMember(m *Member) error {
	m.Revision = c.revision
	if err := m.checkStored(); err != nil {
		return fmt.Errorf("refusing to store %s: %w", m.ID, err)
	}
	return c.put(TableMember, tableMembers, m.ID, m, m.encode())
}

// memberEvent is an event about a member. Who is limited to one account or organization sees it if that is all that the
// member has to do with.
func (c *change) memberEvent(t EventType, object string, m *Member, before, after map[string]any) error {
	account, organization := "", ""
	if m != nil && len(m.Grants) == 1 {
		account, organization = m.Grants[0].Account, m.Grants[0].Organization
	}
	return c.event(t, object, account, organization, before, after)
}

func (c *change) checkNewEmail(email, id string) error {
	if err := checkEmail("email", email); err != nil {
		return err
	}
	if other, taken := c.staged().MemberByEmail(email); taken && other.ID != id {
		return conflict("email", "another member has this e-mail address")
	}
	return nil
}

// checkGrants checks grants and answers them in order.
func (c *change) checkGrants(grants []Grant) ([]Grant, error) {
	if len(grants) == 0 {
		return nil, missing("grants", "give at least one grant: a role, and the organization or account that it is on")
	}
	if len(grants) > MaxMemberGrants {
		return nil, invalid("grants", "there are %d grants, at most %d are allowed", len(grants), MaxMemberGrants)
	}
	seen := make(map[string]bool)
	for i, g := range grants {
		param := fmt.Sprintf("grants[%d]", i)
		if _, known := ParseRole(string(g.Role)); !known {
			return nil, invalid(param+".role", "the role is owner, administrator, developer or viewer")
		}
		switch {
		case g.Organization != "" && g.Account != "":
			return nil, invalid(param+".account", "a grant is on an organization or on an account, not on both")
		case g.Organization != "":
			if _, err := c.organization(param+".organization", g.Organization); err != nil {
				return nil, err
			}
		case g.Account != "":
			if _, err := c.account(param+".account", g.Account); err != nil {
				return nil, err
			}
		}
		if seen[g.On()] {
			return nil, invalid(param, "there are two grants on the same; give the stronger one")
		}
		seen[g.On()] = true
	}
	return sortGrants(grants), nil
}

// keepsOwner refuses a change after which nobody owns the installation who does now. next is nil for a deletion.
func (c *change) keepsOwner(old, next *Member) error {
	if !old.Active || !old.Owner() || next != nil && next.Owner() {
		return nil
	}
	all := walkTable[*Member](c.txn, tableMembers, "")
	for m := all(); m != nil; m = all() {
		if m.ID != old.ID && m.Active && m.Owner() {
			return nil
		}
	}
	return conflict("", "this is the last owner of the installation: make another member an owner first")
}

func (c *change) roomForMember() error {
	count := 0
	all := walkTable[*Member](c.txn, tableMembers, "")
	for m := all(); m != nil; m = all() {
		count++
	}
	if count >= MaxMembers {
		return conflict("", "there are %d members, more are not possible: delete those who left", MaxMembers)
	}
	return nil
}

func (m *Member) summary() map[string]any {
	if m == nil {
		return nil
	}
	grants := make([]map[string]string, 0, len(m.Grants))
	for _, g := range m.Grants {
		grant := map[string]string{"role": string(g.Role)}
		if g.Organization != "" {
			grant["organization"] = g.Organization
		}
		if g.Account != "" {
			grant["account"] = g.Account
		}
		grants = append(grants, grant)
	}
	out := map[string]any{"name": m.Name, "email": m.Email, "grants": grants, "active": m.Active}
	if m.EmailProven {
		out["email_proven"] = true
	}
	if m.HasTOTP {
		out["authenticator_app"], out["recovery_codes"] = true, m.Recovery
	}
	putTime(out, "invited_until", m.InvitedUntil)
	return out
}

// errNoRoom is the answer where a bound would be passed.
var errNoRoom = errors.New("there is no room for one more")
