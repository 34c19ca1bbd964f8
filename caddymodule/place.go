package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// place is what can be said of where handlers stand in the routes of a server, before any of them serves a request.
//
// The routes are read as JSON: while a handler is provisioned, the route that holds it and all that comes later are not
// loaded yet, and `validate` ends when the last handler is. Routes that are loaded already have been looked at by the
// handlers in them.
type place struct {
	named    map[string]*caddyhttp.Route
	warnings []string
	// loud says that Caddy's rewrite handlers log the headers of each request.
	loud bool
}

// rawRoute is a route as it stands in the configuration.
type rawRoute struct {
	Group    string                       `json:"group"`
	Match    []map[string]json.RawMessage `json:"match"`
	Handle   []json.RawMessage            `json:"handle"`
	Terminal bool                         `json:"terminal"`
}

// rawHandler are the parts of handlers that matter here; no handler has them all.
type rawHandler struct {
	Handler string          `json:"handler"`
	Routes  []rawRoute      `json:"routes"` // subroute
	Errors  json.RawMessage `json:"errors"` // subroute
	Name    string          `json:"name"`   // invoke

	// rewrite
	Method          string          `json:"method"`
	URI             string          `json:"uri"`
	StripPathPrefix string          `json:"strip_path_prefix"`
	StripPathSuffix string          `json:"strip_path_suffix"`
	URISubstring    json.RawMessage `json:"uri_substring"`
	PathRegexp      json.RawMessage `json:"path_regexp"`

	// reverse_proxy
	Rewrite        json.RawMessage   `json:"rewrite"`
	HandleResponse []json.RawMessage `json:"handle_response"`

	// keystile
	AllowRewrites bool            `json:"allow_rewrites"`
	KeyHeader     string          `json:"key_header"`
	Upstreams     json.RawMessage `json:"upstreams"` // of reverse_proxy: a list
}

// step is one handler on the way of a request, with the route that holds it.
type step struct {
	rawHandler
	route *rawRoute
	hosts []string // nil: any
}

// checkPlace refuses handlers that stand where what they decide would not be what is served, or where a key would be logged,
// and warns of those that leave paths uncovered.
func (h *Handler) checkPlace(ctx caddy.Context) error {
	if h.server == nil {
		return nil
	}
	p := &place{
		named: h.server.NamedRoutes,
		loud:  !logsCredentials(h.server) && ctx.Logger(new(rewrite.Rewrite)).Core().Enabled(zap.DebugLevel),
	}
	err := p.walk(rawRoutes(h.server.Routes), nil, nil, nil, false)
	for name, route := range h.server.NamedRoutes {
		if err == nil && route != nil {
			if err = p.walk(rawRoutes(caddyhttp.RouteList{*route}), nil, nil, nil, false); err != nil {
				err = fmt.Errorf("named route %s: %w", name, err)
			}
		}
	}
	if err != nil {
		return err
	}
	for _, warning := range p.warnings {
		if h.app.run.sites.firstTime(warning) {
			h.app.config().logger.Warn(warning)
		}
	}
	return nil
}

func logsCredentials(s *caddyhttp.Server) bool { return s.Logs != nil && s.Logs.ShouldLogCredentials }

// rawRoutes are the routes of a server that are not loaded yet. Their matchers are.
func rawRoutes(routes caddyhttp.RouteList) []rawRoute {
	raw := make([]rawRoute, 0, len(routes))
	for _, route := range routes {
		r := rawRoute{Group: route.Group, Handle: route.HandlersRaw, Terminal: route.Terminal}
		for _, set := range route.MatcherSetsRaw {
			r.Match = append(r.Match, set)
		}
		for _, set := range route.MatcherSets {
			names := make(map[string]json.RawMessage)
			for _, matcher := range set {
				if module, ok := matcher.(caddy.Module); ok {
					text, err := json.Marshal(matcher)
					if err != nil {
						text = nil // its name is known at least
					}
					names[module.CaddyModule().ID.Name()] = text
				}
			}
			r.Match = append(r.Match, names)
		}
		raw = append(raw, r)
	}
	return raw
}

// walk goes through routes in their order. before are the handlers that a request has passed by then, after are those
// that stand behind the whole list; guarded says that an error route stands between the list and the server's.
func (p *place) walk(routes []rawRoute, hosts []string, before, after []step, guarded bool) error {
	var own []step // of this list
	for i := range routes {
		route := &routes[i]
		inner := hosts
		if limited := route.hosts(); limited != nil {
			inner = limited
		}
		steps, err := route.steps(inner)
		if err != nil {
			return err
		}
		for j := range steps {
			rest := slices.Clone(steps[j+1:])
			if !route.Terminal {
				for k := range routes[i+1:] {
					later := &routes[i+1+k]
					if later.excludes(route, inner) {
						continue
					}
					more, err := later.steps(inner)
					if err != nil {
						return err
					}
					rest = append(rest, more...)
				}
				rest = append(rest, after...)
			}
			passed := slices.Clone(before)
			for _, earlier := range own {
				if !earlier.route.excludes(route, inner) {
					passed = append(passed, earlier)
				}
			}
			passed = append(passed, steps[:j]...)
			switch s := &steps[j]; s.Handler {
			case "keystile":
				err = p.check(s, passed, rest, guarded)
			case "subroute":
				err = p.walk(s.Routes, inner, passed, rest, guarded || s.Errors != nil)
			}
			if err != nil {
				return err
			}
		}
		own = append(own, steps...)
	}
	return nil
}

