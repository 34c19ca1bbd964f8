package keystore

import (
	"context"

	"github.com/keystile/keystile/policy"
)

// CreateSandbox makes a further sandbox of an account, with a secret and a publishable key of its own. Names are unique
// within the account.
func (s *Store) CreateSandbox(ctx context.Context, by Actor, account, name string) (*Sandbox, []*Key, error) {
	var made *Sandbox
	var keys []*Key
	err := s.write(ctx, by, func(c *change) error {
		a, err := c.account("", account)
		if err != nil {
			return err
		}
		if err := checkName("name", name); err != nil {
			return err
		}
		staged := c.staged()
		next, count := staged.walkSandboxes(account, ""), 0
		for b := next(); b != nil; b = next() {
			if count++; b.Name == name {
				return conflict("name", "the account has a sandbox of this name already")
			}
		}
		if count >= MaxSandboxes {
			return conflict("", "the account has %d sandboxes, more are not possible", MaxSandboxes)
		}
		if made, err = c.addSandbox(a, name); err != nil {
			return err
		}
		if err := c.event(EventSandboxCreated, made.ID, a.ID, "", nil, made.summary()); err != nil {
			return err
		}
		keys, err = c.addStandardKeys(a, made.ID, policy.ModeSandbox)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return made, keys, nil
}

func (c *change) addSandbox(a *Account, name string) (*Sandbox, error) {
	id, err := c.newID(prefixSandbox)
	if err != nil {
		return nil, err
	}
	b := &Sandbox{ID: id, Account: a.ID, Name: name, CreatedAt: c.now}
	return b, c.putSandbox(b)
}

// DeleteSandbox removes a sandbox and ends all its keys at once, the publishable one too. The keys' records stay. The
// default sandbox cannot be deleted.
func (s *Store) DeleteSandbox(ctx context.Context, by Actor, account, id string) error {
	return s.write(ctx, by, func(c *change) error {
		a, err := c.account("", account)
		if err != nil {
			return err
		}
		b, err := c.sandbox("", id)
		if err != nil {
			return err
		}
		if b.Account != a.ID {
			return notFound("", "sandbox of this account", id)
		}
		if b.ID == a.DefaultSandbox {
			return &Error{Code: CodeNotDeletable, Message: "the default sandbox of an account cannot be deleted"}
		}
		if s.arrival.holds(b.ID) {
			return conflict("", "keys of this sandbox are being imported; try again in a moment")
		}
		// Collected first: the walk must not see its own changes.
		var ending []*Key
		next := c.keyView().walkOwner(a.ID, policy.ModeSandbox, "", nil)
		for k := next(); k != nil; k = next() {
			if k.Sandbox == b.ID && !k.Deleted {
				ending = append(ending, k)
			}
		}
		for _, k := range ending {
			if err := c.deleteKey(k); err != nil {
				return err
			}
		}
		if err := c.removeSandbox(b); err != nil {
			return err
		}
		return c.event(EventSandboxDeleted, b.ID, a.ID, "", b.summary(), nil)
	})
}
