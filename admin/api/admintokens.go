package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// AdminToken is a machine's credential for this API, without the credential.
type AdminToken struct {
	ID           string     `json:"id" example:"adm_8DpB666ojJIBrHTw33ZR"`
	Object       string     `json:"object" enum:"admin_token"`
	Name         string     `json:"name"`
	Role         string     `json:"role" enum:"owner,administrator,developer,viewer"`
	Organization *string    `json:"organization" doc:"What it is limited to: this organization, its accounts and what is theirs; null: not"`
	Account      *string    `json:"account" doc:"What it is limited to: this account and what is its; null: not"`
	Status       string     `json:"status" enum:"active,expired"`
	Token        Token      `json:"token,omitempty" doc:"The credential, in the answer of create and no other"`
	TokenMasked  string     `json:"token_masked" example:"adm_****abcd"`
	CreatedAt    time.Time  `json:"created_at"`
	CreatedBy    string     `json:"created_by"`
	ExpiresAt    *time.Time `json:"expires_at" doc:"null: never"`
	LastUsedAt   *time.Time `json:"last_used_at" doc:"Within a minute; null: never used"`
	LastUsedIP   *string    `json:"last_used_ip"`
}

// AdminTokenCreate is the body that makes an admin token.
type AdminTokenCreate struct {
	Name         string              `json:"name" doc:"1 to 200 characters"`
	Role         string              `json:"role" enum:"owner,administrator,developer,viewer" doc:"Not more than the caller's own"`
	Organization Optional[string]    `json:"organization,omitzero" doc:"Limits it to an organization, its accounts and what is theirs"`
	Account      Optional[string]    `json:"account,omitzero" doc:"Limits it to an account and what is its; not together with organization"`
	ExpiresAt    Optional[time.Time] `json:"expires_at,omitzero" doc:"Absent: never. Not after the end of the caller's own token"`
}

func viewAdminToken(t *keystore.AdminToken, now time.Time) AdminToken {
	out := AdminToken{
		ID: t.ID, Object: "admin_token", Name: t.Name, Role: string(t.Role), Organization: some(t.Organization), Account: some(t.Account),
		Status: "active", TokenMasked: t.Mask, CreatedAt: *stamp(t.CreatedAt), CreatedBy: t.CreatedBy, ExpiresAt: stamp(t.ExpiresAt),
	}
	if t.Expired(now) {
		out.Status = "expired"
	}
	if usage, ok := t.LastUsed(); ok {
		out.LastUsedAt = stamp(usage.At)
		if usage.Address.IsValid() {
			out.LastUsedIP = some(usage.Address.String())
		}
	}
	return out
}

type listAdminTokensInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type createAdminTokenInput struct {
	Body AdminTokenCreate
}

type adminTokenInput struct {
	ID string `path:"id" doc:"adm_…"`
}

func (a *API) registerAdminTokens() {
	const tag = "admin tokens"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/admin_tokens", id: "list_admin_tokens", tag: tag, summary: "List admin tokens",
	}, a.listAdminTokens)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/admin_tokens", id: "create_admin_token", tag: tag, summary: "Create an admin token", etag: true,
		errors:      []int{http.StatusNotFound},
		description: "The answer is the only one that has the token: keep it. Nobody makes a token with more rights than their own.",
	}, a.createAdminToken)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/admin_tokens/{id}", id: "get_admin_token", tag: tag, summary: "Get an admin token", etag: true,
	}, a.getAdminToken)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/admin_tokens/{id}", id: "delete_admin_token", tag: tag, summary: "Delete an admin token",
		description: "Works at once and is final. A token may delete itself.",
	}, a.deleteAdminToken)
}

// noAdminToken does not repeat the id: it begins as the credential does, and may be one that was pasted in its place.
func noAdminToken() *Error {
	return newError(http.StatusNotFound, string(keystore.CodeNotFound), "", "no such admin token")
}

func (a *API) listAdminTokens(c *call, in *listAdminTokensInput) (List[AdminToken], error) {
	snapshot := a.Store.Snapshot()
	covered := func(t *keystore.AdminToken) bool { return c.covers(t.Account, t.Organization) }
	rows, more, err := snapshot.AdminTokens(page(in.Limit, in.StartingAfter), covered)
	if err != nil {
		return List[AdminToken]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, func(t *keystore.AdminToken) AdminToken { return viewAdminToken(t, c.now) }), nil
}

func (a *API) createAdminToken(c *call, in *createAdminTokenInput) (AdminToken, error) {
	p := keystore.AdminTokenParams{
		Name: in.Body.Name, Role: keystore.Role(in.Body.Role),
		Organization: in.Body.Organization.Value, Account: in.Body.Account.Value, ExpiresAt: in.Body.ExpiresAt.Value,
	}
	if p.Organization != "" || p.Account != "" {
		if err := c.coversOwner(p.Account, p.Organization); err != nil {
			return AdminToken{}, err
		}
	}
	if err := c.caller.MayGrant(p.Role, p.Organization, p.Account); err != nil {
		return AdminToken{}, err
	}
	if err := c.caller.MayLast(p.ExpiresAt); err != nil {
		return AdminToken{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	t, token, err := a.Store.CreateAdminToken(ctx, c.actor, p)
	if err != nil {
		return AdminToken{}, err
	}
	c.revision = t.Revision
	out := viewAdminToken(t, c.now)
	out.Token = Token(token.Reveal())
	return out, nil
}

func (a *API) getAdminToken(c *call, in *adminTokenInput) (AdminToken, error) {
	t, ok := a.Store.Snapshot().AdminToken(in.ID)
	if !ok {
		return AdminToken{}, noAdminToken()
	}
	c.revision = t.Revision
	return viewAdminToken(t, c.now), nil
}

func (a *API) deleteAdminToken(c *call, in *adminTokenInput) (Deleted, error) {
	t, ok := a.Store.Snapshot().AdminToken(in.ID)
	if !ok {
		return Deleted{}, noAdminToken()
	}
	if err := c.caller.MayGrant(t.Role, t.Organization, t.Account); err != nil {
		return Deleted{}, withoutParam(err)
	}
	ctx, cancel := c.commit()
	defer cancel()
	if err := a.Store.DeleteAdminToken(ctx, c.actor, in.ID); err != nil {
		if keystore.CodeOf(err) == keystore.CodeNotFound {
			return Deleted{}, noAdminToken() // somebody was faster
		}
		return Deleted{}, err
	}
	return Deleted{ID: t.ID, Object: "admin_token", Deleted: true}, nil
}

// withoutParam is a refusal of a call that has no such field.
func withoutParam(err error) error {
	if r, ok := err.(*auth.Refusal); ok { //nolint:errorlint // made just now, by MayGrant
		bare := *r
		bare.Param = ""
		return &bare
	}
	return err
}
