package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

// Sandbox is an isolated place of sandbox mode inside an account.
type Sandbox struct {
	ID        string    `json:"id" example:"sbx_8kQ2mZp4Tn1vXw6Y"`
	Object    string    `json:"object" enum:"sandbox"`
	Account   string    `json:"account"`
	Name      string    `json:"name"`
	Default   bool      `json:"default" doc:"It is the one that every account has; it cannot be deleted"`
	CreatedAt time.Time `json:"created_at"`
}

// SandboxCreated is a new sandbox with its two keys.
type SandboxCreated struct {
	Sandbox
	Keys []Key `json:"keys" nullable:"false" doc:"Its own secret and publishable key; the secret one can be revealed at any time"`
}

// SandboxCreate is the body that makes a sandbox.
type SandboxCreate struct {
	Name string `json:"name" doc:"Unique in its account"`
}

// Deleted is the answer for an object that is gone.
type Deleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

func viewSandbox(s *keystore.Sandbox) Sandbox {
	return Sandbox{
		ID: s.ID, Object: "sandbox", Account: s.Account, Name: s.Name, Default: s.Name == keystore.DefaultSandboxName, CreatedAt: *stamp(s.CreatedAt),
	}
}

type listSandboxesInput struct {
	ID            string `path:"id" doc:"acct_…"`
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type createSandboxInput struct {
	ID   string `path:"id" doc:"acct_…"`
	Body SandboxCreate
}

type deleteSandboxInput struct {
	ID        string `path:"id" doc:"acct_…"`
	SandboxID string `path:"sandbox_id" doc:"sbx_…"`
}

func (a *API) registerSandboxes() {
	const tag = "sandboxes"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/accounts/{id}/sandboxes", id: "list_sandboxes", tag: tag, summary: "List an account's sandboxes",
	}, a.listSandboxes)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/accounts/{id}/sandboxes", id: "create_sandbox", tag: tag, summary: "Create a sandbox", etag: true,
		description: "Makes the sandbox with a secret and a publishable key of its own.",
	}, a.createSandbox)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/accounts/{id}/sandboxes/{sandbox_id}", id: "delete_sandbox", tag: tag, summary: "Delete a sandbox",
		description: "Its keys end at once. The sandbox named default cannot be deleted.", errors: []int{http.StatusConflict},
	}, a.deleteSandbox)
}

func (a *API) listSandboxes(_ *call, in *listSandboxesInput) (List[Sandbox], error) {
	snapshot := a.Store.Snapshot()
	if _, ok := snapshot.Account(in.ID); !ok {
		return List[Sandbox]{}, notFound("account", in.ID)
	}
	rows, more, err := snapshot.Sandboxes(in.ID, page(in.Limit, in.StartingAfter))
	if err != nil {
		return List[Sandbox]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, viewSandbox), nil
}

func (a *API) createSandbox(c *call, in *createSandboxInput) (SandboxCreated, error) {
	ctx, cancel := c.commit()
	defer cancel()
	sandbox, keys, err := a.Store.CreateSandbox(ctx, c.actor, in.ID, in.Body.Name)
	if err != nil {
		return SandboxCreated{}, err
	}
	c.revision = sandbox.Revision
	return SandboxCreated{Sandbox: viewSandbox(sandbox), Keys: listOf(keys, false, c.viewKey).Data}, nil
}

func (a *API) deleteSandbox(c *call, in *deleteSandboxInput) (Deleted, error) {
	ctx, cancel := c.commit()
	defer cancel()
	if err := a.Store.DeleteSandbox(ctx, c.actor, in.ID, in.SandboxID); err != nil {
		return Deleted{}, err
	}
	return Deleted{ID: in.SandboxID, Object: "sandbox", Deleted: true}, nil
}
