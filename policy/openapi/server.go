package openapi

import (
	"slices"
	"strings"

	"github.com/pb33f/go-yaml"
)

// maxServers bounds how many different base paths one operation may be served under.
const maxServers = 16

// bases are the base paths of the servers that n names, without a trailing slash; those of the outer level if it names
// none. Only the path counts: which hosts are served is the site's business.
func (d *document) bases(n *yaml.Node, outer []string) ([]string, error) {
	servers := d.get(n, "servers")
	if servers == nil {
		return outer, nil
	}
	if servers.Kind != yaml.SequenceNode {
		return nil, d.fail(servers, `"servers" must be a list`)
	}
	if len(servers.Content) == 0 {
		return outer, nil
	}
	var list []string
	for _, s := range servers.Content {
		base, err := d.base(d.target(s), servers)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, base) {
			list = append(list, base)
		}
		if len(list) > maxServers {
			return nil, d.fail(servers, "the servers have more than %d different paths", maxServers)
		}
	}
	return list, nil
}

// base is the path of one server.
func (d *document) base(server, list *yaml.Node) (string, error) {
	if server == nil {
		return "", d.fail(list, "a server must be an object")
	}
	address := d.text(server, "url")
	if address == "" {
		return "", d.fail(server, `a server must have a "url"`)
	}
	address, err := d.expand(server, address)
	if err != nil {
		return "", err
	}
	if i := strings.IndexAny(address, "?#"); i >= 0 {
		address = address[:i]
	}
	path := address
	if i := strings.Index(address, "//"); i == 0 || i > 0 && address[i-1] == ':' {
		_, path, _ = strings.Cut(address[i+2:], "/")
		path = "/" + path
	} else if address[:min(1, len(address))] != "/" {
		return "", d.fail(server, "the server %q must be a whole URL, or a path that starts with a slash", clip(address))
	}
	return strings.TrimRight(path, "/"), nil
}

// expand puts the default of each variable into a server's address.
func (d *document) expand(server *yaml.Node, address string) (string, error) {
	variables := d.get(server, "variables")
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(address, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		value := d.get(d.get(variables, name), "default")
		if !closed || value == nil || value.Kind != yaml.ScalarNode {
			return "", d.fail(server, "the server's variable %q has no default", clip(name))
		}
		b.WriteString(value.Value)
		address = after
	}
}
