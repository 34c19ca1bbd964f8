package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// Scope is what a page is about: an account or an organization in one mode, or, if it is zero, the whole installation.
type Scope struct {
	Account      string // acct_…
	Organization string // org_…; at most one of the two is set
	Mode         string // live or sandbox; set with either of them
	Sandbox      string // sbx_…, of an account in sandbox mode; "": its default one
}

// The words for modes in addresses, which are those of the API.
const (
	modeLive    = "live"
	modeSandbox = "sandbox"
)

// Owner is the id of the account or the organization, "" for the installation.
func (s Scope) Owner() string {
	if s.Account != "" {
		return s.Account
	}
	return s.Organization
}

// Live says whether the page is about live mode.
func (s Scope) Live() bool { return s.Mode == modeLive }

// path is the path of a page in the scope: /acct_…/live/keys.
func (s Scope) path(page string) string {
	if s.Owner() == "" {
		return "/" + page
	}
	path := "/" + s.Owner() + "/" + s.Mode + "/" + page
	if s.Sandbox == "" {
		return path
	}
	joint := "?"
	if strings.Contains(page, "?") {
		joint = "&"
	}
	return path + joint + "sandbox=" + url.QueryEscape(s.Sandbox)
}

// owner names the owner in a call of the API, as list filters do.
func (s Scope) owner() url.Values {
	q := url.Values{}
	if s.Account != "" {
		q.Set("account", s.Account)
	}
	if s.Organization != "" {
		q.Set("organization", s.Organization)
	}
	return q
}

// inScope says whether a path is one of an account or an organization.
func inScope(path string) bool {
	return strings.HasPrefix(path, "/acct_") || strings.HasPrefix(path, "/org_")
}

// scopeOf reads the scope of a request: from its path, and for pages of the installation from the query, where the page is
// limited to an owner.
func scopeOf(r *http.Request) (Scope, error) {
	owner, mode := r.PathValue("owner"), r.PathValue("mode")
	if owner == "" {
		q := r.URL.Query()
		return Scope{Account: q.Get("account"), Organization: q.Get("organization")}, nil
	}
	s := Scope{Mode: mode}
	if mode != modeLive && mode != modeSandbox {
		return Scope{}, notFoundError()
	}
	if strings.HasPrefix(owner, "org_") {
		s.Organization = owner
		return s, nil
	}
	s.Account = owner
	if mode == modeSandbox {
		s.Sandbox = r.URL.Query().Get("sandbox")
	}
	return s, nil
}

func notFoundError() *api.Error {
	return &api.Error{Status: http.StatusNotFound, Code: "not_found", Message: "There is no such page."}
}
