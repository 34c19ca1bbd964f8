package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// Key is an API key. Every field is always present, null where there is nothing, except token, notice and nodes, which
// only some answers have.
type Key struct {
	ID           string  `json:"id" example:"key_7Yx2mZp4Tn1vXw6Q"`
	Object       string  `json:"object" enum:"key"`
	Kind         string  `json:"kind" enum:"secret,publishable,restricted,organization"`
	Mode         string  `json:"mode" enum:"live,sandbox"`
	Sandbox      *string `json:"sandbox" doc:"The sandbox of an account's key in sandbox mode, else null"`
	Account      *string `json:"account" doc:"The owner; null for organization keys"`
	Organization *string `json:"organization" doc:"The owner of an organization key, else null"`
	Name         string  `json:"name"`
	Note         string  `json:"note" doc:"Where it was put; empty if nothing was noted"`
	Status       string  `json:"status" enum:"active,expiring,expired,deleted" doc:"expiring: an end is set and not reached"`

	Token       Token  `json:"token,omitempty" doc:"The token in clear. Publishable keys always have it; others only in the answers of create, rotate, reveal and duplicate"`
	TokenMasked string `json:"token_masked" example:"sk_live_****abcd"`

	Permissions          map[string]string `json:"permissions" nullable:"true" doc:"Access by resource; {} is none at all, null is unrestricted"`
	ConnectedPermissions map[string]string `json:"connected_permissions" nullable:"true" doc:"The same on connected accounts"`
	IPRanges             []string          `json:"ip_ranges" nullable:"true" doc:"Client addresses and ranges that may use it; null is no restriction"`
	AllowedOrigins       []string          `json:"allowed_origins" nullable:"true" doc:"Origins that may use a publishable key; null is no restriction"`

	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	ExpiresAt  *time.Time `json:"expires_at" doc:"null: never"`
	ExpiresIn  *int64     `json:"expires_in" doc:"Whole seconds until then, at the time of this answer; null: it never ends, or has ended"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"Within a minute; null: never used"`
	LastUsedIP *string    `json:"last_used_ip"`

	RateLimit  *uint32           `json:"rate_limit" doc:"Requests a second that this key may make; null: it draws on its account's limit"`
	Rotation   Rotation          `json:"rotation"`
	Revealable bool              `json:"revealable" doc:"POST …/reveal would answer the token"`
	Metadata   map[string]string `json:"metadata"`

	Notice string `json:"notice,omitempty" doc:"What the caller may not have meant, such as a key that can do nothing"`
	Nodes  []Node `json:"nodes,omitempty" nullable:"false" doc:"Answers of delete and rotate, and of of other changes with wait=fleet: the nodes of the fleet that may accept keys, and whether the change is in force there"`
}

// Rotation is a key's place among its rotations.
type Rotation struct {
	Schedule    *RotationSchedule `json:"schedule" doc:"When it will be rotated; null: not by itself"`
	Predecessor *string           `json:"predecessor" doc:"The key that this one replaced"`
	Successor   *string           `json:"successor" doc:"The key that replaced this one"`
}

// Node is a node of the fleet in an answer.
type Node struct {
	ID      string `json:"id"`
	Applied bool   `json:"applied" doc:"No request that starts there from now on is accepted under the old rights"`
}

// viewKey is the wire form without a secret token.
func (c *call) viewKey(k *keystore.Key) Key {
	out := Key{
		ID: k.ID, Object: "key", Kind: k.Kind.String(), Mode: k.Mode.String(), Sandbox: some(k.Sandbox),
		Account: some(k.Account), Organization: some(k.Organization), Name: k.Name, Note: k.Note, Status: string(k.Status(c.now)),
		Token: Token(k.PublicToken), TokenMasked: k.Mask,
		Permissions: viewPermissions(k.Principal.Permissions), ConnectedPermissions: viewPermissions(k.Principal.ConnectedPermissions),
		IPRanges: k.IPRanges, AllowedOrigins: k.AllowedOrigins,
		CreatedAt: *stamp(k.CreatedAt), CreatedBy: k.CreatedBy, ExpiresAt: stamp(k.ExpiresAt),
		Rotation:   Rotation{Schedule: viewSchedule(k.Schedule), Predecessor: some(k.Predecessor), Successor: some(k.Successor)},
		Revealable: k.Revealable(), Metadata: k.Metadata,
	}
	if out.Permissions != nil && out.ConnectedPermissions == nil {
		// What the gateway makes of it: null would read as unrestricted.
		out.ConnectedPermissions = map[string]string{}
	}
	if k.RateLimit > 0 {
		out.RateLimit = &k.RateLimit
	}
	if left := k.Remaining(c.now); left > 0 {
		seconds := int64(left / time.Second)
		out.ExpiresIn = &seconds
	}
	if !c.caller.SeesTokens() {
		out.Token = ""
	}
	if out.Metadata == nil {
		out.Metadata = map[string]string{}
	}
	if usage, ok := c.api.Store.LastUsed(k.ID); ok && !usage.At.IsZero() {
		out.LastUsedAt = stamp(usage.At)
		if usage.Address.IsValid() {
			out.LastUsedIP = some(usage.Address.String())
		}
	}
	return out
}

