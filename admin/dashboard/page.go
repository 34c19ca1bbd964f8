package dashboard

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
)

// Page is what every page has; each page's own struct embeds it.
type Page struct {
	Title  string
	Nav    string // the entry of the navigation that it belongs to
	Notice string // what was just done, after a form
	Error  *formError
	Scope  Scope
	Viewer *viewer // nil: a guest

	Owner     ownerName   // of the scope, if it has one
	Sandboxes []sandboxOf // of the account, in sandbox mode
	Switch    []ownerName // where else the viewer can go
	SwitchAll bool        // Switch is all of them

	q *request
}

// viewer is who looks at the page.
type viewer struct {
	Name, Role string
}

// ownerName is an account or organization as links name it.
type ownerName struct {
	ID, Name     string
	Organization bool
}

// sandboxOf is a sandbox in the list of those one can change to.
type sandboxOf struct {
	ID, Name string
	Current  bool
}

// switchMost bounds the list of accounts and organizations in the head of each page; the whole list has a page of its own.
const switchMost = 12

// page is the common part of a page. What it needs of the API for the frame around the page may fail without harm: the page
// itself says what is wrong.
func (q *request) page(title, nav string) Page {
	p := Page{Title: title, Nav: nav, Scope: q.scope, Notice: notices[q.query("done")], q: q}
	if q.caller == nil {
		return p
	}
	p.Viewer = &viewer{Name: q.caller.Actor.Name, Role: string(q.caller.Role)}
	p.Owner = q.owner
	if q.owner.ID != "" && q.scope.Account != "" && q.scope.Mode == modeSandbox {
		p.Sandboxes, _ = q.sandboxes()
	}
	p.Switch, p.SwitchAll = q.reachable()
	return p
}

// ownerOf finds the account or organization of a scope.
func (q *request) ownerOf(s Scope) (ownerName, error) {
	switch {
	case s.Account != "":
		a, err := ask[api.Account](q, get("/v1/accounts/"+url.PathEscape(s.Account), nil))
		return ownerName{ID: s.Account, Name: a.Name}, err
	case s.Organization != "":
		o, err := ask[api.Organization](q, get("/v1/organizations/"+url.PathEscape(s.Organization), nil))
		return ownerName{ID: s.Organization, Name: o.Name, Organization: true}, err
	}
	return ownerName{}, nil
}

// sandboxes lists sandboxes of the account, the default one first and no more than the head of a page has room for, and says
// which one the page is about.
func (q *request) sandboxes() ([]sandboxOf, error) {
	rows, _, err := pages(q, "/v1/accounts/"+q.scope.Account+"/sandboxes", nil, 100, func(s api.Sandbox) string { return s.ID })
	if err != nil {
		return nil, err
	}
	var out []sandboxOf
	for _, s := range rows {
		row := sandboxOf{ID: s.ID, Name: shorten(s.Name, 80), Current: s.ID == q.scope.Sandbox || q.scope.Sandbox == "" && s.Default}
		if s.Default {
			out = append([]sandboxOf{row}, out...)
			continue
		}
		out = append(out, row)
	}
	current := slices.IndexFunc(out, func(s sandboxOf) bool { return s.Current })
	if len(out) > switchMost && current >= switchMost {
		out[switchMost-1] = out[current]
	}
	return out[:min(len(out), switchMost)], nil
}

// sandboxID is the sandbox that the page is about, also if the address names none.
func (q *request) sandboxID() (string, error) {
	if q.scope.Sandbox != "" || q.scope.Account == "" || q.scope.Mode != modeSandbox {
		return q.scope.Sandbox, nil
	}
	a, err := ask[api.Account](q, get("/v1/accounts/"+q.scope.Account, nil))
	return a.DefaultSandbox, err
}

// reachable lists organizations and accounts that the viewer may look at, as many as the head of a page has room for.
func (q *request) reachable() (all []ownerName, whole bool) {
	whole = true
	for _, as := range q.everywhere() {
		organizations, err := ask[api.List[api.Organization]](as, get("/v1/organizations", url.Values{"limit": {"6"}}))
		if err != nil {
			return all, false
		}
		accounts, err := ask[api.List[api.Account]](as, get("/v1/accounts", url.Values{"limit": {"12"}}))
		if err != nil {
			return all, false
		}
		found := make([]ownerName, 0, switchMost)
		for _, o := range organizations.Data {
			found = append(found, ownerName{ID: o.ID, Name: shorten(o.Name, 80), Organization: true})
		}
		for _, a := range accounts.Data {
			found = append(found, ownerName{ID: a.ID, Name: shorten(a.Name, 80)})
		}
		whole = whole && !organizations.HasMore && !accounts.HasMore
		for _, o := range found {
			switch {
			case slices.Contains(all, o):
			case len(all) == switchMost:
				return all, false
			default:
				all = append(all, o)
			}
		}
	}
	return all, whole
}

