package dashboard

import (
	"net/url"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// eventLinks finds the pages of what events are about. An id leads somewhere only if the object is still there and the viewer
// may see it: the API is asked, once for each.
type eventLinks struct {
	q     *request
	page  *Page
	found map[string]string
}

// to is the address of an object's page, "" if there is none for the viewer.
func (l *eventLinks) to(id string) string {
	address, asked := l.found[id]
	if !asked {
		address = l.find(id)
		l.found[id] = address
	}
	return address
}

func (l *eventLinks) find(id string) string {
	prefix, _, _ := strings.Cut(id, "_")
	switch escaped := url.PathEscape(id); prefix {
	case "key":
		k, ok := seen[api.Key](l, "get_key", "/v1/keys/"+escaped)
		if !ok {
			return ""
		}
		s := Scope{Mode: k.Mode}
		switch {
		case k.Account != nil:
			s.Account = *k.Account
		case k.Organization != nil:
			s.Organization = *k.Organization
		}
		if k.Sandbox != nil {
			s.Sandbox = *k.Sandbox
		}
		return l.page.To(s.path("keys/" + k.ID))
	case "acct":
		if a, ok := seen[api.Account](l, "get_account", "/v1/accounts/"+escaped); ok {
			return l.page.To(Scope{Account: a.ID, Mode: modeSandbox}.path("account"))
		}
	case "org":
		if o, ok := seen[api.Organization](l, "get_organization", "/v1/organizations/"+escaped); ok {
			return l.page.To(Scope{Organization: o.ID, Mode: modeLive}.path("organization"))
		}
	case "mem":
		if m, ok := seen[api.Member](l, "get_member", "/v1/members/"+escaped); ok {
			return l.page.About("members/" + m.ID)
		}
	case "adm":
		if t, ok := seen[api.AdminToken](l, "get_admin_token", "/v1/admin_tokens/"+escaped); ok {
			return l.page.To(withQuery("/tokens", "account", l.q.scope.Account, "organization", l.q.scope.Organization, "id", t.ID))
		}
	case "we":
		if w, ok := seen[api.WebhookEndpoint](l, "get_webhook_endpoint", "/v1/webhook_endpoints/"+escaped); ok {
			return l.page.About("webhooks/" + w.ID)
		}
	}
	return ""
}

// seen asks for an object as the viewer.
func seen[T any](l *eventLinks, operation, path string) (T, bool) {
	var none T
	if !l.q.may(operation) {
		return none, false
	}
	found, err := ask[T](l.q, get(path, nil))
	return found, err == nil
}
