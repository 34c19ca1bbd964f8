package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rule is one line of a catalog: which resource and access the requests of a shape need.
type Rule struct {
	// Resource is the noun that permissions are given on: lower-case letters, digits and underscores, starting with a letter,
	// at most 64.
	Resource string
	// Access is read or write. With AccessNone the rule is only a publishable mark; if no other rule of this shape and method
	// names the access, it follows the method: GET and HEAD read, others write.
	Access Access
	// Methods are upper case, at least one. A rule for GET covers HEAD, unless HEAD has a rule of its own.
	Methods []string
	// Pattern is a path of literal segments and {name} for any one segment; a final "/*" stands for one or more further
	// segments. It is compared with the decoded path, whole segments at a time, case-sensitive.
	Pattern string
	// Publishable says that publishable keys may call it.
	Publishable bool
	// File and Line are where the rule is written, for errors; File may be "".
	File string
	Line int
}

func (r *Rule) fail(format string, args ...any) *RuleError {
	return &RuleError{File: r.File, Line: r.Line, Reason: fmt.Sprintf(format, args...)}
}

// place is where the rule is written, for the error of another one.
func (r *Rule) place() string {
	if r.File == "" {
		return fmt.Sprintf("the rule for %s", r.Pattern)
	}
	return fmt.Sprintf("%s:%d", r.File, r.Line)
}

// RuleError is what is wrong with one rule.
type RuleError struct {
	File   string // "" if unknown
	Line   int    // from 1; 0 if unknown
	Reason string
}

// Error is "file:line: reason".
func (e *RuleError) Error() string {
	switch {
	case e.File == "":
		return e.Reason
	case e.Line == 0:
		return e.File + ": " + e.Reason
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Catalog maps a method and path to a route. It is immutable. The nil Catalog knows no route.
type Catalog struct {
	tree      tree
	resources []Resource // sorted by name
}

// NewCatalog compiles the rules of a source, such as an OpenAPI file, and those that override it: on the same shape and
// method an override wins. Within each list a rule that says the same as another, or something else, is an error; so is
// one that can never match. All errors are *RuleError, joined, in the order of file and line.
func NewCatalog(source, overrides []Rule) (*Catalog, error) {
	base, errs := collect(source)
	over, errs2 := collect(overrides)
	if errs = append(errs, errs2...); len(errs) > 0 {
		return nil, joinRuleErrors(errs)
	}
	for key, o := range over {
		if s := base[key]; s != nil && o.access == AccessNone && s.resource == o.resource {
			o.access = s.access // the override only adds the mark
		}
		// A HEAD rule of the source must not outlive an override of GET: it would be a way around it.
		if key.method == "GET" {
			delete(base, slotKey{key.shape, "HEAD"})
		}
	}
	for key, o := range over {
		base[key] = o
	}
	c := new(Catalog)
	list := make([]*slot, 0, len(base))
	for _, s := range base {
		if s.access == AccessNone {
			s.access = accessOf(s.method)
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *slot) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.rule.Pattern, b.rule.Pattern), cmp.Compare(a.method, b.method))
	})
	for _, s := range list {
		c.tree.add(s.pattern, s.method, &Route{
			Known:       true,
			Resource:    s.resource,
			Access:      s.access,
			Publishable: s.publishable,
			Pattern:     s.rule.Pattern,
			Permission:  s.resource + "_" + s.access.String(),
		})
		c.list(s)
	}
	return c, nil
}

// accessOf is the access of a method by itself. A method that is not known counts as write.
func accessOf(method string) Access {
	if method == "GET" || method == "HEAD" {
		return AccessRead
	}
	return AccessWrite
}

// slot is what the rules of one list say of one shape and method.
type slot struct {
	pattern     pattern
	method      string
	resource    string
	access      Access // none: only marked
	publishable bool
	rule        *Rule // the one that names the access, else the mark
	mark        *Rule // the one that marks it publishable, if any
}

type slotKey struct{ shape, method string }

