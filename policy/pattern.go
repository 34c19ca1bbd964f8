package policy

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxPatternLength   = 1024
	maxPatternSegments = 64
)

// segment is one part of a pattern between slashes: a literal, or {name} for any one segment (literal is "" then, and param
// is true).
type segment struct {
	literal string
	param   bool
}

// pattern is a parsed path pattern.
type pattern struct {
	segments []segment
	wildcard bool // ends in "/*": one or more further segments
}

// shape is the pattern without the names of its parameters: two patterns of one shape match the same paths. Literals hold
// neither a slash nor a brace, so that shapes cannot be confused.
func (p pattern) shape() string {
	var b strings.Builder
	for _, s := range p.segments {
		b.WriteByte('/')
		if s.param {
			b.WriteString("{}")
		} else {
			b.WriteString(s.literal)
		}
	}
	if p.wildcard {
		b.WriteString("/*")
	}
	return b.String()
}

// parsePattern reads a pattern and refuses what can never match: patterns are compared with decoded, canonical paths.
func parsePattern(s string) (pattern, error) {
	var p pattern
	switch {
	case s == "":
		return p, errors.New("the pattern is empty: write a path such as /v1/charges")
	case len(s) > maxPatternLength:
		return p, fmt.Errorf("the pattern is longer than %d bytes", maxPatternLength)
	case s[0] != '/':
		return p, fmt.Errorf("the pattern %q must start with a slash", s)
	}
	parts := strings.Split(s[1:], "/")
	if len(parts) > maxPatternSegments {
		return p, fmt.Errorf("the pattern %q has more than %d segments", s, maxPatternSegments)
	}
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "*" {
			if !last {
				return p, fmt.Errorf("the pattern %q has a '*' that is not its last segment: write {name} for one segment", s)
			}
			p.wildcard = true
			break
		}
		seg, reason := parseSegment(part, last)
		if reason != "" {
			return p, fmt.Errorf("the pattern %q can never match: %s", s, reason)
		}
		p.segments = append(p.segments, seg)
	}
	return p, nil
}

func parseSegment(part string, last bool) (seg segment, reason string) {
	switch {
	case part == "" && !last:
		return seg, "it has an empty segment, and paths with one are refused"
	case part == "." || part == "..":
		return seg, "it has a dot segment, and paths with one are refused"
	case strings.ContainsRune(part, '*'):
		return seg, "'*' must be a whole segment, the last one"
	case strings.ContainsAny(part, "?#"):
		return seg, "the query and the fragment take no part in matching"
	case strings.ContainsRune(part, ';'):
		return seg, "matrix parameters take no part in matching"
	case strings.ContainsRune(part, '\\'):
		return seg, "it has a backslash, and paths with one are refused"
	case !isText(part) || strings.ContainsFunc(part, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return seg, "it has a control character or is not UTF-8, and such paths are refused"
	}
	for i := range len(part) {
		if part[i] == '%' && i+2 < len(part) && unhex(part[i+1]) <= 15 && unhex(part[i+2]) <= 15 {
			return seg, "patterns are compared with decoded paths: write the character instead of " + part[i:i+3]
		}
	}
	if !strings.ContainsAny(part, "{}") {
		return segment{literal: part}, ""
	}
	name, opened := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	if !opened || !closed || strings.ContainsAny(name, "{}") {
		return seg, "braces must enclose a whole segment, as in /v1/charges/{id}"
	}
	if name == "" {
		return seg, "a parameter needs a name, as in /v1/charges/{id}"
	}
	return segment{param: true}, ""
}
