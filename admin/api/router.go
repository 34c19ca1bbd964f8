package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// router finds the route of a path. The standard mux is not used because it answers redirects and plain text of its own,
// and every answer of this API is JSON.
type router struct {
	routes []*route
}

// route is one path pattern with a function for each method.
type route struct {
	pattern  string
	segments []string // "{name}" matches any one segment
	methods  map[string]func(*call)
}

// add registers serve for method and pattern. A second one for the same pair is a mistake of ours.
func (t *router) add(method, pattern string, serve func(*call)) {
	i := slices.IndexFunc(t.routes, func(r *route) bool { return r.pattern == pattern })
	if i < 0 {
		i = len(t.routes)
		t.routes = append(t.routes, &route{
			pattern:  pattern,
			segments: strings.Split(strings.TrimPrefix(pattern, "/"), "/"),
			methods:  map[string]func(*call){},
		})
	}
	if t.routes[i].methods[method] != nil {
		panic("admin API: registered twice: " + method + " " + pattern)
	}
	t.routes[i].methods[method] = serve
}

// match finds the route of an escaped path and its path parameters. A literal segment goes before a parameter. The path
// is taken as it is: no cleaning, no redirect, no case folding.
func (t *router) match(escaped string) (*route, map[string]string, bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, nil, false
	}
	segments := strings.Split(rest, "/")
	var best *route
	for _, r := range t.routes {
		if r.fits(segments) && (best == nil || r.literals() > best.literals()) {
			best = r
		}
	}
	if best == nil {
		return nil, nil, false
	}
	params := map[string]string{}
	for i, s := range best.segments {
		name, ok := parameter(s)
		if !ok {
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || value == "" {
			return nil, nil, false
		}
		params[name] = value
	}
	return best, params, true
}

func (r *route) fits(segments []string) bool {
	if len(segments) != len(r.segments) {
		return false
	}
	for i, s := range r.segments {
		if _, ok := parameter(s); !ok && s != segments[i] {
			return false
		}
	}
	return true
}

func (r *route) literals() int {
	n := 0
	for _, s := range r.segments {
		if _, ok := parameter(s); !ok {
			n++
		}
	}
	return n
}

// method is the function for a method, nil if there is none. HEAD is GET: the server leaves the body out.
func (r *route) method(m string) func(*call) {
	if m == http.MethodHead {
		m = http.MethodGet
	}
	return r.methods[m]
}

// allow lists the methods, sorted.
func (r *route) allow() []string {
	var out []string
	for m := range r.methods {
		out = append(out, m)
		if m == http.MethodGet {
			out = append(out, http.MethodHead)
		}
	}
	slices.Sort(out)
	return out
}

// parameter is the name in a "{name}" segment.
func parameter(segment string) (string, bool) {
	name, ok := strings.CutPrefix(segment, "{")
	if !ok {
		return "", false
	}
	return strings.TrimSuffix(name, "}"), true
}
