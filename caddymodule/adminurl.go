package caddymodule

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// adminURL is where members of this configuration sign in: the first site with keystile_admin, "" if there is none. It may
// be called once all apps are provisioned.
func (a *App) adminURL() string {
	value, err := a.run.ctx.AppIfConfigured("http")
	if err != nil {
		return ""
	}
	servers := value.(*caddyhttp.App).Servers
	names := make([]string, 0, len(servers))
	for name := range servers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, found := range adminSites(servers[name], servers[name].Routes, nil, "") {
			if base := found.baseURL(a.httpsPort()); base != "" {
				return base + found.prefix
			}
		}
	}
	return ""
}

// mountedSite is a place of an AdminSite, with what the routes before it take off a path.
type mountedSite struct {
	site

	prefix string
}

// adminSites walks the routes of a server. hosts are those of the route around them, prefix is what was taken off a path on the
// way: what `handle_path` puts before its handlers is a rewrite in the same list.
func adminSites(server *caddyhttp.Server, routes caddyhttp.RouteList, hosts []string, prefix string) (found []mountedSite) {
	for _, route := range routes {
		inner := hosts
		if own := routeHosts(route); own != nil {
			inner = own
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *AdminSite:
				found = append(found, mountedSite{site{hosts: inner, server: server}, prefix})
			case *caddyhttp.Subroute:
				found = append(found, adminSites(server, h.Routes, inner, prefix)...)
			case *rewrite.Rewrite:
				// One with a matcher is for some requests only, and one with a placeholder for nobody knows which.
				if strip := strings.Trim(h.StripPathPrefix, "/"); strip != "" && len(route.MatcherSets) == 0 && !strings.Contains(strip, "{") {
					prefix += "/" + strip
				}
			}
		}
	}
	return found
}
