package keystore

import "context"

// CreateOrganization makes an organization.
func (s *Store) CreateOrganization(ctx context.Context, by Actor, p OrganizationParams) (*Organization, error) {
	var made *Organization
	err := s.write(ctx, by, func(c *change) error {
		if err := checkName("name", p.Name); err != nil {
			return err
		}
		id, err := c.newID(prefixOrganization)
		if err != nil {
			return err
		}
		made = &Organization{ID: id, Name: p.Name, CreatedAt: c.now}
		if err := c.putOrganization(made); err != nil {
			return err
		}
		return c.event(EventOrganizationCreated, id, "", id, nil, made.summary())
	})
	return result(made, err)
}

// UpdateOrganization changes an organization. A patch that changes nothing is no change: it has no event.
func (s *Store) UpdateOrganization(ctx context.Context, by Actor, id string, p OrganizationPatch) (*Organization, error) {
	var now *Organization
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.organization("", id)
		if err != nil {
			return err
		}
		if err := checkRevision("organization", old.ID, old.Revision, p.IfRevision); err != nil {
			return err
		}
		now = old
		next := *old
		if p.Name.Set {
			if err := checkName("name", p.Name.Value); err != nil {
				return err
			}
			next.Name = p.Name.Value
		}
		if next == *old {
			return nil
		}
		now = &next
		if err := c.putOrganization(now); err != nil {
			return err
		}
		return c.event(EventOrganizationUpdated, id, "", id, old.summary(), now.summary())
	})
	return result(now, err)
}

// result is what a write answers: nothing of what was staged if it failed.
func result[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
