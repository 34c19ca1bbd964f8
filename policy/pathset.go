package policy

import (
	"fmt"
)

// PathSet is an immutable set of path patterns, of the same grammar as the rules of a catalog. The nil set is empty.
type PathSet struct {
	tree     tree
	patterns []string
}

// NewPathSet compiles patterns. A pattern that can never match, and one that is there already, are errors that name it.
func NewPathSet(patterns []string) (*PathSet, error) {
	s := new(PathSet)
	seen := make(map[string]string)
	for _, text := range patterns {
		p, err := parsePattern(text)
		if err != nil {
			return nil, err
		}
		shape := p.shape()
		if first, ok := seen[shape]; ok {
			return nil, fmt.Errorf("the pattern %q matches the same paths as %q", text, first)
		}
		seen[shape] = text
		s.tree.add(p, "", &Route{Pattern: text})
		s.patterns = append(s.patterns, text)
	}
	return s, nil
}

// Contains says whether a canonical path matches one of the patterns. It does not allocate.
func (s *PathSet) Contains(path string) bool { return s.find(path) != nil }

// Patterns are the patterns as given.
func (s *PathSet) Patterns() []string {
	if s == nil {
		return nil
	}
	return append([]string(nil), s.patterns...)
}

func (s *PathSet) find(path string) *Route {
	if s == nil || len(s.patterns) == 0 {
		return nil
	}
	return s.tree.find("", path)
}
