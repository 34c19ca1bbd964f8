package keystore

import (
	"context"
	"maps"

	"github.com/keystile/keystile/policy"
)

// The names that keys have by default.
const (
	NameSecret      = "Secret key"
	NamePublishable = "Publishable key"
)

// CreateKey makes a secret, restricted or organization key. The token is in this answer and, for live keys, nowhere else
// ever; sandbox keys can be revealed later. Publishable keys come with their account or sandbox.
func (s *Store) CreateKey(ctx context.Context, by Actor, p KeyParams) (*Key, policy.Token, error) {
	var made *Key
	var token policy.Token
	err := s.write(ctx, by, func(c *change) error {
		if p.Kind == policy.KindPublishable {
			return invalid("kind", "publishable keys are made with their account or sandbox and replaced by rotation, not created")
		}
		k, err := c.newKey("", &p)
		if err != nil {
			return err
		}
		made = k
		token, err = c.issue(k, k.Mode == policy.ModeSandbox)
		if err != nil {
			return err
		}
		return c.keyEvent(EventKeyCreated, nil, k)
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, token, nil
}

// newKey checks parameters and makes the key that they ask for, without its token. at is what stands in front of the
// names of parameters in errors.
func (c *change) newKey(at string, p *KeyParams) (*Key, error) {
	k, err := c.checkedKey(at, p)
	if err != nil {
		return nil, err
	}
	k.ID, err = c.newID(prefixKey)
	return k, err
}

// checkedKey is newKey without an id.
func (c *change) checkedKey(at string, p *KeyParams) (*Key, error) {
	k := &Key{
		Kind:      p.Kind,
		Mode:      p.Mode,
		Name:      p.Name,
		Note:      p.Note,
		CreatedAt: c.now,
		CreatedBy: c.actor.label(),
		ExpiresAt: milliseconds(p.ExpiresAt),
		RateLimit: p.RateLimit,
	}
	if err := checkRateLimit(at+"rate_limit", k.RateLimit); err != nil {
		return nil, err
	}
	if len(p.Metadata) > 0 {
		k.Metadata = maps.Clone(p.Metadata)
	}
	if err := c.setOwner(at, k, p); err != nil {
		return nil, err
	}
	k.Principal.Permissions, k.Principal.ConnectedPermissions = p.Permissions, p.ConnectedPermissions
	if p.Kind == policy.KindRestricted { // it has what it lists, and nothing else
		k.Principal.Permissions = orNone(p.Permissions)
		k.Principal.ConnectedPermissions = orNone(p.ConnectedPermissions)
	}
	k.IPRanges, k.AllowedOrigins = p.IPRanges, p.AllowedOrigins
	if k.Name == "" {
		k.Name = defaultName(k.Kind)
	}
	if err := c.checkKey(at, k, nil); err != nil {
		return nil, err
	}
	if err := checkExpiry(at+"expires_at", k.ExpiresAt, c.now); err != nil {
		return nil, err
	}
	return k, nil
}

func orNone(p *policy.Permissions) *policy.Permissions {
	if p == nil {
		return policy.NewPermissions(nil)
	}
	return p
}

func defaultName(kind policy.Kind) string {
	switch kind {
	case policy.KindSecret:
		return NameSecret
	case policy.KindPublishable:
		return NamePublishable
	case policy.KindOrganization:
		return "Organization key"
	}
	return "" // a restricted key needs a name
}

// setOwner finds the owner and, in sandbox mode, the sandbox.
func (c *change) setOwner(at string, k *Key, p *KeyParams) error {
	switch {
	case p.Kind < policy.KindSecret || p.Kind > policy.KindOrganization:
		return missing(at+"kind", "the kind is secret, restricted, publishable or organization")
	case p.Mode != policy.ModeLive && p.Mode != policy.ModeSandbox:
		return missing(at+"mode", "the mode is live or sandbox")
	}
	if p.Kind == policy.KindOrganization {
		switch {
		case p.Account != "":
			return invalid(at+"account", "an organization key belongs to an organization, not to an account")
		case p.Organization == "":
			return missing(at+"organization", "an organization key needs its organization")
		case p.Sandbox != "":
			return invalid(at+"sandbox", "an organization key acts in the default sandbox of the account that a request names")
		}
		o, err := c.organization(at+"organization", p.Organization)
		if err != nil {
			return err
		}
		k.Organization = o.ID
		return nil
	}
	switch {
	case p.Organization != "":
		return invalid(at+"organization", "only organization keys belong to an organization; give the account")
	case p.Account == "":
		return missing(at+"account", "give the account that the key belongs to")
	}
	a, err := c.account(at+"account", p.Account)
	if err != nil {
		return err
	}
	k.Account = a.ID
	if p.Mode == policy.ModeLive {
		if p.Sandbox != "" {
			return invalid(at+"sandbox", "a live key is in no sandbox")
		}
		return nil
	}
	k.Sandbox = a.DefaultSandbox
	if p.Sandbox != "" {
		b, err := c.sandbox(at+"sandbox", p.Sandbox)
		if err != nil {
			return err
		}
		if b.Account != a.ID {
			return notFound(at+"sandbox", "sandbox of this account", p.Sandbox)
		}
		k.Sandbox = b.ID
	}
	return nil
}

// issue makes the key's token and stages the key. keep seals the token so that it can be revealed later; a publishable
// token is kept in clear, it is public.
func (c *change) issue(k *Key, keep bool) (policy.Token, error) {
	token, err := c.store.tokens.next(k.Kind, k.Mode)
	if err != nil {
		return policy.Token{}, err
	}
	k.Digest, k.Mask = token.Digest(), token.Mask()
	switch {
	case k.Kind == policy.KindPublishable:
		k.PublicToken = token.Reveal()
	case keep:
		if k.sealed, err = c.store.seal.seal(k.ID, token); err != nil {
			return policy.Token{}, err
		}
	}
	return token, c.putNewKey(k)
}

// addStandardKeys makes the secret and the publishable key that an account has in each mode and sandbox.
func (c *change) addStandardKeys(a *Account, sandbox string, mode policy.Mode) ([]*Key, error) {
	var keys []*Key
	for _, kind := range [...]policy.Kind{policy.KindSecret, policy.KindPublishable} {
		k, err := c.newKey("", &KeyParams{Kind: kind, Mode: mode, Account: a.ID, Sandbox: sandbox})
		if err != nil {
			return nil, err
		}
		k.Default = true
		if _, err := c.issue(k, true); err != nil {
			return nil, err
		}
		if err := c.keyEvent(EventKeyCreated, nil, k); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}
