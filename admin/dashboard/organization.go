package dashboard

import (
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func organizationPages() []route {
	return []route{
		{"POST /organizations/new", "create_organization", (*request).createOrganization},
		{"GET /{owner}/{mode}/organization", "get_organization", (*request).showOrganization},
		{"POST /{owner}/{mode}/organization", "update_organization", (*request).updateOrganization},
	}
}

var doneOrganization = notice("organization_created", "The organization is made. Add accounts to it, and create a key that reaches them all.")

// organizationPage is an organization with its accounts and its keys in the mode.
type organizationPage struct {
	Page
	Organization api.Organization
	Name         string
	Accounts     []api.Account
	More         string
	Keys         keyList
}

// shrink leaves rows of the longer list to its next page.
func (p *organizationPage) shrink() bool {
	if len(p.Keys.Rows) > len(p.Accounts) {
		return p.Keys.shrink()
	}
	return moreAfter(&p.Accounts, &p.More, p.next)
}

func (p *organizationPage) next(a api.Account) string {
	return p.In(withQuery("organization", "after", a.ID))
}

func (q *request) organizationPage() (*organizationPage, error) {
	if q.scope.Organization == "" {
		return nil, notFoundError()
	}
	o, err := ask[api.Organization](q, get("/v1/organizations/"+q.scope.Organization, nil))
	if err != nil {
		return nil, err
	}
	p := &organizationPage{Page: q.page("Organization", "organization"), Organization: o, Name: o.Name}
	asked := url.Values{"organization": {o.ID}, "limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	accounts, err := ask[api.List[api.Account]](q, get("/v1/accounts", asked))
	if err != nil {
		return nil, err
	}
	p.Accounts = accounts.Data
	if accounts.HasMore {
		p.More = p.next(accounts.Data[len(accounts.Data)-1])
	}
	p.Keys, err = q.keyList(url.Values{"organization": {o.ID}, "mode": {q.scope.Mode}}, []keyPart{{"organization", "expiring"}, {"organization", "active"}}, "", keysBeside,
		func(k api.Key) keyRow { return keyRow{Key: k, page: &p.Page} }, func(string) string { return p.In("keys") })
	return p, err
}

func (q *request) showOrganization() error {
	p, err := q.organizationPage()
	if err != nil {
		return err
	}
	return q.show("organization", p)
}

func (q *request) updateOrganization() error {
	p, err := q.organizationPage()
	if err != nil {
		return err
	}
	p.Name = q.form("name")
	c := call{method: http.MethodPatch, path: "/v1/organizations/" + q.scope.Organization, body: api.OrganizationUpdate{Name: api.Set(p.Name)}}
	if _, err := ask[api.Organization](q, c); err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			return q.show("organization", p)
		}
		return err
	}
	return q.seeOther(q.scope.path("organization"), doneSaved)
}

func (q *request) createOrganization() error {
	o, err := ask[api.Organization](q, q.once(post("/v1/organizations", api.OrganizationCreate{Name: q.form("name")})))
	if err != nil {
		wrong := formFailure(err)
		if wrong == nil {
			return err
		}
		p, err := q.accountsPage()
		if err != nil {
			return err
		}
		p.Error = &formError{Message: wrong.Message}
		return q.show("accounts", p)
	}
	return q.seeOther(Scope{Organization: o.ID, Mode: modeSandbox}.path("organization"), doneOrganization)
}
