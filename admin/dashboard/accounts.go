package dashboard

import (
	"cmp"
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func accountPages() []route {
	return []route{
		{"GET /accounts", "list_accounts", (*request).showAccounts},
		{"POST /accounts/new", "create_account", (*request).createAccount},
		{"GET /{owner}/{mode}/account", "get_account", (*request).showAccount},
		{"POST /{owner}/{mode}/account", "update_account", (*request).updateAccount},
		{"POST /{owner}/{mode}/account/connect", "connect_account", (*request).connect},
		{"POST /{owner}/{mode}/account/disconnect", "disconnect_account", (*request).disconnect},
	}
}

var (
	doneAccount      = notice("account_created", "The account is made, with four keys: secret and publishable, sandbox and live.")
	doneConnected    = notice("connected", "The account is connected. Keys reach it where their permissions for connected accounts allow it.")
	doneDisconnected = notice("disconnected", "The account is disconnected. Keys do not reach it any more.")
)

// accountsPage lists organizations and accounts.
type accountsPage struct {
	Page
	Organizations []api.Organization
	Accounts      []api.Account
	More          string
	Name          string // as a form was sent
	Organization  string
	names         map[string]string // of organizations by id
}

// OrganizationOf names the organization of an account, "" if it belongs to none.
func (p *accountsPage) OrganizationOf(a api.Account) string {
	if a.Organization == nil {
		return ""
	}
	return cmp.Or(p.names[*a.Organization], *a.Organization)
}

func (q *request) showAccounts() error {
	p, err := q.accountsPage()
	if err != nil {
		return err
	}
	return q.show("accounts", p)
}

func (q *request) accountsPage() (*accountsPage, error) {
	p := &accountsPage{Page: q.page("Accounts", "accounts"), names: map[string]string{}}
	for _, as := range q.everywhere() {
		organizations, _, err := pages(as, "/v1/organizations", nil, 100, func(o api.Organization) string { return o.ID })
		if err != nil {
			return nil, err
		}
		for _, o := range organizations {
			if p.names[o.ID] == "" {
				p.Organizations = append(p.Organizations, o)
			}
			p.names[o.ID] = o.Name
		}
	}
	if all := q.everywhere(); len(all) > 1 {
		// Of a member with several roles the accounts of each are shown, in one page: such lists are short.
		seen := map[string]bool{}
		for _, as := range all {
			accounts, _, err := pages(as, "/v1/accounts", nil, 100, func(a api.Account) string { return a.ID })
			if err != nil {
				return nil, err
			}
			for _, a := range accounts {
				if !seen[a.ID] {
					p.Accounts = append(p.Accounts, a)
				}
				seen[a.ID] = true
			}
		}
		return p, nil
	}
	asked := url.Values{"limit": {"50"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.Account]](q, get("/v1/accounts", asked))
	if err != nil {
		return nil, err
	}
	p.Accounts = list.Data
	if list.HasMore {
		p.More = p.To(withQuery("/accounts", "after", list.Data[len(list.Data)-1].ID))
	}
	return p, nil
}

func (q *request) createAccount() error {
	body := api.AccountCreate{Name: q.form("name")}
	if o := q.form("organization"); o != "" {
		body.Organization = api.Set(o)
	}
	a, err := ask[api.AccountCreated](q, q.once(post("/v1/accounts", body)))
	if err != nil {
		wrong := formFailure(err)
		if wrong == nil {
			return err
		}
		p, err := q.accountsPage()
		if err != nil {
			return err
		}
		p.Error, p.Name, p.Organization = wrong, q.form("name"), q.form("organization")
		return q.show("accounts", p)
	}
	return q.seeOther(Scope{Account: a.ID, Mode: modeSandbox}.path("keys"), doneAccount)
}

// accountPage is an account's own page: its name, its default version, and what is connected to it.
type accountPage struct {
	Page
	Account   api.Account
	Name      string
	Version   string
	Connected []ownerName
	Organized *ownerName // the organization that it belongs to
	Connect   *formError
	ConnectID string
}

func (q *request) accountPage() (*accountPage, error) {
	if q.scope.Account == "" {
		return nil, notFoundError()
	}
	a, err := ask[api.Account](q, get("/v1/accounts/"+q.scope.Account, nil))
	if err != nil {
		return nil, err
	}
	p := &accountPage{Page: q.page("Account", "account"), Account: a, Name: a.Name}
	if a.DefaultAPIVersion != nil {
		p.Version = *a.DefaultAPIVersion
	}
	wide := q.wide() // both lie beyond this page; who may not see them reads an id
	for i, id := range a.Connections {
		o := ownerName{ID: id, Name: id}
		if i < 50 { // the names of more would make the page slow; their ids are there
			if named, err := wide.ownerOf(Scope{Account: id}); err == nil {
				o = named
			}
		}
		p.Connected = append(p.Connected, o)
	}
	if a.Organization != nil {
		o, err := wide.ownerOf(Scope{Organization: *a.Organization})
		if err != nil {
			o = ownerName{ID: *a.Organization, Name: *a.Organization}
		}
		p.Organized = &o
	}
	return p, nil
}

func (q *request) showAccount() error {
	p, err := q.accountPage()
	if err != nil {
		return err
	}
	return q.show("account", p)
}

func (q *request) updateAccount() error {
	p, err := q.accountPage()
	if err != nil {
		return err
	}
	p.Name, p.Version = q.form("name"), q.form("version")
	body := api.AccountUpdate{Name: api.Set(p.Name), DefaultAPIVersion: api.SetNull[string]()}
	if p.Version != "" {
		body.DefaultAPIVersion = api.Set(p.Version)
	}
	if _, err := ask[api.Account](q, call{method: http.MethodPatch, path: "/v1/accounts/" + q.scope.Account, body: body}); err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			return q.show("account", p)
		}
		return err
	}
	return q.seeOther(q.scope.path("account"), doneSaved)
}

func (q *request) connect() error {
	id := q.form("connected")
	c := call{method: http.MethodPut, path: "/v1/accounts/" + q.scope.Account + "/connections/" + url.PathEscape(id)}
	if id == "" {
		id = "(nothing)"
		c.path += url.PathEscape(id)
	}
	if _, err := ask[api.Account](q.wide(), c); err != nil { // the other account lies beyond this page
		p, pageErr := q.accountPage()
		if pageErr != nil {
			return pageErr
		}
		e := apiFailure(err)
		if e == nil || e.Status >= http.StatusInternalServerError || e.Status == http.StatusForbidden {
			return err
		}
		p.Connect, p.ConnectID = &formError{Param: "connected", Message: sentence(e.Message)}, q.form("connected")
		return q.show("account", p)
	}
	return q.seeOther(q.scope.path("account"), doneConnected)
}

func (q *request) disconnect() error {
	c := call{method: http.MethodDelete, path: "/v1/accounts/" + q.scope.Account + "/connections/" + url.PathEscape(q.form("connected"))}
	if _, err := ask[api.Account](q, c); err != nil {
		return err
	}
	return q.seeOther(q.scope.path("account"), doneDisconnected)
}
