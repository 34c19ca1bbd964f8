package keystore

import (
	"slices"
	"time"

	"github.com/keystile/keystile/policy"
)

// checkKey checks everything that can be edited, and brings ranges and origins into their canonical form. What k has in
// common with old was accepted once and is not judged again: a name can be edited while a resource is out of the catalog.
// old is nil for a key that is new in everything.
func (c *change) checkKey(at string, k, old *Key) error {
	rules := c.store.rules.Load()
	limited := k.Kind == policy.KindRestricted || k.Kind == policy.KindOrganization
	if old == nil {
		old = new(Key)
	}
	if err := checkName(at+"name", k.Name); err != nil {
		return err
	}
	if err := checkNote(at+"note", k.Note); err != nil {
		return err
	}
	if err := checkMetadata(at+"metadata", k.Metadata); err != nil {
		return err
	}
	for _, set := range [...]struct {
		param   string
		is, was *policy.Permissions
	}{
		{"permissions", k.Principal.Permissions, old.Principal.Permissions},
		{"connected_permissions", k.Principal.ConnectedPermissions, old.Principal.ConnectedPermissions},
	} {
		if set.is != nil && !limited {
			return invalid(at+set.param, "only restricted and organization keys have permissions")
		}
		if set.is == set.was {
			continue
		}
		if err := rules.checkPermissions(at+set.param, set.is); err != nil {
			return err
		}
	}
	if k.IPRanges != nil && k.Kind == policy.KindPublishable {
		return invalid(at+"ip_ranges", "a publishable key is public: limit its origins, not its addresses")
	}
	if k.AllowedOrigins != nil && k.Kind != policy.KindPublishable {
		return invalid(at+"allowed_origins", "only publishable keys are limited by origin")
	}
	var err error
	if !sameList(k.IPRanges, old.IPRanges) {
		if k.IPRanges, err = rules.ipRanges(at+"ip_ranges", k.IPRanges); err != nil {
			return err
		}
	}
	if !sameList(k.AllowedOrigins, old.AllowedOrigins) {
		k.AllowedOrigins, err = origins(at+"allowed_origins", k.AllowedOrigins)
	}
	return err
}

// sameList tells nil, which is no restriction, from empty, which is refused.
func sameList(a, b []string) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

func checkExpiry(param string, expires, now time.Time) error {
	switch {
	case expires.IsZero():
		return nil
	case !expires.After(now):
		return invalid(param, "the time must be in the future")
	case expires.Year() > 9999:
		return invalid(param, "the time is too far away")
	}
	return nil
}
