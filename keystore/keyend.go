package keystore

import (
	"context"

	"github.com/keystile/keystile/policy"
)

// DeleteKey ends a key for good. When it returns, no request that starts later is let in with it. The record stays, so
// that its token answers "expired". A publishable key cannot be deleted, only rotated. A key that has expired or was
// rotated away can still be deleted; one that is deleted already cannot.
func (s *Store) DeleteKey(ctx context.Context, by Actor, id string) (*Key, error) {
	var now *Key
	err := s.write(ctx, by, func(c *change) error {
		k, err := c.key("", id)
		if err != nil {
			return err
		}
		if k.Deleted {
			return keyEnded(k)
		}
		if k.Kind == policy.KindPublishable {
			return &Error{Code: CodeNotDeletable, Message: "a publishable key cannot be deleted; rotate it"}
		}
		if err := c.deleteKey(k); err != nil {
			return err
		}
		now, err = c.key("", id)
		return err
	})
	return result(now, err)
}

// deleteKey marks a key as deleted, of whatever kind.
func (c *change) deleteKey(old *Key) error {
	next := *old
	next.Deleted = true
	c.end(&next)
	if err := c.putKey(&next); err != nil {
		return err
	}
	return c.keyEvent(EventKeyDeleted, old, &next)
}

// end ends a key at this moment. Nobody needs the token of an ended key: what was sealed of it is destroyed. Nor is it
// rotated any more.
func (c *change) end(k *Key) {
	if k.EndedAt.IsZero() {
		k.EndedAt = c.now
	}
	k.sealed, k.Schedule = "", nil
}
