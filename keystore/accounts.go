package keystore

import (
	"context"
	"slices"

	"github.com/keystile/keystile/policy"
)

// CreateAccount makes an account with its default sandbox and its four default keys: secret and publishable, sandbox and
// live, in this order. The secret ones are revealed by RevealKey: the sandbox key any number of times, the live key once.
func (s *Store) CreateAccount(ctx context.Context, by Actor, p AccountParams) (*Account, []*Key, error) {
	var made *Account
	var keys []*Key
	err := s.write(ctx, by, func(c *change) error {
		if err := checkName("name", p.Name); err != nil {
			return err
		}
		if err := checkVersion("default_api_version", p.DefaultVersion); err != nil {
			return err
		}
		if err := p.RateLimit.check("rate_limit"); err != nil {
			return err
		}
		made = &Account{Name: p.Name, DefaultVersion: p.DefaultVersion, RateLimit: p.RateLimit, CreatedAt: c.now}
		if p.Organization != "" {
			o, err := c.organization("organization", p.Organization)
			if err != nil {
				return err
			}
			made.Organization = o.ID
		}
		var err error
		if made.ID, err = c.newID(prefixAccount); err != nil {
			return err
		}
		sandbox, err := c.addSandbox(made, DefaultSandboxName)
		if err != nil {
			return err
		}
		made.DefaultSandbox = sandbox.ID
		if err := c.putAccount(made); err != nil {
			return err
		}
		if err := c.event(EventAccountCreated, made.ID, made.ID, made.Organization, nil, made.summary()); err != nil {
			return err
		}
		if err := c.event(EventSandboxCreated, sandbox.ID, made.ID, "", nil, sandbox.summary()); err != nil {
			return err
		}
		if keys, err = c.addStandardKeys(made, sandbox.ID, policy.ModeSandbox); err != nil {
			return err
		}
		live, err := c.addStandardKeys(made, "", policy.ModeLive)
		keys = append(keys, live...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return made, keys, nil
}

// UpdateAccount changes an account. Moving it out of an organization takes it out of the reach of that organization's
// keys at once. A patch that changes nothing is no change: it has no event.
func (s *Store) UpdateAccount(ctx context.Context, by Actor, id string, p AccountPatch) (*Account, error) {
	var now *Account
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.account("", id)
		if err != nil {
			return err
		}
		if err := checkRevision("account", old.ID, old.Revision, p.IfRevision); err != nil {
			return err
		}
		now = old
		next := *old
		if err := c.patchAccount(&next, &p); err != nil {
			return err
		}
		if next.Name == old.Name && next.Organization == old.Organization && next.DefaultVersion == old.DefaultVersion &&
			next.RateLimit == old.RateLimit {
			return nil
		}
		now = &next
		if err := c.putAccount(now); err != nil {
			return err
		}
		organization := now.Organization
		if organization == "" {
			organization = old.Organization // who loses it finds the event
		}
		return c.event(EventAccountUpdated, id, id, organization, old.summary(), now.summary())
	})
	return result(now, err)
}

func (c *change) patchAccount(a *Account, p *AccountPatch) error {
	if p.Name.Set {
		if err := checkName("name", p.Name.Value); err != nil {
			return err
		}
		a.Name = p.Name.Value
	}
	if p.Organization.Set {
		a.Organization = ""
		if !p.Organization.Null {
			o, err := c.organization("organization", p.Organization.Value)
			if err != nil {
				return err
			}
			a.Organization = o.ID
		}
	}
	if p.RateLimit.Set {
		a.RateLimit = RateLimit{}
		if !p.RateLimit.Null {
			a.RateLimit = p.RateLimit.Value
		}
		if err := a.RateLimit.check("rate_limit"); err != nil {
			return err
		}
	}
	if p.DefaultVersion.Set {
		a.DefaultVersion = ""
		if !p.DefaultVersion.Null {
			if err := checkVersion("default_api_version", p.DefaultVersion.Value); err != nil {
				return err
			}
			a.DefaultVersion = p.DefaultVersion.Value
		}
	}
	return nil
}

// Connect makes one account a connected account of another, so that keys of account may act on it. Accounts may be
// connected to any depth, and none to itself. Connecting what is connected is no change, and no error.
func (s *Store) Connect(ctx context.Context, by Actor, account, connected string) (*Account, error) {
	return s.changeConnections(ctx, by, account, connected, EventAccountConnected,
		func(c *change, a *Account) ([]string, error) {
			if account == connected {
				return nil, conflict("connected_id", "an account is not connected to itself")
			}
			child, err := c.account("connected_id", connected)
			if err != nil {
				return nil, err
			}
			at, found := slices.BinarySearch(a.Connections, child.ID)
			switch {
			case found:
				return a.Connections, nil
			case len(a.Connections) >= MaxConnections:
				return nil, conflict("connected_id", "the account has %d connected accounts, more are not possible", MaxConnections)
			}
			return slices.Insert(slices.Clone(a.Connections), at, child.ID), nil
		})
}

// Disconnect ends a connection that Connect made. Keys of account lose their reach at once.
func (s *Store) Disconnect(ctx context.Context, by Actor, account, connected string) (*Account, error) {
	return s.changeConnections(ctx, by, account, connected, EventAccountDisconnected,
		func(_ *change, a *Account) ([]string, error) {
			at, found := slices.BinarySearch(a.Connections, connected)
			if !found {
				return nil, notFound("connected_id", "connected account", connected)
			}
			left := slices.Delete(slices.Clone(a.Connections), at, at+1)
			if len(left) == 0 {
				left = nil
			}
			return left, nil
		})
}

func (s *Store) changeConnections(
	ctx context.Context, by Actor, account, connected string, t EventType, edit func(*change, *Account) ([]string, error),
) (*Account, error) {
	var now *Account
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.account("", account)
		if err != nil {
			return err
		}
		next := *old
		if next.Connections, err = edit(c, old); err != nil {
			return err
		}
		if now = old; slices.Equal(next.Connections, old.Connections) {
			return nil
		}
		now = &next
		if err := c.putAccount(now); err != nil {
			return err
		}
		link := map[string]any{"connected": connected}
		if t == EventAccountDisconnected {
			return c.event(t, account, account, now.Organization, link, nil)
		}
		return c.event(t, account, account, now.Organization, nil, link)
	})
	return result(now, err)
}
