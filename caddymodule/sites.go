package caddymodule

import (
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
)

// sites knows which handler serves which host: for explanations, which name a host, and for the line of the first start.
type sites struct {
	mu       sync.Mutex
	handlers []*Handler // in the order of provisioning
	found    []site     // computed once all apps are provisioned
	searched bool
	warned   map[string]bool // what was said already: each handler looks at the whole server
}

// firstTime says whether this was not said yet.
func (s *sites) firstTime(warning string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warned[warning] {
		return false
	}
	if s.warned == nil {
		s.warned = make(map[string]bool)
	}
	s.warned[warning] = true
	return true
}

// site is one place of a handler in the HTTP app's routes.
type site struct {
	handler *Handler
	hosts   []string // nil: any host
	server  *caddyhttp.Server
}

// registerSite tells the app of one provisioned handler, for explanations by host and for the line printed on first start.
func (a *App) registerSite(h *Handler) {
	a.run.sites.mu.Lock()
	defer a.run.sites.mu.Unlock()
	a.run.sites.handlers = append(a.run.sites.handlers, h)
}

// allSites lists the places of all handlers, in the order of the config's routes. A handler that is reached in another way
// than by a server's own routes (a named route, another module's subroute) stands at the end, for any host. It may be
// called once all apps are provisioned.
func (a *App) allSites() []site {
	a.run.sites.mu.Lock()
	defer a.run.sites.mu.Unlock()
	if a.run.sites.searched {
		return a.run.sites.found
	}
	a.run.sites.searched = true
	var found []site
	if value, err := a.run.ctx.AppIfConfigured("http"); err == nil {
		servers := value.(*caddyhttp.App).Servers
		names := make([]string, 0, len(servers))
		for name := range servers {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			found = appendSites(found, servers[name], servers[name].Routes, nil)
		}
	}
	for _, h := range a.run.sites.handlers {
		if !slices.ContainsFunc(found, func(s site) bool { return s.handler == h }) {
			found = append(found, site{handler: h})
		}
	}
	a.run.sites.found = found
	return found
}

// appendSites walks the routes of a server. hosts are those of the route around them.
func appendSites(found []site, server *caddyhttp.Server, routes caddyhttp.RouteList, hosts []string) []site {
	for _, route := range routes {
		inner := hosts
		if own := routeHosts(route); own != nil {
			inner = own
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				found = append(found, site{handler: h, hosts: inner, server: server})
			case *caddyhttp.Subroute:
				found = appendSites(found, server, h.Routes, inner)
			}
		}
	}
	return found
}

// routeHosts are the hosts that a route is limited to, nil if it is not.
func routeHosts(route caddyhttp.Route) []string {
	var hosts []string
	for _, set := range route.MatcherSets {
		limited := false
		for _, matcher := range set {
			if host, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *host...)
				limited = true
			}
		}
		if !limited {
			return nil // the sets are alternatives: this one takes any host
		}
	}
	return hosts
}

// rulesFor are the rules of the site that serves host: the most specific one, the first in the config among several. An
// empty host asks for the default site: the first that serves both modes, else the first. nil if no site serves it.
func (a *App) rulesFor(host string) *policy.Rules {
	all := a.allSites()
	if host == "" {
		for _, s := range all {
			if rules := s.handler.siteRules(); rules.Live && rules.Sandbox {
				return rules
			}
		}
		if len(all) > 0 {
			return all[0].handler.siteRules()
		}
		return nil
	}
	var best *policy.Rules
	bestRank := 0
	for _, s := range all {
		if rank := s.rank(host); rank > bestRank {
			best, bestRank = s.handler.siteRules(), rank
		}
	}
	return best
}

// rank says how well the site fits a host: 3 by name, 2 by a wildcard, 1 because it takes any host, 0 not at all.
func (s site) rank(host string) int {
	if s.hosts == nil {
		return 1
	}
	rank := 0
	for _, pattern := range s.hosts {
		switch {
		case strings.EqualFold(pattern, host):
			return 3
		case matchesWildcard(pattern, host):
			rank = 2
		}
	}
	return rank
}

// matchesWildcard says whether the host fits a pattern with whole labels of "*", as Caddy's host matcher does.
func matchesWildcard(pattern, host string) bool {
	if !strings.Contains(pattern, "*") {
		return false
	}
	want, have := strings.Split(pattern, "."), strings.Split(host, ".")
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == "*" || strings.EqualFold(w, h) })
}
