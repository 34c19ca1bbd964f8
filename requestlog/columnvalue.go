package requestlog

import (
	"fmt"
	"net/netip"
	"time"
)

// Value is what one column holds of a record: Text for texts and addresses, Integer for everything else (in the column's
// unit; Unix milliseconds for times; 1 for true).
type Value struct {
	Text    string
	Integer int64
}

// IsText says whether the column's values are texts, those of addresses among them.
func (c *Column) IsText() bool { return c.Kind == ColumnText || c.Kind == ColumnAddress }

// Optional says whether records may lack the column: what is zero is then not written.
func (c *Column) Optional() bool { return !c.always }

// Value is the column's value; ok is false if the record lacks it.
func (c *Column) Value(r *Record) (v Value, ok bool) {
	switch c.Kind {
	case ColumnText:
		v.Text = *c.text(r)
		return v, v.Text != "" || c.always
	case ColumnInteger:
		v.Integer = c.integer(r)
	case ColumnTime:
		if t := *c.time(r); !t.IsZero() || c.always {
			return Value{Integer: t.UnixMilli()}, true
		}
		return v, false
	case ColumnAddress:
		if a := *c.address(r); a.IsValid() {
			return Value{Text: a.String()}, true
		}
		return v, false
	case ColumnBool:
		if *c.boolean(r) {
			v.Integer = 1
		}
	}
	return v, v.Integer != 0 || c.always
}

// TextOf is the record's text in a column of texts, "" if it lacks it.
func (c *Column) TextOf(r *Record) string { return *c.text(r) }

// AddressOf is the record's address in a column of addresses, the zero one if it lacks it.
func (c *Column) AddressOf(r *Record) netip.Addr { return *c.address(r) }

// SetValue gives the column a value that Value answered. Whatever a damaged file holds, it is an error at worst.
func (c *Column) SetValue(r *Record, v Value) error {
	switch c.Kind {
	case ColumnText:
		*c.text(r) = v.Text
	case ColumnInteger:
		c.setInt(r, v.Integer)
	case ColumnTime:
		*c.time(r) = cleanTime(time.UnixMilli(v.Integer))
	case ColumnAddress:
		a, err := netip.ParseAddr(v.Text)
		if err != nil {
			return fmt.Errorf("%s: no address", c.Name)
		}
		*c.address(r) = a
	case ColumnBool:
		*c.boolean(r) = v.Integer != 0
	}
	return nil
}

// ColumnNamed answers the column of the name, nil if there is none.
func ColumnNamed(name string) *Column { return columnByName[name] }

// Condition is what a filter asks of one column. Stores that keep columns test them one by one, and the whole record only
// where all are met.
type Condition struct {
	Column *Column
	// Exact is the one text that the column must have, "" if the condition is not of this kind: indexes and bloom filters
	// know it.
	Exact string
	// Text and Integer test a value; one of them is set, as the column's kind asks. A record that lacks the column has "".
	Text    func(string) bool
	Integer func(int64) bool
}

// Conditions are what the filter asks of single columns, those first that few records meet. A record that the filter selects
// meets all; so does none other, but for Within, which is about two columns.
func (f *Filter) Conditions() []Condition {
	var list []Condition
	exact := func(c *Column, want string) {
		if want != "" {
			list = append(list, Condition{Column: c, Exact: want, Text: func(s string) bool { return s == want }})
		}
	}
	exact(columnByName["id"], f.RequestID)
	for _, c := range filterColumns {
		exact(c, *c.filter(f))
	}
	if f.StatusMax != 0 {
		list = append(list, Condition{Column: columnByName["status"], Integer: func(v int64) bool {
			return v >= int64(f.StatusMin) && v <= int64(f.StatusMax)
		}})
	}
	if f.Client.IsValid() {
		list = append(list, Condition{Column: columnByName["client_address"], Text: func(s string) bool {
			a, err := netip.ParseAddr(s)
			return err == nil && f.Client.Contains(a)
		}})
	}
	if f.Path != "" {
		list = append(list, Condition{Column: columnByName["path"], Text: func(s string) bool { return matchPath(f.Path, s) }})
	}
	if !f.Since.IsZero() || !f.Until.IsZero() {
		list = append(list, Condition{Column: columnByName["time"], Integer: func(v int64) bool {
			t := time.UnixMilli(v)
			return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
		}})
	}
	return list
}