// collect checks each rule by itself and against the others of its list.
func collect(rules []Rule) (map[slotKey]*slot, []*RuleError) {
	slots := make(map[slotKey]*slot, len(rules))
	var errs []*RuleError
	for i := range rules {
		r := &rules[i]
		p, err := r.check()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, method := range r.Methods {
			key := slotKey{p.shape(), method}
			s := slots[key]
			if s == nil {
				s = &slot{pattern: p, method: method, resource: r.Resource}
				slots[key] = s
			}
			if err := s.merge(r); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return slots, errs
}

// merge takes in a further rule: an access and a mark add up, anything else is twice or against one another.
func (s *slot) merge(r *Rule) *RuleError {
	switch {
	case s.resource != r.Resource:
		return r.fail("%s %s is %s here and %s at %s", s.method, r.Pattern, r.Resource, s.resource, s.rule.place())
	case r.Access != AccessNone && s.access != AccessNone && r.Access != s.access:
		return r.fail("%s %s needs %s here and %s at %s", s.method, r.Pattern, r.Access, s.access, s.rule.place())
	case r.Access != AccessNone && s.access != AccessNone:
		return r.fail("%s %s is there already, at %s", s.method, r.Pattern, s.rule.place())
	case r.Access == AccessNone && s.mark != nil:
		return r.fail("%s %s is marked publishable already, at %s", s.method, r.Pattern, s.mark.place())
	}
	if r.Access != AccessNone {
		s.access, s.rule = r.Access, r
	}
	if s.rule == nil {
		s.rule = r
	}
	if r.Publishable {
		s.publishable, s.mark = true, r
	}
	return nil
}

// check judges a rule by itself.
func (r *Rule) check() (pattern, *RuleError) {
	if !IsResourceName(r.Resource) {
		return pattern{}, r.fail("the resource name %q must be lower-case letters, digits and underscores, start with a letter, and have at most %d characters", r.Resource, maxResourceLength)
	}
	if r.Access > AccessWrite {
		return pattern{}, r.fail("access %d is none of read and write", r.Access)
	}
	if r.Access == AccessNone && !r.Publishable {
		return pattern{}, r.fail("the rule for %s gives nothing: say read, write or publishable", r.Pattern)
	}
	if len(r.Methods) == 0 {
		return pattern{}, r.fail("the rule for %s names no method", r.Pattern)
	}
	for _, m := range r.Methods {
		switch {
		case m == "CONNECT" || m == "TRACE":
			return pattern{}, r.fail("the method %s is never served, so that the rule for %s can never match", m, r.Pattern)
		case !isMethod(m):
			return pattern{}, r.fail("%q is no method: methods are upper-case, such as GET", m)
		}
	}
	p, err := parsePattern(r.Pattern)
	if err != nil {
		return pattern{}, r.fail("%s", err)
	}
	return p, nil
}

const maxResourceLength = 64

// IsResourceName says whether s is spelled like a resource: lower-case letters, digits and underscores, starting with a
// letter, not ending in an underscore, at most 64 characters. A permission is written as resource_access.
func IsResourceName(s string) bool {
	if s == "" || len(s) > maxResourceLength || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '_' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

func isMethod(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return (r < 'A' || r > 'Z') && r != '-' && r != '_' }) < 0
}

// maxRuleErrors is how many errors a load names: the rest is most often one mistake again and again.
const maxRuleErrors = 20

func joinRuleErrors(errs []*RuleError) error {
	slices.SortStableFunc(errs, func(a, b *RuleError) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	var list []error
	for i, e := range errs {
		if i == maxRuleErrors {
			list = append(list, fmt.Errorf("and %d more", len(errs)-i))
			break
		}
		list = append(list, e)
	}
	return errors.Join(list...)
}

// Match answers what the most specific rule for the method and canonical path says; the zero Route if there is none. It
// does not allocate.
func (c *Catalog) Match(method, path string) Route {
	if r := c.find(method, path); r != nil {
		return *r
	}
	return Route{}
}

func (c *Catalog) find(method, path string) *Route {
	if c == nil {
		return nil
	}
	return c.tree.find(method, path)
}