// check judges one handler by what stands around it.
func (p *place) check(s *step, before, after []step, guarded bool) error {
	if s.KeyHeader != "" {
		if guarded {
			return errors.New("key_header: errors of the subroute around the directive are handled by that subroute, which may leave them to Caddy's error log with the key in clear; move the error routes to the server (handle_errors), or use Authorization")
		}
		if p.loud && p.any(before, func(h *rawHandler) bool { return h.Handler == "rewrite" }) {
			return errors.New("key_header: a rewrite before the directive logs each request with its headers at level DEBUG, and so the key in clear; set the log's level to INFO, exclude http.handlers.rewrite from the log, or move `keystile` before the rewrite (inside a route block)")
		}
	}
	if paths := s.route.paths(); paths != "" {
		p.warnings = append(p.warnings, "the directive is limited to "+paths+": spellings of these paths that the matcher does not select (/v1;x/, /v1%2F, \\) reach other "+
			"handlers unchecked, with whatever identity headers the client sends; let the directive cover the whole site and say `open` for paths that need no key")
	}
	if s.AllowRewrites {
		return nil
	}
	if len(s.Upstreams) > 0 {
		var upstreams struct{ Live, Sandbox json.RawMessage }
		if err := json.Unmarshal(s.Upstreams, &upstreams); err != nil {
			return fmt.Errorf("upstreams: %w", err)
		}
		after = nil // they are never reached
		for _, raw := range []json.RawMessage{upstreams.Live, upstreams.Sandbox} {
			if len(raw) > 0 {
				one, err := (&rawRoute{Handle: []json.RawMessage{raw}}).steps(nil)
				if err != nil {
					return fmt.Errorf("upstreams: %w", err)
				}
				after = append(after, one...)
			}
		}
	}
	if p.any(after, (*rawHandler).redirects) {
		return errors.New("a handler after the directive rewrites the path or the method, so that the backend would serve another request than the one that was decided on; " +
			"put `keystile` after the rewrite (inside handle_path, or behind uri and rewrite), or, if the catalog is written for the paths that clients send, say `rewrites allowed` in its block")
	}
	return nil
}

// any says whether one of the handlers, or one inside of them, is such.
func (p *place) any(steps []step, is func(*rawHandler) bool) bool {
	for i := range steps {
		s := &steps[i]
		if is(&s.rawHandler) {
			return true
		}
		inner := s.Routes
		if s.Handler == "invoke" && p.named[s.Name] != nil {
			inner = rawRoutes(caddyhttp.RouteList{*p.named[s.Name]})
		}
		for k := range inner {
			more, err := inner[k].steps(s.hosts)
			if err != nil || p.any(more, is) {
				return true // fail closed: what cannot be read is no reason to go on
			}
		}
	}
	return false
}

// redirects says whether the handler sends on another path or method than it gets.
func (h *rawHandler) redirects() bool {
	switch h.Handler {
	case "rewrite":
		return h.Method != "" || h.URI != "" && !strings.HasPrefix(h.URI, "?") || h.StripPathPrefix != "" || h.StripPathSuffix != "" ||
			len(h.URISubstring) > 0 || len(h.PathRegexp) > 0
	case "reverse_proxy":
		if len(h.Rewrite) == 0 {
			return false
		}
		var rewritten rawHandler
		if json.Unmarshal(h.Rewrite, &rewritten) != nil {
			return true
		}
		if rewritten.Method == "GET" && len(h.HandleResponse) > 0 {
			return false // forward_auth: it asks another server about the request, and the request goes on as it is
		}
		rewritten.Handler = "rewrite"
		return rewritten.redirects()
	}
	return false
}

// steps are the handlers of the route.
func (r *rawRoute) steps(hosts []string) ([]step, error) {
	steps := make([]step, 0, len(r.Handle))
	for _, raw := range r.Handle {
		s := step{route: r, hosts: hosts}
		var name struct {
			Handler string `json:"handler"`
		}
		if err := json.Unmarshal(raw, &name); err != nil {
			return nil, err
		}
		switch name.Handler {
		case "keystile", "subroute", "rewrite", "reverse_proxy", "invoke":
			if err := json.Unmarshal(raw, &s.rawHandler); err != nil {
				return nil, fmt.Errorf("%s: %w", name.Handler, err)
			}
		default:
			s.Handler = name.Handler // others may use the same words for something else
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// excludes says that no request takes both routes: one of a group is taken, and one host is asked for.
func (r *rawRoute) excludes(other *rawRoute, hosts []string) bool {
	if r.Group != "" && r.Group == other.Group {
		return true
	}
	own := r.hosts()
	if own == nil || hosts == nil {
		return false
	}
	for _, a := range own {
		for _, b := range hosts {
			if strings.EqualFold(a, b) || strings.ContainsAny(a+b, "*{") {
				return false
			}
		}
	}
	return true
}

// hosts are those that the route is limited to, nil if it is not.
func (r *rawRoute) hosts() []string {
	var hosts []string
	for _, set := range r.Match {
		var own []string
		if json.Unmarshal(set["host"], &own) != nil || own == nil {
			return nil // the sets are alternatives: this one takes any host
		}
		hosts = append(hosts, own...)
	}
	return hosts
}

// paths says in words to which paths the route is limited, "" for none.
func (r *rawRoute) paths() string {
	for _, set := range r.Match {
		for _, name := range []string{"path", "path_regexp", "not"} {
			if text, ok := set[name]; ok && (name != "not" || strings.Contains(string(text), `"path`)) {
				return strings.TrimSpace(name + " " + string(text))
			}
		}
	}
	return ""
}