// viewChanged is the wire form in the answer of a change: the revision goes into the ETag, and a key that can do nothing
// says so.
func (c *call) viewChanged(k *keystore.Key) Key {
	c.revision = k.Revision
	out := c.viewKey(k)
	if p := k.Principal.Permissions; p != nil && p.Len() == 0 && k.Principal.ConnectedPermissions.Len() == 0 && !k.Ended(c.now) {
		out.Notice = `this key has no permissions: every request with it is refused until "permissions" gives it some`
	}
	return out
}

// viewToken is the wire form with the token in clear: the answers of create, rotate, reveal and duplicate, and no other.
func (c *call) viewToken(k *keystore.Key, token policy.Token) Key {
	out := c.viewChanged(k)
	out.Token = Token(token.Reveal())
	return out
}

type listKeysInput struct {
	Account       string `query:"account" doc:"Only the keys of this account"`
	Organization  string `query:"organization" doc:"Only the keys of this organization itself"`
	Sandbox       string `query:"sandbox" doc:"Only the keys of this sandbox"`
	Mode          string `query:"mode" enum:"live,sandbox"`
	Kind          string `query:"kind" enum:"secret,publishable,restricted,organization"`
	Status        string `query:"status" enum:"active,expiring,expired,deleted"`
	Query         string `query:"query" maxLength:"200" doc:"Part of the name, the note, the id, or the last four characters; case does not matter"`
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type keyInput struct {
	ID string `path:"id" doc:"key_…"`
}

func (a *API) registerKeys() {
	const tag = "keys"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/keys", id: "list_keys", tag: tag, summary: "List keys",
		description: "Keys in every state, newest first, without secret tokens.",
	}, a.listKeys)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys", id: "create_key", tag: tag, summary: "Create a key", etag: true,
		errors:      []int{http.StatusNotFound},
		description: "The answer is the only one that has the token of a live key: keep it.",
	}, a.createKey)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/keys/{id}", id: "get_key", tag: tag, summary: "Get a key", etag: true,
	}, a.getKey)
	handle(a, operation{
		method: http.MethodPatch, path: "/v1/keys/{id}", id: "update_key", tag: tag, summary: "Change a key", etag: true, precondition: true,
		description: "Absent fields stay as they are. Kind, mode and owner never change. An ended key cannot be changed.",
		errors:      []int{http.StatusConflict},
	}, a.updateKey)
}

func (a *API) listKeys(c *call, in *listKeysInput) (List[Key], error) {
	filter, err := c.keyFilter(in)
	if err != nil {
		return List[Key]{}, err
	}
	snapshot := a.Store.Snapshot()
	last, known := snapshot.Key(in.StartingAfter)
	if err := checkCursor(in.StartingAfter, known && c.coversKey(last)); err != nil {
		return List[Key]{}, err
	}
	rows, more, err := snapshot.Keys(filter, page(in.Limit, in.StartingAfter), c.now)
	if err != nil {
		return List[Key]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, c.viewKey), nil
}

func (a *API) getKey(c *call, in *keyInput) (Key, error) {
	k, ok := a.Store.Snapshot().Key(in.ID)
	if !ok {
		return Key{}, notFound("key", in.ID)
	}
	c.revision = k.Revision
	return c.viewKey(k), nil
}

// optionalMode and optionalKind read what the schema has let through; "" is the zero value.
func optionalMode(s string) (policy.Mode, error) {
	if s == "" {
		return 0, nil
	}
	m, err := policy.ParseMode(s)
	if err != nil {
		return 0, badParam("mode", "mode must be live or sandbox")
	}
	return m, nil
}

func optionalKind(s string) (policy.Kind, error) {
	if s == "" {
		return 0, nil
	}
	k, err := policy.ParseKind(s)
	if err != nil {
		return 0, badParam("kind", "kind must be secret, publishable, restricted or organization")
	}
	return k, nil
}
