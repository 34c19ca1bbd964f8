package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// maxVersionLength bounds an API version: it is forwarded, echoed and recorded.
const maxVersionLength = 64

// VersionRule says which API versions a request may name. The zero value is the default: YYYY-MM-DD with an optional .name,
// as in "2026-08-26" and "2026-08-26.dahlia". Whatever the rule, a version is 1 to 64 visible ASCII characters. It is
// immutable.
type VersionRule struct {
	pattern *regexp.Regexp
	list    []string // sorted
}

// VersionPattern accepts the versions that match the whole of a regular expression (RE2 syntax).
func VersionPattern(expr string) (VersionRule, error) {
	if expr == "" {
		return VersionRule{}, errors.New("the version pattern is empty")
	}
	// Alone first: an expression such as "a)|(b" must not become legal by the anchoring.
	if _, err := regexp.Compile(expr); err != nil {
		return VersionRule{}, fmt.Errorf("reading the version pattern %q: %w", expr, err)
	}
	re, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		return VersionRule{}, fmt.Errorf("reading the version pattern %q: %w", expr, err)
	}
	return VersionRule{pattern: re}, nil
}

// VersionList accepts exactly the versions listed.
func VersionList(versions []string) (VersionRule, error) {
	if len(versions) == 0 {
		return VersionRule{}, errors.New("the list of versions is empty: name at least one")
	}
	list := slices.Clone(versions)
	slices.Sort(list)
	for i, v := range list {
		if !plausibleVersion(v) {
			return VersionRule{}, fmt.Errorf("the version %q must be 1 to %d visible ASCII characters", v, maxVersionLength)
		}
		if i > 0 && list[i-1] == v {
			return VersionRule{}, fmt.Errorf("the version %q is listed twice", v)
		}
	}
	return VersionRule{list: list}, nil
}

// Match says whether the version is accepted. It does not allocate.
func (v VersionRule) Match(s string) bool {
	switch {
	case !plausibleVersion(s):
		return false
	case v.pattern != nil:
		return v.pattern.MatchString(s)
	case v.list != nil:
		_, ok := slices.BinarySearch(v.list, s)
		return ok
	}
	return isDatedVersion(s)
}

func plausibleVersion(s string) bool {
	return s != "" && len(s) <= maxVersionLength && isVisible(s)
}

// isDatedVersion matches YYYY-MM-DD, optionally with "." and a name of lower-case letters, digits, '-' and '_' that starts
// with a letter. Month and day are checked for range only: a version is a name, not a date to reckon with.
func isDatedVersion(s string) bool {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	for i := range 10 {
		if i != 4 && i != 7 && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	month, day := s[5:7], s[8:10]
	if month < "01" || month > "12" || day < "01" || day > "31" {
		return false
	}
	if len(s) == 10 {
		return true
	}
	name := s[11:]
	if s[10] != '.' || name == "" || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
