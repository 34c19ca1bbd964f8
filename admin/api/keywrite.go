package api

import (
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// KeyCreate is the body that makes a key. In it null is the same as absent.
type KeyCreate struct {
	Kind                 string                      `json:"kind" enum:"secret,publishable,restricted,organization"`
	Mode                 string                      `json:"mode" enum:"live,sandbox"`
	Account              Optional[string]            `json:"account,omitzero" doc:"The owner; organization keys have an organization instead"`
	Organization         Optional[string]            `json:"organization,omitzero" doc:"The owner of an organization key"`
	Sandbox              Optional[string]            `json:"sandbox,omitzero" doc:"In sandbox mode; default: the account's default sandbox"`
	Name                 Optional[string]            `json:"name,omitzero" doc:"Required for restricted keys"`
	Note                 Optional[string]            `json:"note,omitzero" doc:"Where it is put"`
	Permissions          Optional[Permissions]       `json:"permissions,omitzero" doc:"Restricted keys: absent, {} and [] give none. Organization keys: absent is unrestricted, {} none"`
	ConnectedPermissions Optional[Permissions]       `json:"connected_permissions,omitzero" doc:"The same on connected accounts"`
	IPRanges             Optional[IPRanges]          `json:"ip_ranges,omitzero" doc:"IPv4 addresses and CIDR ranges; absent is no restriction, an empty list is refused"`
	AllowedOrigins       Optional[[]string]          `json:"allowed_origins,omitzero" doc:"Publishable keys: absent is no restriction, an empty list is refused"`
	ExpiresAt            Optional[time.Time]         `json:"expires_at,omitzero" doc:"Absent: never"`
	Metadata             Optional[map[string]string] `json:"metadata,omitzero" doc:"At most 50 pairs"`
	RateLimit            Optional[RequestRate]       `json:"rate_limit,omitzero" doc:"Requests a second that this key may make, in place of its account's limit"`
}

// KeyUpdate is the body that changes a key. Absent fields stay as they are; null and empty mean what each field says.
type KeyUpdate struct {
	Name                 Optional[string]            `json:"name,omitzero" doc:"null: the name that the kind has by default"`
	Note                 Optional[string]            `json:"note,omitzero" doc:"null or empty takes it away"`
	Permissions          Optional[Permissions]       `json:"permissions,omitzero" doc:"Replaces them all. {} and [] are none; null is unrestricted, and refused for restricted keys"`
	ConnectedPermissions Optional[Permissions]       `json:"connected_permissions,omitzero" doc:"The same on connected accounts"`
	IPRanges             Optional[IPRanges]          `json:"ip_ranges,omitzero" doc:"Replaces them all. null lifts the restriction; an empty list is refused"`
	AllowedOrigins       Optional[[]string]          `json:"allowed_origins,omitzero" doc:"Replaces them all. null lifts the restriction; an empty list is refused"`
	ExpiresAt            Optional[time.Time]         `json:"expires_at,omitzero" doc:"null: never"`
	Metadata             Optional[map[string]string] `json:"metadata,omitzero" doc:"Merged pair by pair; an empty value removes its pair, null removes all"`
	RateLimit            Optional[RequestRate]       `json:"rate_limit,omitzero" doc:"null: it draws on its account's limit again"`
}

type createKeyInput struct {
	Body KeyCreate
}

type updateKeyInput struct {
	ID   string `path:"id" doc:"key_…"`
	Wait string `query:"wait" enum:"fleet,node" default:"node" doc:"fleet: answer when every live node has applied it, and list them; node: when this one has"`
	Body KeyUpdate
}

func (a *API) createKey(c *call, in *createKeyInput) (Key, error) {
	if err := c.coversOwner(in.Body.Account.Value, in.Body.Organization.Value); err != nil {
		return Key{}, err
	}
	params, err := a.keyParams(&in.Body)
	if err != nil {
		return Key{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	k, token, err := a.Store.CreateKey(ctx, c.actor, params)
	if err != nil {
		return Key{}, err
	}
	return c.viewToken(k, token), nil
}

func (a *API) updateKey(c *call, in *updateKeyInput) (Key, error) {
	k, ok := a.Store.Snapshot().Key(in.ID)
	if !ok {
		return Key{}, notFound("key", in.ID)
	}
	patch, err := a.keyPatch(&in.Body, k)
	if err != nil {
		return Key{}, err
	}
	if patch.IfRevision, err = c.ifRevision(k.Revision); err != nil {
		return Key{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if k, err = a.Store.UpdateKey(ctx, c.actor, in.ID, patch); err != nil {
		return Key{}, err
	}
	out := c.viewChanged(k)
	if in.Wait == waitFleet {
		out.Nodes = a.appliedNodes(c, k.Revision, in.Wait)
	}
	return out, nil
}

// keyParams is the store's form of a new key.
func (a *API) keyParams(b *KeyCreate) (keystore.KeyParams, error) {
	p := keystore.KeyParams{
		Account: b.Account.Value, Organization: b.Organization.Value, Sandbox: b.Sandbox.Value,
		Name: b.Name.Value, Note: b.Note.Value, IPRanges: b.IPRanges.Value, AllowedOrigins: b.AllowedOrigins.Value,
		ExpiresAt: b.ExpiresAt.Value, Metadata: b.Metadata.Value,
		RateLimit: uint32(b.RateLimit.Value),
	}
	var err error
	if p.Kind, err = optionalKind(b.Kind); err != nil {
		return p, err
	}
	if p.Mode, err = optionalMode(b.Mode); err != nil {
		return p, err
	}
	if p.Permissions, err = a.optionalPermissions("permissions", b.Permissions, nil); err != nil {
		return p, err
	}
	p.ConnectedPermissions, err = a.optionalPermissions("connected_permissions", b.ConnectedPermissions, nil)
	return p, err
}

// keyPatch is the store's form of a change of k.
func (a *API) keyPatch(b *KeyUpdate, k *keystore.Key) (keystore.KeyPatch, error) {
	p := keystore.KeyPatch{
		Name: field(b.Name), Note: field(b.Note), AllowedOrigins: field(b.AllowedOrigins), ExpiresAt: field(b.ExpiresAt), Metadata: field(b.Metadata),
		RateLimit: mapped(b.RateLimit, func(r RequestRate) uint32 { return uint32(r) }),
		IPRanges:  mapped(b.IPRanges, func(r IPRanges) []string { return r }),
	}
	permissions, err := a.optionalPermissions("permissions", b.Permissions, k.Principal.Permissions)
	if err != nil {
		return p, err
	}
	connected, err := a.optionalPermissions("connected_permissions", b.ConnectedPermissions, k.Principal.ConnectedPermissions)
	if err != nil {
		return p, err
	}
	p.Permissions = mapped(b.Permissions, func(Permissions) *policy.Permissions { return permissions })
	p.ConnectedPermissions = mapped(b.ConnectedPermissions, func(Permissions) *policy.Permissions { return connected })
	return p, nil
}

// optionalPermissions compiles permissions that may be absent or null: nil then.
func (a *API) optionalPermissions(param string, o Optional[Permissions], before *policy.Permissions) (*policy.Permissions, error) {
	if !o.Set || o.Null {
		return nil, nil // nil permissions have a meaning of their own
	}
	return a.permissions(param, o.Value, before)
}
