package policy

import (
	"cmp"
	"slices"
)

// Resource is one noun of the API as the catalog knows it.
type Resource struct {
	Name   string
	Read   bool // some route needs read
	Write  bool // some route needs write
	Routes []ResourceRoute
}

// ResourceRoute is one route of a resource.
type ResourceRoute struct {
	Method      string
	Pattern     string
	Access      Access
	Publishable bool
	File        string // where its rule is written; "" if unknown
	Line        int
}

// list adds a slot to the resources; slots come sorted by resource, pattern and method.
func (c *Catalog) list(s *slot) {
	if n := len(c.resources); n == 0 || c.resources[n-1].Name != s.resource {
		c.resources = append(c.resources, Resource{Name: s.resource})
	}
	r := &c.resources[len(c.resources)-1]
	r.Read = r.Read || s.access == AccessRead
	r.Write = r.Write || s.access == AccessWrite
	r.Routes = append(r.Routes, ResourceRoute{
		Method:      s.method,
		Pattern:     s.rule.Pattern,
		Access:      s.access,
		Publishable: s.publishable,
		File:        s.rule.File,
		Line:        s.rule.Line,
	})
}

// Has says whether the catalog knows the resource, so that a permission on it can mean something.
func (c *Catalog) Has(resource string) bool {
	if c == nil {
		return false
	}
	_, ok := slices.BinarySearchFunc(c.resources, resource, func(r Resource, name string) int { return cmp.Compare(r.Name, name) })
	return ok
}

// Resources lists what the catalog knows, sorted by name; routes are sorted by pattern and method. The result is shared
// and must not be changed.
func (c *Catalog) Resources() []Resource {
	if c == nil {
		return nil
	}
	return c.resources
}
