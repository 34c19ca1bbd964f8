package dashboard

import (
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func explainPages() []route {
	return []route{
		{"GET /{owner}/{mode}/explain", "explain", (*request).showExplain},
		{"POST /{owner}/{mode}/explain", "explain", (*request).sendExplain},
	}
}

// explainPage says what the gateway would decide on a request that is described and not sent.
type explainPage struct {
	Page
	Asked  explained
	Result *api.Explanation
	Key    *keyRow // the one that was asked about
}

// explained is the form.
type explained struct{ Key, Method, Path, Address, Context, Origin, Version, Host string }

// Methods are the usual ones; an address may name any.
func (explainPage) Methods() []string { return []string{"GET", "POST", "PUT", "PATCH", "DELETE"} }

func (q *request) showExplain() error {
	p := &explainPage{Page: q.page("Explain a request", "explain"), Asked: explained{
		q.query("key"), q.query("method"), q.query("path"), q.query("client_address"), q.query("context"), q.query("origin"), q.query("version"), q.query("host"),
	}}
	if p.Asked.Path == "" {
		return q.show("explain", p)
	}
	body := api.Explain{Method: p.Asked.Method, Path: p.Asked.Path}
	for _, f := range []struct {
		to   *api.Optional[string]
		text string
	}{
		{&body.Key, p.Asked.Key}, {&body.ClientAddress, p.Asked.Address}, {&body.Context, p.Asked.Context},
		{&body.Origin, p.Asked.Origin}, {&body.Version, p.Asked.Version}, {&body.Host, p.Asked.Host},
	} {
		if f.text != "" {
			*f.to = api.Set(f.text)
		}
	}
	result, err := ask[api.Explanation](q, post("/v1/explain", body))
	if e := apiFailure(err); e != nil && e.Param == "host" {
		body.Host = api.Optional[string]{} // the record's host may be served no more: the first site answers for it
		result, err = ask[api.Explanation](q, post("/v1/explain", body))
	}
	if err != nil {
		if p.Error = formFailure(err); p.Error == nil {
			return err
		}
		return q.show("explain", p)
	}
	p.Result = &result
	if p.Asked.Key != "" {
		p.Key = q.neighbour(&p.Asked.Key, &p.Page)
	}
	return q.show("explain", p)
}

// Word is the decision in people's words.
func (p *explainPage) Word() string { return words(p.Result.Decision) }

// Grant is the address where the missing permission can be given, "" if that is not what is missing.
func (p *explainPage) Grant() string {
	if r := p.Result; p.Key != nil && r.Decision == "permission_denied" && p.Key.May("update_key") && r.Resource != nil && r.Access != nil {
		column := ownField
		if r.Account != nil && p.Key.Account != nil && *r.Account != *p.Key.Account {
			column = connectedField
		}
		return p.In(withQuery("keys/"+p.Key.ID+"/edit", "grant", column+*r.Resource, "access", *r.Access))
	}
	if p.Key != nil && p.Result.Decision == "ip_not_allowed" && p.Key.Limitable() {
		return p.Key.URL("ip")
	}
	return ""
}

// sendExplain takes the form. It is a POST so that a token that somebody pastes where an id belongs comes into no address; and
// goes on to an address that can be shared.
func (q *request) sendExplain() error {
	asked := explained{
		q.form("key"), strings.ToUpper(q.form("method")), q.form("path"), q.form("client_address"), q.form("context"), q.form("origin"), q.form("version"), "",
	}
	if asked.Path == "" || asked.Key != "" && !strings.HasPrefix(asked.Key, "key_") {
		p := &explainPage{Page: q.page("Explain a request", "explain"), Asked: asked}
		p.Error = &formError{Param: "path", Message: "Give a path, such as /v1/charges."}
		if asked.Path != "" {
			p.Asked.Key = ""
			p.Error = &formError{Param: "key", Message: "Name the key by its id, key_…: you find it on the key's page. A token belongs into no form but your own configuration."}
		}
		return q.show("explain", p)
	}
	to := withQuery("explain", "key", asked.Key, "method", asked.Method, "path", asked.Path, "client_address", asked.Address,
		"context", asked.Context, "origin", asked.Origin, "version", asked.Version)
	return q.seeOther(q.scope.path(to), "")
}
