package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/dashboard"
	"github.com/keystile/keystile/keystore"
)

// newDashboard makes the handler of every path that is not the API's. It calls the API in this process, as the member whose
// session it has found, in the scope of the page: see auth.WithCaller. The client of a request is in its context.
func (a *App) newDashboard(g *gate, api http.Handler) (http.Handler, error) {
	return dashboard.New(dashboard.Config{
		API:        api,
		Visitor:    dashboard.Visitors(a.run.store.sessions),
		Seal:       g.store.SealText,
		Open:       g.store.OpenText,
		OIDC:       g.members.oidc != nil,
		Owners:     func(s auth.Scope) []string { return ownersOf(g.store, s) },
		ExampleURL: a.demoURL,
		Prefix:     mountPrefix,
		Now:        g.now,
		Logger:     g.logger.Named("dashboard"),
	})
}

// mountPrefix is what the site took off a request's path before it came here: "/keys" inside `handle_path /keys/*`.
func mountPrefix(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return ""
	}
	prefix, ok := strings.CutSuffix(original.URL.Path, r.URL.Path)
	if !ok {
		return ""
	}
	// Caddy takes //keys for /keys. An address that begins with two slashes names another host.
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix = "/" + prefix
	}
	return prefix
}

// ownersShown is how many people are named to who has to ask one.
const ownersShown = 5

// ownersOf names who can give rights in a scope: its owners and administrators, or else those of the installation.
func ownersOf(store *keystore.Store, s auth.Scope) []string {
	var near, far []string
	_, _, err := store.Snapshot().Members(keystore.Page{Limit: keystore.MaxPageLimit}, func(m *keystore.Member) bool {
		for _, grant := range m.Grants {
			if !m.Active || !grant.Role.Includes(keystore.RoleAdministrator) {
				continue
			}
			switch auth.ScopeOf(grant) {
			case s:
				near = append(near, m.Name)
				return false
			case auth.Scope{}:
				far = append(far, m.Name)
				return false
			}
		}
		return false
	})
	if err != nil {
		return nil // the page says to ask an owner, without names
	}
	if len(near) == 0 {
		near = far
	}
	return near[:min(len(near), ownersShown)]
}
