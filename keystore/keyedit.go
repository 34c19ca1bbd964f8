package keystore

import (
	"context"
	"maps"
	"time"

	"github.com/keystile/keystile/policy"
)

// UpdateKey changes a key. What it takes away is gone for every request that starts after it returns. Kind, mode and
// owner never change. A patch that changes nothing is no change: it has no event and leaves the revision.
func (s *Store) UpdateKey(ctx context.Context, by Actor, id string, p KeyPatch) (*Key, error) {
	var now *Key
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.liveKey(id, p.IfRevision)
		if err != nil {
			return err
		}
		now = old
		next := *old
		if err := c.patchKey(&next, old, &p); err != nil {
			return err
		}
		if same(old, &next) {
			return nil
		}
		now = &next
		if err := c.putKey(now); err != nil {
			return err
		}
		return c.keyEvent(EventKeyUpdated, old, now)
	})
	return result(now, err)
}

// patchKey applies a patch to k, which is a copy of old.
func (c *change) patchKey(k, old *Key, p *KeyPatch) error {
	if p.Name.Set {
		if k.Name = p.Name.Value; p.Name.Null {
			k.Name = defaultName(k.Kind)
		}
	}
	if p.Note.Set {
		if k.Note = p.Note.Value; p.Note.Null {
			k.Note = ""
		}
	}
	if p.Metadata.Set {
		k.Metadata = patchMetadata(old.Metadata, &p.Metadata)
	}
	if err := patchPermissions("permissions", k, &k.Principal.Permissions, &p.Permissions); err != nil {
		return err
	}
	if err := patchPermissions("connected_permissions", k, &k.Principal.ConnectedPermissions, &p.ConnectedPermissions); err != nil {
		return err
	}
	if p.RateLimit.Set {
		if k.RateLimit = p.RateLimit.Value; p.RateLimit.Null {
			k.RateLimit = 0
		}
		if err := checkRateLimit("rate_limit", k.RateLimit); err != nil {
			return err
		}
	}
	patchList(&k.IPRanges, &p.IPRanges)
	patchList(&k.AllowedOrigins, &p.AllowedOrigins)
	if err := c.checkKey("", k, old); err != nil {
		return err
	}
	return c.patchExpiry(k, old, &p.ExpiresAt)
}

// patchMetadata merges pair by pair: an empty value removes its pair, null removes all.
func patchMetadata(old map[string]string, p *Field[map[string]string]) map[string]string {
	if p.Null {
		return nil
	}
	next := maps.Clone(old)
	if next == nil {
		next = make(map[string]string, len(p.Value))
	}
	for key, value := range p.Value {
		if value == "" {
			delete(next, key)
			continue
		}
		next[key] = value
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

func patchPermissions(param string, k *Key, set **policy.Permissions, p *Field[*policy.Permissions]) error {
	switch {
	case !p.Set:
	case !p.Null && p.Value != nil:
		*set = p.Value
	case k.Kind == policy.KindRestricted:
		return invalid(param, "a restricted key always has permissions; {} takes all of them away")
	default:
		*set = nil // unrestricted
	}
	return nil
}

// patchList sets a list. A list that is set and nil is as empty as any other: only Null lifts a restriction.
func patchList(list *[]string, p *Field[[]string]) {
	switch {
	case !p.Set:
	case p.Null:
		*list = nil
	case p.Value == nil:
		*list = []string{} // refused by the check: fail closed
	default:
		*list = p.Value
	}
}

// patchExpiry moves the end of a key. The end that a rotation set can be moved within the seven days from the rotation on
// that there are for changing over, and not be taken away. It is not asked here whether the key is still in use: who gives
// a time has thought of one.
func (c *change) patchExpiry(k, old *Key, p *Field[time.Time]) error {
	const param = "expires_at"
	if !p.Set {
		return nil
	}
	k.ExpiresAt = time.Time{}
	if !p.Null {
		if k.ExpiresAt = milliseconds(p.Value); k.ExpiresAt.IsZero() {
			return invalid(param, "give a time, or null for none")
		}
	}
	if k.ExpiresAt.Equal(old.ExpiresAt) {
		return nil
	}
	switch {
	case old.Successor != "" && p.Null:
		return invalid(param, "the key is being replaced by '%s': it has to end", old.Successor)
	case old.Successor != "" && k.ExpiresAt.After(c.latestOverlap(old)):
		return invalid(param, "the key is being replaced by '%s' and may go on until %s, 7 days after the rotation",
			old.Successor, c.latestOverlap(old).Format(time.RFC3339))
	case old.Successor == "" && k.Kind == policy.KindPublishable:
		return invalid(param, "a publishable key does not expire; rotate it")
	}
	return checkExpiry(param, k.ExpiresAt, c.now)
}

// latestOverlap is the latest end of a key that is being replaced.
func (c *change) latestOverlap(k *Key) time.Time {
	rotated := c.now
	if next, ok := c.keyView().byID(k.Successor); ok && next.CreatedAt.Before(rotated) {
		rotated = next.CreatedAt
	}
	return rotated.Add(MaxRotationOverlap)
}

// same says whether an edit left everything as it was.
func same(a, b *Key) bool {
	return a.Name == b.Name && a.Note == b.Note && maps.Equal(a.Metadata, b.Metadata) &&
		a.Principal.Permissions.Equal(b.Principal.Permissions) &&
		a.Principal.ConnectedPermissions.Equal(b.Principal.ConnectedPermissions) &&
		sameList(a.IPRanges, b.IPRanges) && sameList(a.AllowedOrigins, b.AllowedOrigins) &&
		a.ExpiresAt.Equal(b.ExpiresAt) && a.RateLimit == b.RateLimit
}
