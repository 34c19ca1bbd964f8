package dashboard

import (
	"net/http"

	"github.com/keystile/keystile/admin/auth"
)

// Visitor is who looks at a page: a member with all of their roles. A page asks for the one that counts where it is.
type Visitor interface {
	// Caller is the visitor as a caller of the API in a scope. A scope in which they have no role is refused as one that is
	// not there.
	Caller(auth.Scope) (*auth.Caller, error)
	// Self is the visitor as the caller of what is about themselves.
	Self() *auth.Caller
	// Scopes are those of all of their grants, the installation first if it is one of them.
	Scopes() []auth.Scope
}

// Visitors finds visitors by their session.
func Visitors(sessions *auth.Sessions) func(*http.Request) (Visitor, error) {
	return func(r *http.Request) (Visitor, error) {
		s, err := sessions.Session(r)
		if err != nil {
			return nil, err
		}
		return member{s}, nil
	}
}

// member is a signed-in one.
type member struct{ *auth.Session }

// Scopes are those of the member's grants.
func (m member) Scopes() []auth.Scope {
	var out []auth.Scope
	for _, g := range m.Member.Grants {
		s := auth.ScopeOf(g)
		if s == (auth.Scope{}) {
			return []auth.Scope{s} // covers all others
		}
		out = append(out, s)
	}
	return out
}

// where is the scope as the API has it: without the mode, of which rights know nothing.
func (s Scope) where() auth.Scope {
	return auth.Scope{Account: s.Account, Organization: s.Organization}
}

// widest is the visitor as the caller of pages that are about no account or organization: with all that they have, if that is
// one grant, else with the first of them. The pages list what the others reach.
func widest(v Visitor) (*auth.Caller, error) {
	scopes := v.Scopes()
	if len(scopes) == 0 {
		return v.Self(), nil
	}
	return v.Caller(scopes[0])
}

// as is the request with another caller.
func (q *request) as(c *auth.Caller) *request {
	other := *q
	other.caller = c
	return &other
}

// wide is the request with the visitor's widest rights, for what reaches beyond the scope of the page.
func (q *request) wide() *request {
	c, err := widest(q.visitor)
	if err != nil {
		return q
	}
	return q.as(c)
}

// everywhere is the request with the rights of each of the visitor's grants.
func (q *request) everywhere() []*request {
	var out []*request
	for _, s := range q.visitor.Scopes() {
		if c, err := q.visitor.Caller(s); err == nil {
			out = append(out, q.as(c))
		}
	}
	return out
}
