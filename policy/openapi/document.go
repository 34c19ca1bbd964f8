package openapi

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/pb33f/go-yaml"

	"github.com/keystile/keystile/policy"
)

// document is one parsed file. Its nodes know their lines.
type document struct {
	file string
	root *yaml.Node
	// ids are the resource ids that the schemas of the file have.
	ids map[string]bool
	// index finds the values of large mappings, so that references into them do not cost the square of the file's size.
	index map[*yaml.Node]map[string]*yaml.Node
}

func (d *document) fail(n *yaml.Node, format string, args ...any) error {
	return &policy.RuleError{File: d.file, Line: n.Line, Reason: fmt.Sprintf(format, args...)}
}

// target is the node that an alias stands for.
func (d *document) target(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode; i++ {
		if i == 16 {
			return nil
		}
		n = n.Alias
	}
	return n
}

type pair struct{ key, value *yaml.Node }

// pairs reads a mapping whose every word counts: a key that comes twice, or a YAML merge key, would hide a part of it.
func (d *document) pairs(n *yaml.Node, what string) ([]pair, error) {
	if n.Kind != yaml.MappingNode {
		return nil, d.fail(n, "%s must be an object", what)
	}
	list := make([]pair, 0, len(n.Content)/2)
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], d.target(n.Content[i+1])
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, d.fail(key, "%s has a key that is no string", what)
		case key.Value == "<<":
			return nil, d.fail(key, "%s uses a YAML merge key, which OpenAPI does not know", what)
		case seen[key.Value]:
			return nil, d.fail(key, "%s has %q twice", what, key.Value)
		case value == nil:
			return nil, d.fail(key, "%s has a value for %q that is an alias of itself", what, key.Value)
		}
		seen[key.Value] = true
		list = append(list, pair{key, value})
	}
	return list, nil
}

// get is the value of a key; nil if n is no mapping or has no such key.
func (d *document) get(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	const large = 64
	if len(n.Content) < large {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				return d.target(n.Content[i+1])
			}
		}
		return nil
	}
	values := d.index[n]
	if values == nil {
		values = make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			values[n.Content[i].Value] = n.Content[i+1]
		}
		d.index[n] = values
	}
	return d.target(values[key])
}

// text is the string value of a key; "" if there is none.
func (d *document) text(n *yaml.Node, key string) string {
	if v := d.get(n, key); v != nil && isString(v) {
		return v.Value
	}
	return ""
}

func isString(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" }

// maxReferences bounds a chain of references, so that a circle ends.
const maxReferences = 16

// follow resolves references inside the document. A node without one is returned as it is.
func (d *document) follow(n *yaml.Node) (*yaml.Node, error) {
	for range maxReferences {
		ref := d.get(n, "$ref")
		if ref == nil || ref.Kind != yaml.ScalarNode {
			return n, nil
		}
		path, ok := strings.CutPrefix(ref.Value, "#")
		if !ok {
			return nil, d.fail(ref, "the reference %q leads out of the file: only references that start with '#' are followed", clip(ref.Value))
		}
		next := d.find(path)
		if next == nil {
			return nil, d.fail(ref, "the reference %q leads nowhere", clip(ref.Value))
		}
		n = next
	}
	return nil, d.fail(n, "a reference here leads in a circle, or over more than %d steps", maxReferences)
}

// find resolves a JSON pointer in the form of a URI fragment.
func (d *document) find(pointer string) *yaml.Node {
	n := d.root
	if pointer == "" {
		return n
	}
	if pointer[0] != '/' {
		return nil
	}
	for part := range strings.SplitSeq(pointer[1:], "/") {
		if u, err := url.PathUnescape(part); err == nil {
			part = u
		}
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		if n = d.get(n, part); n == nil {
			return nil
		}
	}
	return n
}

// clip bounds what an error repeats of a file.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
