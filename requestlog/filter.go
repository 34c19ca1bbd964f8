package requestlog

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter selects records. Fields that are zero do not filter; all others must match. The texts match whole and exactly,
// except for Path.
type Filter struct {
	RequestID string

	Key, Account, Owner, Kind, Mode, Sandbox string
	Method, Host                             string
	Resource, Access, RequiredPermission     string
	Decision, ErrorType, ErrorCode           string
	APIVersion, IdempotencyKey               string
	UpstreamAddress, Node, TLS, Protocol     string

	// Path is a prefix; or, with a "*", a pattern for the whole path in which each "*" stands for any text, also none.
	Path string

	// StatusMin and StatusMax are both inclusive: 403 to 403, or 400 to 499 for "4xx". Both or none are given.
	StatusMin, StatusMax int

	// Client holds the client's address; one single address is a prefix of full length.
	Client netip.Prefix

	// Since is inclusive, Until exclusive; both are about Record.Time.
	Since, Until time.Time

	// Within limits to records that concern one of these ids: what a caller may see. It cannot be set by
	// ParseFilter. nil does not limit; an empty list shows nothing: fail closed.
	Within []string
}

// Match says whether the filter selects the record.
func (f *Filter) Match(r *Record) bool {
	if f.RequestID != "" && f.RequestID != r.ID ||
		!f.Since.IsZero() && r.Time.Before(f.Since) ||
		!f.Until.IsZero() && !r.Time.Before(f.Until) ||
		f.StatusMax != 0 && (r.Status < f.StatusMin || r.Status > f.StatusMax) ||
		f.Client.IsValid() && !f.Client.Contains(r.Client) ||
		f.Within != nil && !slices.ContainsFunc(f.Within, r.Concerns) {
		return false
	}
	for _, c := range filterColumns {
		if want := *c.filter(f); want != "" && want != *c.text(r) {
			return false
		}
	}
	return f.Path == "" || matchPath(f.Path, r.Path)
}

// filterColumns are the columns with an exact-match filter, the most selective first: those are worth a look before a line
// is decoded.
var filterColumns = func() []*Column {
	var list []*Column
	for i := range columns {
		if columns[i].filter != nil {
			list = append(list, &columns[i])
		}
	}
	selective := []string{"idempotency_key", "key", "account", "sandbox", "owner", "error_code", "resource"}
	rank := func(c *Column) int {
		if i := slices.Index(selective, c.Name); i >= 0 {
			return i
		}
		return len(selective)
	}
	slices.SortStableFunc(list, func(a, b *Column) int { return rank(a) - rank(b) })
	return list
}()

// matchPath matches a prefix, or a pattern with "*" against the whole path. "*" also covers slashes.
func matchPath(pattern, path string) bool {
	first, rest, isPattern := strings.Cut(pattern, "*")
	if !strings.HasPrefix(path, first) {
		return false
	}
	if !isPattern {
		return true
	}
	path = path[len(first):]
	for {
		part, more, found := strings.Cut(rest, "*")
		if !found {
			return strings.HasSuffix(path, part)
		}
		// The leftmost place of each inner part is as good as any: what follows only needs to come later.
		i := strings.Index(path, part)
		if i < 0 {
			return false
		}
		path, rest = path[i+len(part):], more
	}
}

// needle is a piece of JSON that every line which the filter selects contains, "" if there is none. Searching it is some
// twenty times cheaper than decoding.
func (f *Filter) needle() string {
	if f.RequestID != "" {
		return `{"id":"` + f.RequestID + `"`
	}
	for _, c := range filterColumns {
		if want := *c.filter(f); want != "" && isPlain(want) && !strings.ContainsAny(want, `"\`) {
			return `"` + c.Name + `":"` + want + `"`
		}
	}
	switch {
	case f.StatusMax == 0:
	case f.StatusMin == f.StatusMax:
		return `"status":` + strconv.Itoa(f.StatusMin) + `,`
	case f.StatusMin%100 == 0 && f.StatusMax == f.StatusMin+99:
		return `"status":` + strconv.Itoa(f.StatusMin/100)
	}
	return ""
}
