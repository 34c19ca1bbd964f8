package keystore

import (
	"context"
	"time"

	"github.com/keystile/keystile/policy"
)

// MaxRotationOverlap is how long a key may go on working beside the one that replaces it.
const MaxRotationOverlap = 7 * 24 * time.Hour

// RotateKey replaces a key by a new one that works at once. The old one ends now, or at a time up to seven days on. The
// token of the new key is in this answer and, for live keys, nowhere else ever.
//
// The new key keeps permissions, ranges, origins, note and metadata, and it takes over being a default key. It does not
// keep an expiry: that was a promise about the old token. A repeated schedule goes over to it, and counts from now; one for
// a single rotation is done with. A secret key is named "Secret key", a publishable one
// "Publishable key", others keep their name.
func (s *Store) RotateKey(ctx context.Context, by Actor, id string, p RotateParams) (*Key, policy.Token, error) {
	var made *Key
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.liveKey(id, p.IfRevision)
		if err != nil {
			return err
		}
		ends := milliseconds(p.ExpiresAt)
		if err := c.checkRotation(old, ends); err != nil {
			return err
		}
		made, token, err = c.rotate(old, ends, false)
		return err
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}

// rotate makes the replacement of a key that ends at a time; one that is not in the future is now. What the scheduler
// makes nobody has seen: its token is kept, to be revealed once.
func (c *change) rotate(old *Key, ends time.Time, scheduled bool) (*Key, policy.Token, error) {
	made, err := c.successor(old)
	if err != nil {
		return nil, policy.Token{}, err
	}
	made.Schedule = old.Schedule.afterRotation(c.now, scheduled)
	token, err := c.issue(made, scheduled || made.Mode == policy.ModeSandbox)
	if err != nil {
		return nil, policy.Token{}, err
	}
	ending := *old
	ending.Successor = made.ID
	ending.Default = false // the successor is it now
	ending.Schedule = nil
	switch {
	case ends.After(c.now):
		ending.ExpiresAt = ends
	case old.pastEnd(c.now):
		ending.EndedAt = old.ExpiresAt
		c.end(&ending)
	default:
		c.end(&ending)
	}
	if err := c.putKey(&ending); err != nil {
		return nil, policy.Token{}, err
	}
	if err := c.keyEvent(EventKeyCreated, nil, made); err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, c.keyEvent(EventKeyRotated, old, &ending)
}

func (c *change) checkRotation(old *Key, ends time.Time) error {
	const param = "expires_at"
	switch {
	case old.Successor != "":
		return conflict("", "key '%s' is being replaced by '%s' already; rotate that one", old.ID, old.Successor)
	case ends.IsZero():
		return nil
	case !ends.After(c.now):
		return invalid(param, "the time must be in the future; without one the old key ends now")
	case ends.After(c.now.Add(MaxRotationOverlap)):
		return invalid(param, "the old key may go on for at most 7 days")
	case !old.ExpiresAt.IsZero() && ends.After(old.ExpiresAt):
		return invalid(param, "the key expires at %s; give that time or an earlier one", old.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

// successor is the key that replaces old, without its token.
func (c *change) successor(old *Key) (*Key, error) {
	id, err := c.newID(prefixKey)
	if err != nil {
		return nil, err
	}
	k := &Key{
		ID:             id,
		Kind:           old.Kind,
		Mode:           old.Mode,
		Account:        old.Account,
		Organization:   old.Organization,
		Sandbox:        old.Sandbox,
		Name:           old.Name,
		Note:           old.Note,
		Metadata:       old.Metadata,
		Default:        old.Default,
		IPRanges:       old.IPRanges,
		AllowedOrigins: old.AllowedOrigins,
		RateLimit:      old.RateLimit,
		CreatedAt:      c.now,
		CreatedBy:      c.actor.label(),
		Predecessor:    old.ID,
	}
	k.Principal.Permissions = old.Principal.Permissions
	k.Principal.ConnectedPermissions = old.Principal.ConnectedPermissions
	if old.Kind == policy.KindSecret || old.Kind == policy.KindPublishable {
		k.Name = defaultName(old.Kind)
	}
	return k, nil
}

// DuplicateKey makes a restricted key with the rights, ranges, note and metadata of another; the patch says what differs.
// An expiry is not copied. The original may have ended: a key that was deleted by mistake is made anew this way.
func (s *Store) DuplicateKey(ctx context.Context, by Actor, id string, p KeyPatch) (*Key, policy.Token, error) {
	var made *Key
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		original, err := c.key("", id)
		if err != nil {
			return err
		}
		if original.Kind != policy.KindRestricted {
			return invalid("", "only restricted keys can be duplicated; create a new one")
		}
		if original.Sandbox != "" {
			if _, err := c.sandbox("", original.Sandbox); err != nil {
				return err
			}
		}
		if made, err = c.successor(original); err != nil {
			return err
		}
		made.Predecessor, made.Default = "", false
		base := *made
		if err := c.patchKey(made, &base, &p); err != nil {
			return err
		}
		if token, err = c.issue(made, made.Mode == policy.ModeSandbox); err != nil {
			return err
		}
		return c.keyEvent(EventKeyCreated, nil, made)
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}