// To is the address of one of our paths.
func (p Page) To(path string) string { return p.q.links.To(path) }

// In is the address of a page of the scope.
func (p Page) In(page string) string { return p.q.links.To(p.Scope.path(page)) }

// About is the address of a page of the installation, limited to the scope's owner.
func (p Page) About(page string) string {
	return p.q.links.To(withQuery("/"+page, "account", p.Scope.Account, "organization", p.Scope.Organization))
}

// File is the address of the style, a script or a picture.
func (p Page) File(name string) string { return p.q.links.File(name) }

// May says whether the viewer may make a call of the API.
func (p Page) May(operation string) bool { return p.q.may(operation) }

// Mode is the word for the mode, "" outside of one.
func (p Page) Mode() string { return p.Scope.Mode }

// ModeName is the mode as people read it.
func (p Page) ModeName() string {
	if p.Scope.Live() {
		return "Live mode"
	}
	return "Sandbox"
}

// Other is the address of the same page in the other mode. A page about one thing of a mode goes to the list of such things.
func (p Page) Other(mode string) string {
	s := p.Scope
	s.Mode, s.Sandbox = mode, ""
	page := "keys"
	if p.Nav == "logs" || p.Nav == "explain" {
		page = p.Nav
	}
	return p.q.links.To(s.path(page))
}

// InOwner is the address of the keys of an account or organization, in the mode that the page has.
func (p Page) InOwner(o ownerName) string {
	mode := p.Scope.Mode
	if mode == "" {
		mode = modeSandbox
	}
	return p.q.links.To("/" + o.ID + "/" + mode + "/keys")
}

// InSandbox is the address of the keys of another sandbox.
func (p Page) InSandbox(id string) string {
	s := p.Scope
	s.Sandbox = id
	page := "keys"
	if p.Nav == "logs" {
		page = "logs"
	}
	return p.q.links.To(s.path(page))
}

// SandboxName is the name of the sandbox that the page is about.
func (p Page) SandboxName() string {
	for _, s := range p.Sandboxes {
		if s.Current {
			return s.Name
		}
	}
	return ""
}

// Here is the address that the page's own forms go to.
func (p Page) Here() string { return p.q.links.To(p.q.r.URL.RequestURI()) }

// FullTitle is what the tab of the browser says: the mode first, so that two tabs are told apart.
func (p Page) FullTitle() string {
	title := p.Title
	if p.Scope.Mode != "" {
		title = p.ModeName() + ": " + title
		if p.Owner.Name != "" {
			title += " · " + p.Owner.Name
		}
	}
	return title + " · Keystile"
}

// notices are the sentences for what was just done, by the word in the address: nothing that an address says is shown.
var notices = map[string]string{}

// notice adds one. Each file of pages adds its own.
func notice(word, text string) string {
	notices[word] = text
	return word
}

// errorPage says what went wrong and what to do next.
type errorPage struct {
	Page
	Status    int
	Text      string
	RequestID string
	Ask       bool     // somebody else can give the right that is missing
	Owners    []string // who
}

// ofRefusal fills the page for a call that was not made.
func (p *errorPage) ofRefusal(q *request, status int, code, message string) {
	p.Status, p.Text = status, sentence(message)
	switch {
	case code == auth.CodeRole || code == auth.CodeLimit:
		p.Title, p.Ask = "Ask the owner", true
		if rule, ok := auth.RuleOf(q.route.operation); ok && code == auth.CodeRole && q.caller != nil {
			p.Text = "Your role here is " + string(q.caller.Role) + ". This takes the role " + string(rule.Role) + "."
		}
		if q.Owners != nil {
			p.Owners = q.Owners(q.scope.where())
		}
	case status == http.StatusUnauthorized:
		p.Title = "Please sign in"
	case status == http.StatusNotFound:
		p.Title, p.Text = "There is nothing here", "Perhaps it was deleted, or the link is not whole, or it belongs to an account that you have no right to see."
	case status == http.StatusTooManyRequests:
		p.Title = "Too many tries"
	case status == http.StatusConflict:
		p.Title = "That is not possible now"
	default:
		p.Title = "That did not work"
	}
}
