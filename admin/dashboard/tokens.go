package dashboard

import (
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func tokenPages() []route {
	return []route{
		{"GET /tokens", "list_admin_tokens", (*request).showTokens},
		{"POST /tokens", "create_admin_token", (*request).createToken},
		{"POST /tokens/{id}/delete", "delete_admin_token", (*request).deleteToken},
	}
}

var doneTokenDeleted = notice("token_deleted", "The admin token is deleted. It opens nothing any more.")

// tokensPage lists the credentials of machines.
type tokensPage struct {
	Page
	Rows               []api.AdminToken
	More               string
	Name, Role, Limit  string
	Expires, ExpiresAt string
	One                string // id of the only one that is shown
}

// shrink leaves rows to the next page.
func (p *tokensPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *tokensPage) next(t api.AdminToken) string {
	return p.To(withQuery("/tokens", "account", p.Scope.Account, "organization", p.Scope.Organization, "after", t.ID))
}

// roleChoices are the roles with what they may do.
var roleChoices = []choice{
	{"viewer", "Viewer: sees keys and logs, no tokens"}, {"developer", "Developer: keys and logs"},
	{"administrator", "Administrator: all but owners"}, {"owner", "Owner: everything"},
}

// Roles are they, for the template.
func (tokensPage) Roles() []choice { return roleChoices }

// Expiries are the ends that a token may be given.
func (tokensPage) Expiries() []choice { return expiryChoices }

func (q *request) tokensPage() (*tokensPage, error) {
	p := &tokensPage{Page: q.page("Admin tokens", "tokens"), Role: "developer"}
	p.Limit = q.scope.Owner()
	if p.One = q.query("id"); p.One != "" { // one of them, that an event is about
		t, err := ask[api.AdminToken](q, get("/v1/admin_tokens/"+url.PathEscape(p.One), nil))
		p.Rows = []api.AdminToken{t}
		return p, err
	}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.AdminToken]](q, get("/v1/admin_tokens", asked))
	if err != nil {
		return nil, err
	}
	if p.Rows = list.Data; list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return p, nil
}

func (q *request) showTokens() error {
	p, err := q.tokensPage()
	if err != nil {
		return err
	}
	return q.show("tokens", p)
}

func (q *request) createToken() error {
	body := api.AdminTokenCreate{Name: q.form("name"), Role: q.form("role")}
	body.Account, body.Organization = limitOf(q.form("limit"))
	end, wrong := q.expiry(q.form("expires"), q.form("expires_at"))
	var t api.AdminToken
	var header http.Header
	var err error
	if wrong == nil {
		if !end.IsZero() {
			body.ExpiresAt = api.Set(end)
		}
		t, header, err = askHeader[api.AdminToken](q, q.withCode(q.once(post("/v1/admin_tokens", body))))
		if wrong = formFailure(err); wrong == nil && err != nil {
			return q.failOrCode(err, "Create admin token", codeFor{operation: "create_admin_token", body: body})
		}
	}
	if wrong != nil {
		p, err := q.tokensPage()
		if err != nil {
			return err
		}
		p.Error, p.Name, p.Role, p.Limit, p.Expires, p.ExpiresAt = wrong, q.form("name"), q.form("role"), q.form("limit"), q.form("expires"), q.form("expires_at")
		return q.show("tokens", p)
	}
	if header.Get("Idempotent-Replayed") != "" {
		return repeated()
	}
	p := &secretPage{
		Page: q.page("Your new admin token", "tokens"), Heading: "Save your new admin token", Name: t.Name, Label: "Admin token", Secret: string(t.Token),
		Text: "This is the only time that it is shown. Whoever has it can do what its role allows.",
	}
	p.Next = p.To(withQuery("/tokens", "account", q.scope.Account, "organization", q.scope.Organization))
	return q.show("secret", p)
}

// limitOf is an owner's id as the field of a body that it belongs into.
func limitOf(id string) (account, organization api.Optional[string]) {
	switch {
	case id == "":
	case len(id) > 4 && id[:4] == "org_":
		organization = api.Set(id)
	default:
		account = api.Set(id)
	}
	return account, organization
}

func (q *request) deleteToken() error {
	c := call{method: http.MethodDelete, path: "/v1/admin_tokens/" + url.PathEscape(q.r.PathValue("id"))}
	if _, err := ask[api.Deleted](q, c); err != nil {
		return err
	}
	return q.seeOther(withQuery("/tokens", "account", q.scope.Account, "organization", q.scope.Organization), doneTokenDeleted)
}
