package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

// Organization owns accounts and organization keys.
type Organization struct {
	ID        string    `json:"id" example:"org_4eC39HqLyjWDarjt"`
	Object    string    `json:"object" enum:"organization"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
}

// OrganizationCreate is the body that makes an organization.
type OrganizationCreate struct {
	Name string `json:"name" doc:"1 to 200 characters"`
}

// OrganizationUpdate is the body that changes an organization. Absent fields stay as they are.
type OrganizationUpdate struct {
	Name Optional[string] `json:"name,omitzero" doc:"1 to 200 characters; not null"`
}

func viewOrganization(o *keystore.Organization) Organization {
	return Organization{ID: o.ID, Object: "organization", Name: o.Name, CreatedAt: *stamp(o.CreatedAt)}
}

type listOrganizationsInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type createOrganizationInput struct {
	Body OrganizationCreate
}

type getOrganizationInput struct {
	ID string `path:"id" doc:"org_…"`
}

type updateOrganizationInput struct {
	ID   string `path:"id" doc:"org_…"`
	Body OrganizationUpdate
}

func (a *API) registerOrganizations() {
	const tag = "organizations"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/organizations", id: "list_organizations", tag: tag, summary: "List organizations",
	}, a.listOrganizations)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/organizations", id: "create_organization", tag: tag, summary: "Create an organization", etag: true,
	}, a.createOrganization)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/organizations/{id}", id: "get_organization", tag: tag, summary: "Get an organization", etag: true,
	}, a.getOrganization)
	handle(a, operation{
		method: http.MethodPatch, path: "/v1/organizations/{id}", id: "update_organization", tag: tag,
		summary: "Change an organization", etag: true, precondition: true,
	}, a.updateOrganization)
}

func (a *API) listOrganizations(c *call, in *listOrganizationsInput) (List[Organization], error) {
	snapshot := a.Store.Snapshot()
	_, known := snapshot.Organization(in.StartingAfter)
	if err := checkCursor(in.StartingAfter, known && c.covers("", in.StartingAfter)); err != nil {
		return List[Organization]{}, err
	}
	if c.caller.Limited() {
		own, ok := snapshot.Organization(c.caller.Organization)
		return listOf(onlyRow(own, ok && in.StartingAfter == ""), false, viewOrganization), nil
	}
	rows, more, err := snapshot.Organizations(page(in.Limit, in.StartingAfter))
	if err != nil {
		return List[Organization]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, viewOrganization), nil
}

func (a *API) createOrganization(c *call, in *createOrganizationInput) (Organization, error) {
	ctx, cancel := c.commit()
	defer cancel()
	o, err := a.Store.CreateOrganization(ctx, c.actor, keystore.OrganizationParams{Name: in.Body.Name})
	if err != nil {
		return Organization{}, err
	}
	c.revision = o.Revision
	return viewOrganization(o), nil
}

func (a *API) getOrganization(c *call, in *getOrganizationInput) (Organization, error) {
	o, ok := a.Store.Snapshot().Organization(in.ID)
	if !ok {
		return Organization{}, notFound("organization", in.ID)
	}
	c.revision = o.Revision
	return viewOrganization(o), nil
}

func (a *API) updateOrganization(c *call, in *updateOrganizationInput) (Organization, error) {
	o, ok := a.Store.Snapshot().Organization(in.ID)
	if !ok {
		return Organization{}, notFound("organization", in.ID)
	}
	revision, err := c.ifRevision(o.Revision)
	if err != nil {
		return Organization{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	o, err = a.Store.UpdateOrganization(ctx, c.actor, in.ID, keystore.OrganizationPatch{Name: field(in.Body.Name), IfRevision: revision})
	if err != nil {
		return Organization{}, err
	}
	c.revision = o.Revision
	return viewOrganization(o), nil
}
