package dashboard

import (
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func sandboxPages() []route {
	return []route{
		{"GET /{owner}/{mode}/sandboxes", "list_sandboxes", (*request).showSandboxes},
		{"POST /{owner}/{mode}/sandboxes", "create_sandbox", (*request).createSandbox},
		{"POST /{owner}/{mode}/sandboxes/{id}/delete", "delete_sandbox", (*request).deleteSandbox},
	}
}

var (
	doneSandbox        = notice("sandbox_created", "The sandbox is made, with a secret and a publishable key of its own.")
	doneSandboxDeleted = notice("sandbox_deleted", "The sandbox is deleted, and its keys have ended.")
)

// sandboxesPage lists an account's sandboxes.
type sandboxesPage struct {
	Page
	Rows []api.Sandbox
	More string
	Name string
}

// shrink leaves rows to the next page.
func (p *sandboxesPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *sandboxesPage) next(s api.Sandbox) string {
	return p.In(withQuery("sandboxes", "after", s.ID))
}

func (q *request) sandboxesPage() (*sandboxesPage, error) {
	if q.scope.Account == "" || q.scope.Live() {
		return nil, notFoundError()
	}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.Sandbox]](q, get("/v1/accounts/"+q.scope.Account+"/sandboxes", asked))
	if err != nil {
		return nil, err
	}
	p := &sandboxesPage{Page: q.page("Sandboxes", "sandboxes"), Rows: list.Data}
	if list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return p, nil
}

func (q *request) showSandboxes() error {
	p, err := q.sandboxesPage()
	if err != nil {
		return err
	}
	return q.show("sandboxes", p)
}

func (q *request) createSandbox() error {
	s, err := ask[api.SandboxCreated](q, q.once(post("/v1/accounts/"+q.scope.Account+"/sandboxes", api.SandboxCreate{Name: q.form("name")})))
	if err != nil {
		wrong := formFailure(err)
		if wrong == nil {
			return err
		}
		p, err := q.sandboxesPage()
		if err != nil {
			return err
		}
		p.Error, p.Name = wrong, q.form("name")
		return q.show("sandboxes", p)
	}
	return q.seeOther(Scope{Account: q.scope.Account, Mode: modeSandbox, Sandbox: s.ID}.path("keys"), doneSandbox)
}

func (q *request) deleteSandbox() error {
	c := call{method: http.MethodDelete, path: "/v1/accounts/" + q.scope.Account + "/sandboxes/" + url.PathEscape(q.r.PathValue("id"))}
	if _, err := ask[api.Deleted](q, c); err != nil {
		return err
	}
	return q.seeOther(Scope{Account: q.scope.Account, Mode: modeSandbox}.path("sandboxes"), doneSandboxDeleted)
}
