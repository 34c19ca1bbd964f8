package policy

import "strings"

// tree finds the most specific pattern that matches a path and serves the method. Specific means, from left to right: a
// literal before a parameter before a wildcard.
//
// The cost is bounded by the catalog, not by the client: a node stands at one depth and is reached by one way, so that a
// look-up with all its backtracking visits each node at most once, and nothing is done for segments below the deepest
// pattern.
type tree struct{ root node }

type node struct {
	literals map[string]*node
	param    *node
	ends     []methodRoute // the pattern ends here
	below    []methodRoute // the pattern ends here in "/*"
}

type methodRoute struct {
	method string
	route  *Route
}

// add puts the pattern in for the method. The caller has made sure that shape and method are free.
func (t *tree) add(p pattern, method string, route *Route) {
	n := &t.root
	for _, s := range p.segments {
		switch {
		case s.param:
			if n.param == nil {
				n.param = new(node)
			}
			n = n.param
		default:
			next := n.literals[s.literal]
			if next == nil {
				if n.literals == nil {
					n.literals = make(map[string]*node)
				}
				next = new(node)
				n.literals[s.literal] = next
			}
			n = next
		}
	}
	if p.wildcard {
		n.below = append(n.below, methodRoute{method, route})
	} else {
		n.ends = append(n.ends, methodRoute{method, route})
	}
}

// find answers nil if no pattern matches. The path is canonical; what does not start with a slash matches nothing.
func (t *tree) find(method, path string) *Route {
	if path == "" || path[0] != '/' {
		return nil
	}
	return t.root.find(method, path)
}

// find matches the rest of the path below the node: "", or a slash and what follows.
func (n *node) find(method, rest string) *Route {
	if rest == "" {
		return routeFor(n.ends, method)
	}
	name, next := rest[1:], ""
	if i := strings.IndexByte(name, '/'); i >= 0 {
		name, next = name[:i], name[i:]
	}
	if child := n.literals[name]; child != nil {
		if r := child.find(method, next); r != nil {
			return r
		}
	}
	if n.param != nil && name != "" {
		if r := n.param.find(method, next); r != nil {
			return r
		}
	}
	return routeFor(n.below, method)
}

// routeFor looks the method up. HEAD is served by the rule for GET unless it has its own.
func routeFor(routes []methodRoute, method string) *Route {
	var get *Route
	for i := range routes {
		switch routes[i].method {
		case method:
			return routes[i].route
		case "GET":
			get = routes[i].route
		}
	}
	if method == "HEAD" {
		return get
	}
	return nil
}
