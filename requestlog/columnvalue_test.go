package requestlog

import (
	"net/netip"
	"testing"
	"time"
)

// Every column can be taken out of a record and put into another: what a store of columns rests on.
func TestColumnValuesComeBack(t *testing.T) {
	t.Parallel()
	full, empty := fullRecord(), new(Record)
	for name, r := range map[string]*Record{"full": full, "empty": empty} {
		var got Record
		for _, c := range Columns() {
			v, ok := c.Value(r)
			if !ok {
				if !c.Optional() {
					t.Errorf("%s: %s is absent and not optional", name, c.Name)
				}
				continue
			}
			if name == "empty" && c.Kind == ColumnTime {
				continue // the zero time is no time that a stored record has
			}
			if err := c.SetValue(&got, v); err != nil {
				t.Errorf("%s: %s: %v", name, c.Name, err)
			}
		}
		if got != *r {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, *r)
		}
	}
	if err := ColumnNamed("client_address").SetValue(new(Record), Value{Text: "nonsense"}); err == nil {
		t.Error("a damaged address: got no error")
	}
}

// What the conditions select is what Match selects: stores test columns by the first and promise the second.
func TestConditionsAreMatch(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	for name, f := range everyFilter() {
		for _, c := range f.Conditions() {
			v, _ := c.Column.Value(r)
			if c.Column.IsText() != (c.Text != nil) || (c.Text == nil) == (c.Integer == nil) {
				t.Errorf("%s: the condition on %s is of the wrong kind", name, c.Column.Name)
				continue
			}
			met := c.Text != nil && c.Text(v.Text) || c.Integer != nil && c.Integer(v.Integer)
			if met != f.Match(r) {
				t.Errorf("%s: the condition on %s says %v, Match %v", name, c.Column.Name, met, f.Match(r))
			}
		}
		if len(f.Conditions()) != 1 {
			t.Errorf("%s: got %d conditions, want 1", name, len(f.Conditions()))
		}
	}
}

// everyFilter has a filter of each kind that fullRecord meets, and one that it does not.
func everyFilter() map[string]Filter {
	r := fullRecord()
	filters := map[string]Filter{
		"request id": {RequestID: r.ID}, "another request id": {RequestID: "req_other"},
		"status": {StatusMin: 403, StatusMax: 403}, "class": {StatusMin: 400, StatusMax: 499}, "another class": {StatusMin: 200, StatusMax: 299},
		"path": {Path: "/v1"}, "pattern": {Path: "/v1/*"}, "another path": {Path: "/v2"},
		"address": {Client: netip.MustParsePrefix("203.0.113.0/24")}, "another address": {Client: netip.MustParsePrefix("10.0.0.0/8")},
		"since": {Since: r.Time}, "since later": {Since: r.Time.Add(time.Nanosecond)},
		"until": {Until: r.Time}, "until later": {Until: r.Time.Add(time.Nanosecond)},
	}
	for _, c := range filterColumns {
		var same, other Filter
		*c.filter(&same), *c.filter(&other) = *c.text(r), "other"
		filters[c.Name], filters["another "+c.Name] = same, other
	}
	return filters
}
