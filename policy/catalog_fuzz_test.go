package policy

import (
	"strings"
	"testing"
)

// FuzzCatalog compares the tree with the definition: the most specific of the patterns that match and serve the method.
func FuzzCatalog(f *testing.F) {
	f.Add("/v1/{a}\n/v1/b/*\n/v1/*", "/v1/b/c")
	f.Add("/{a}/{b}\n/a/*\n/{a}/c\n/a/b/", "/a/c")
	f.Add("/*\n/\n/{x}", "/")
	f.Fuzz(func(t *testing.T, patterns, path string) {
		var rules []Rule
		for i, p := range strings.Split(patterns, "\n") {
			if i == 20 {
				break
			}
			r := Rule{Resource: "r", Access: AccessRead, Methods: []string{"GET"}, Pattern: p, Line: i + 1}
			if _, err := r.check(); err == nil {
				rules = append(rules, r)
			} else if !strings.HasPrefix(err.Error(), "the pattern ") {
				t.Errorf("%q: got %v, want a sentence about the pattern", p, err)
			}
		}
		c, err := NewCatalog(rules, nil)
		if err != nil {
			return // two of one shape
		}
		path, ok := CanonicalPath(path)
		if !ok {
			return
		}
		want := ""
		for _, r := range rules {
			if matches(r.Pattern, path) && (want == "" || moreSpecific(r.Pattern, want)) {
				want = r.Pattern
			}
		}
		if got := c.Match("GET", path).Pattern; got != want {
			t.Errorf("%q among %q: got %q, want %q", path, patterns, got, want)
		}
	})
}

// matches is the definition of a match, written anew.
func matches(pattern, path string) bool {
	p, s := strings.Split(pattern, "/")[1:], strings.Split(path, "/")[1:]
	for i, part := range p {
		if part == "*" {
			return len(s) > i
		}
		if i >= len(s) || strings.HasPrefix(part, "{") && s[i] == "" || !strings.HasPrefix(part, "{") && s[i] != part {
			return false
		}
	}
	return len(s) == len(p)
}

// moreSpecific compares from left to right: literal, parameter, wildcard.
func moreSpecific(a, b string) bool {
	rank := func(s string) int {
		switch {
		case s == "*":
			return 2
		case strings.HasPrefix(s, "{"):
			return 1
		}
		return 0
	}
	x, y := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(x), len(y)) {
		if rank(x[i]) != rank(y[i]) {
			return rank(x[i]) < rank(y[i])
		}
	}
	return len(x) > len(y)
}
