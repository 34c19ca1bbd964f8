package pglog

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keystile/keystile/requestlog"
)

// where is a condition in SQL. What comes from outside is in args, never in the text: names of columns are those of the schema.
type where struct {
	parts []string
	args  []any
	none  bool // nothing can meet it
	found bool // an index finds what meets it, in order
	plain bool // nothing else is asked
}

// arg notes a value and answers its place.
func (w *where) arg(v any) string {
	if s, ok := v.(string); ok && !isStorable(s) {
		w.none = true // no record holds it, and the server would refuse the query
		v = ""
	}
	w.args = append(w.args, v)
	return "$" + strconv.Itoa(len(w.args))
}

func (w *where) and(part string) { w.parts = append(w.parts, part) }

// and answers the whole condition, with more parts.
func (w *where) text(more ...string) string {
	all := append(slices.Clone(w.parts), more...)
	if len(all) == 0 {
		return "true"
	}
	return strings.Join(all, " AND ")
}

// concerns is Record.Concerns for any of a list of ids, in a form for which there are indexes.
func concerns(list string) string {
	return `((account = ANY(` + list + `::text[]) AND (decision <> '` + requestlog.DecisionForeign + `' OR owner = ANY(` + list + `::text[])))
		OR (owner = ANY(` + list + `::text[]) AND owner IS DISTINCT FROM account))`
}

// newWhere is what a filter asks, but for the times, which are also bounds of ids, and for Within, which lists ask in another way.
func newWhere(f *requestlog.Filter) *where {
	w := &where{plain: true}
	if f.RequestID != "" {
		if requestlog.ValidID(f.RequestID) {
			w.and("id = " + w.arg(sortKey(f.RequestID)))
			w.and("gap = " + w.arg(strings.HasPrefix(f.RequestID, gapPrefix)))
		} else {
			w.none = true
		}
		w.found = true
	}
	for _, c := range f.Conditions() {
		switch {
		case c.Exact == "" || c.Column.Name == "id":
		case c.Column.Name == "owner":
			a := w.arg(c.Exact)
			w.and("(owner = " + a + " AND (account = " + a + " OR owner IS DISTINCT FROM account))")
			w.found = true
		default:
			w.and(c.Column.Name + " = " + w.arg(c.Exact))
			if c.Column.Name == "key" || c.Column.Name == "account" {
				w.found = true
				continue
			}
			w.plain = false
		}
	}
	if f.StatusMax != 0 {
		w.and("status >= " + w.arg(f.StatusMin) + "::integer AND status <= " + w.arg(f.StatusMax) + "::integer")
		if f.StatusMin >= 400 {
			w.and("status >= 400")
		}
		w.plain = false
	}
	if f.Client.IsValid() {
		w.and("client_address <<= " + w.arg(f.Client.String()) + "::inet")
		w.plain = false
	}
	if f.Path != "" {
		w.and(w.path(f.Path))
		w.plain = false
	}
	if !f.Since.IsZero() {
		w.and("time >= " + w.arg(ceilMilli(f.Since)))
	}
	if !f.Until.IsZero() {
		w.and("time < " + w.arg(ceilMilli(f.Until)))
	}
	return w
}

// path is a prefix or a pattern. Backslash escapes in LIKE.
func (w *where) path(pattern string) string {
	if !strings.Contains(pattern, "*") {
		pattern += "*"
	}
	return "path LIKE " + w.arg(strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(pattern))
}

// isStorable says whether the database can hold a text. A query with one that it cannot hold would be refused.
func isStorable(s string) bool { return strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) }

// within is the list of a filter's Within as it is asked for: each id once, and none that no record has.
func within(f *requestlog.Filter) []string {
	list := slices.Compact(slices.Sorted(slices.Values(f.Within)))
	return slices.DeleteFunc(list, func(id string) bool { return id == "" || !isStorable(id) })
}
