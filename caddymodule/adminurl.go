package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
		for _, found := range adminSites(servers[name], servers[name].Routes, nil) {
			if base := found.baseURL(a.httpsPort()); base != "" {
				return base
			}
		}
	}
	return ""
}

// adminSites walks the routes of a server. hosts are those of the route around them.
func adminSites(server *caddyhttp.Server, routes caddyhttp.RouteList, hosts []string) (found []site) {
	for _, route := range routes {
		inner := hosts
		if own := routeHosts(route); own != nil {
			inner = own
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *AdminSite:
				found = append(found, site{hosts: inner, server: server})
			case *caddyhttp.Subroute:
				found = append(found, adminSites(server, h.Routes, inner)...)
			}
		}
	}
	return found
}
