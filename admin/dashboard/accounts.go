package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"

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
	Within        bool              // the viewer may make accounts in an organization only
	MoreOrganized string            // address of the next page of organizations
	Few           bool              // the form offers all organizations to choose from
	names         map[string]string // of organizations by id
}

// shrink leaves rows of the longer list to its next page.
func (p *accountsPage) shrink() bool {
	if len(p.Organizations) > len(p.Accounts) {
		p.Few = false
		return moreAfter(&p.Organizations, &p.MoreOrganized, p.nextOrganization)
	}
	return moreAfter(&p.Accounts, &p.More, p.nextAccount)
}

func (p *accountsPage) nextAccount(a api.Account) string {
	return p.To(withQuery("/accounts", "after", a.ID))
}

func (p *accountsPage) nextOrganization(o api.Organization) string {
	return p.To(withQuery("/accounts", "organizations", o.ID))
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

// How many accounts and organizations a page has.
const (
	accountsShown      = 25
	organizationsShown = 15
	// reachedMost is how many rows of a list are shown for each of several roles.
	reachedMost = 1000
)

func (q *request) accountsPage() (*accountsPage, error) {
	p := &accountsPage{Page: q.page("Accounts", "accounts"), names: map[string]string{}, Within: q.caller.Organization != ""}
	all := q.everywhere()
	organizations, more, err := seenBy(q, all, "/v1/organizations", "organizations", organizationsShown, func(o api.Organization) string { return o.ID })
	if err != nil {
		return nil, err
	}
	if p.Organizations = organizations; more {
		p.MoreOrganized = p.nextOrganization(organizations[len(organizations)-1])
	}
	p.Few = !more && q.query("organizations") == ""
	accounts, more, err := seenBy(q, all, "/v1/accounts", "after", accountsShown, func(a api.Account) string { return a.ID })
	if err != nil {
		return nil, err
	}
	if p.Accounts = accounts; more {
		p.More = p.nextAccount(accounts[len(accounts)-1])
	}
	for _, o := range p.Organizations {
		p.names[o.ID] = o.Name
	}
	for _, a := range p.Accounts {
		if id := a.Organization; id != nil && p.names[*id] == "" {
			if o, err := q.wide().ownerOf(Scope{Organization: *id}); err == nil {
				p.names[*id] = o.Name
			}
		}
	}
	return p, nil
}

// seenBy is one page of a list, after the row that a parameter of the address names. To a member with several roles it shows
// what each of them reaches, in one list.
func seenBy[T any](q *request, all []*request, path, cursor string, n int, id func(T) string) (rows []T, more bool, err error) {
	if len(all) == 1 {
		asked := url.Values{"limit": {strconv.Itoa(n)}}
		if after := q.query(cursor); after != "" {
			asked.Set("starting_after", after)
		}
		list, err := ask[api.List[T]](all[0], get(path, asked))
		return list.Data, list.HasMore, err
	}
	seen := map[string]bool{}
	for _, as := range all {
		found, _, err := pages(as, path, nil, reachedMost, id)
		if err != nil {
			return nil, false, err
		}
		for _, row := range found {
			if !seen[id(row)] {
				rows = append(rows, row)
			}
			seen[id(row)] = true
		}
	}
	rows, more = partOf(rows, q.query(cursor), n, id)
	return rows, more, nil
}

// partOf is at most n rows of a whole list, from behind the row with an id on ("": from the beginning), and whether there are
// more.
func partOf[T any](rows []T, after string, n int, id func(T) string) (part []T, more bool) {
	if i := slices.IndexFunc(rows, func(r T) bool { return id(r) == after }); i >= 0 {
		rows = rows[i+1:]
	}
	return rows[:min(n, len(rows))], len(rows) > n
}

func (q *request) createAccount() error {
	body := api.AccountCreate{Name: q.form("name")}
	if o := cmp.Or(q.form("organization"), q.caller.Organization); o != "" {
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
	More      string     // address of the next page of connected accounts
	Organized *ownerName // the organization that it belongs to
	Connect   *formError
	ConnectID string
}

// shrink leaves connected accounts to the next page.
func (p *accountPage) shrink() bool { return moreAfter(&p.Connected, &p.More, p.next) }

func (p *accountPage) next(o ownerName) string { return p.In(withQuery("account", "after", o.ID)) }

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
	connected, more := partOf(a.Connections, q.query("after"), accountsShown, func(id string) string { return id })
	for _, id := range connected {
		o, err := wide.ownerOf(Scope{Account: id})
		if err != nil { // it lies beyond what the viewer sees
			o = ownerName{ID: id, Name: id}
		}
		p.Connected = append(p.Connected, o)
	}
	if more {
		p.More = p.next(p.Connected[len(p.Connected)-1])
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
