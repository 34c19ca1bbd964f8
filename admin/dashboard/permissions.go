package dashboard

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

const (
	accessNone  = "none"
	accessRead  = "read"
	accessWrite = "write"
)

// permissionEditor is the table of all resources with what a key may do to each. Of a large catalog it shows a part at a time:
// what was chosen in the others goes along in a field of the form, so that it works without a script and the page stays small.
type permissionEditor struct {
	Groups []permissionGroup // of the part that is shown
	Filter string            // only resources with this in their name are shown; the others keep what they have
	Group  string            // only this group is shown; "": all
	Grants []string
	Kept   string // what was chosen, packed; "" where all of it stands in the table
	Empty  bool   // the catalog has no resource
	At     int    // index of the first row that is shown
	Total  int    // how many rows the filters leave
	Names  []choice

	Pressed string // the button that the page is the answer to: it has the focus again

	own, connected map[string]string
	all            []permissionRow // every resource, in the order of the table
	found          []permissionRow // those that the filters leave
	most           int             // how many rows are shown at once
}

// The bounds of the table.
const (
	// rowsMost is how many resources are shown at once.
	rowsMost = 40
	// routesMost is up to how many resources the editor says what each stands for: the page stays small.
	routesMost = 30
	// groupsMost is up to how many groups there is a list to choose one from. Beyond it the filter does.
	groupsMost = 120
)

// permissionGroup is what stands together in the table and can be set at once.
type permissionGroup struct {
	Name string
	Rows []permissionRow
}

// permissionRow is one resource.
type permissionRow struct {
	Name, Own, Connected string
	Routes               string // what it stands for, in a line
	Index                int    // of all
	group                string
}

// OwnIs says whether the row gives this access; with ConnectedIs it is for the radio buttons.
func (r permissionRow) OwnIs(access string) bool { return cmp.Or(r.Own, accessNone) == access }

// ConnectedIs is OwnIs for connected accounts.
func (r permissionRow) ConnectedIs(access string) bool {
	return cmp.Or(r.Connected, accessNone) == access
}

// Paged says whether the table is a part of the catalog.
func (e *permissionEditor) Paged() bool { return e.Shown() < len(e.all) }

// Headed says whether the groups have headings: there is more than one.
func (e *permissionEditor) Headed() bool { return e.all[0].group != e.all[len(e.all)-1].group }

// Filtered says whether the filters leave something out.
func (e *permissionEditor) Filtered() bool { return e.Total < len(e.all) }

// Shown is how many rows are shown.
func (e *permissionEditor) Shown() int {
	n := 0
	for _, g := range e.Groups {
		n += len(g.Rows)
	}
	return n
}

// First and Last are the numbers of the rows that are shown, as people count.
func (e *permissionEditor) First() int { return min(e.At+1, e.Total) }

// Last is the number of the last row that is shown.
func (e *permissionEditor) Last() int { return e.At + e.Shown() }

// Before is where the part before this one begins, "" if this is the first.
func (e *permissionEditor) Before() string {
	if e.At == 0 {
		return ""
	}
	return strconv.Itoa(max(0, e.At-rowsMost))
}

// After is where the next part begins, "" if this is the last.
func (e *permissionEditor) After() string {
	if e.Last() >= e.Total {
		return ""
	}
	return strconv.Itoa(e.Last())
}

// editor makes the table with the given permissions, as the form's filters want it. Resources that a key has and the catalog
// has lost stay in it.
func (q *request) editor(own, connected map[string]string) (*permissionEditor, error) {
	rows, err := q.resourceRows(own, connected)
	if err != nil {
		return nil, err
	}
	e := &permissionEditor{
		Filter: q.form("filter"), Group: q.form("group"), Empty: len(rows) == 0, own: own, connected: connected, all: rows, most: rowsMost,
	}
	if !slices.ContainsFunc(rows, func(r permissionRow) bool { return r.group == e.Group }) {
		e.Group = ""
	}
	for _, r := range rows {
		if e.keeps(r, e.Group) {
			e.found = append(e.found, r)
		}
	}
	e.Total = len(e.found)
	e.Names = groupChoices(rows)
	at := q.form("from")
	if at == "" {
		at = q.form("at")
	}
	if q.form("again") == "filter" || q.entered() {
		at = ""
	}
	e.At, _ = strconv.Atoi(at) // what is no number is the beginning
	if e.At < 0 || e.At >= e.Total {
		e.At = 0
	}
	e.Pressed = cmp.Or(q.form("set"), q.form("again"))
	if q.form("from") != "" {
		e.Pressed = "from"
	}
	e.fill()
	return e, nil
}

// keeps says whether the filter leaves a row of a group ("": of any).
func (e *permissionEditor) keeps(r permissionRow, group string) bool {
	return (group == "" || r.group == group) && strings.Contains(strings.ToLower(r.Name), strings.ToLower(e.Filter))
}

// fill makes the part of the table that is shown, with what was chosen.
func (e *permissionEditor) fill() {
	e.Groups, e.Kept = nil, ""
	for _, r := range e.found[e.At:min(e.At+e.most, e.Total)] {
		r.Own, r.Connected = e.own[r.Name], e.connected[r.Name]
		if n := len(e.Groups); n == 0 || e.Groups[n-1].Name != r.group {
			e.Groups = append(e.Groups, permissionGroup{Name: r.group})
		}
		last := &e.Groups[len(e.Groups)-1]
		last.Rows = append(last.Rows, r)
	}
	if e.Paged() {
		e.Kept = packPermissions(e.own, e.connected)
	}
	e.Grants = summarized(e.all, e.own, e.connected)
}

// shrink shows fewer rows, so that the page keeps its size; what is left out is on the next part.
func (e *permissionEditor) shrink() bool {
	if e == nil || e.most <= 1 {
		return false
	}
	e.most = max(1, min(e.most, e.Shown())*2/3)
	e.fill()
	return true
}

// resourceRows lists the resources of the catalog, and those that permissions name beside, in the order of the table: group
// by group, those that belong to none at the end.
func (q *request) resourceRows(own, connected map[string]string) ([]permissionRow, error) {
	resources, err := ask[api.List[api.Resource]](q, get("/v1/resources", nil))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var rows []permissionRow
	for _, r := range resources.Data {
		known[r.Name] = true
		row := permissionRow{Name: r.Name}
		if len(resources.Data) <= routesMost {
			var routes []string
			for _, route := range r.Routes {
				routes = append(routes, route.Method+" "+route.Pattern)
			}
			row.Routes = shorten(strings.Join(routes, ", "), 90)
		}
		rows = append(rows, row)
	}
	for _, given := range []map[string]string{own, connected} {
		for name, access := range given {
			if !known[name] && access != accessNone {
				known[name] = true
				rows = append(rows, permissionRow{Name: name, Routes: "not in the catalog any more"})
			}
		}
	}
	groups := groupNames(rows)
	for i := range rows {
		rows[i].group = groups[rows[i].Name]
	}
	slices.SortFunc(rows, func(a, b permissionRow) int {
		return cmp.Or(cmp.Compare(b2i(a.group == restOfResources), b2i(b.group == restOfResources)), cmp.Compare(a.group, b.group), cmp.Compare(a.Name, b.Name))
	})
	for i := range rows {
		rows[i].Index = i
	}
	return rows, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// restOfResources is the group of those whose names have nothing in common.
const restOfResources = "Resources"

// groupNames finds which resources belong together: those whose names begin with the same word.
func groupNames(rows []permissionRow) map[string]string {
	word := func(name string) string {
		if i := strings.IndexAny(name, "._-/:"); i > 0 {
			return name[:i]
		}
		return name
	}
	count := map[string]int{}
	for _, r := range rows {
		count[word(r.Name)]++
	}
	groups := map[string]string{}
	for _, r := range rows {
		groups[r.Name] = restOfResources
		if w := word(r.Name); count[w] > 1 {
			groups[r.Name] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return groups
}

// groupChoices lists the groups, to choose one that is shown alone; none if there is but one, or too many for a list.
func groupChoices(rows []permissionRow) []choice {
	out := []choice{{"", "All groups"}}
	for i, r := range rows {
		if i == 0 || rows[i-1].group != r.group {
			out = append(out, choice{r.group, shorten(r.group, 40)})
		}
	}
	if len(out) < 3 || len(out) > groupsMost {
		return nil
	}
	return out
}

// set is what a button of the table does: it gives a column of a group, or of all ("p:write:"), an access at once. What the
// filter leaves out stays as it is; what stands on another part of the table is set with the rest.
func (e *permissionEditor) set(button string) {
	part := strings.SplitN(button, ":", 3)
	if len(part) != 3 || part[1] != accessNone && part[1] != accessRead && part[1] != accessWrite {
		return
	}
	column := e.own
	if part[0]+"." == connectedField {
		column = e.connected
	}
	group := part[2]
	for _, r := range e.all {
		if e.keeps(r, group) && (group != "" || e.keeps(r, e.Group)) {
			column[r.Name] = part[1]
		}
	}
	e.fill()
}

// setButton sets a column of a group, or of the whole table, at once.
type setButton struct {
	Value, Label, Full string
	Pressed            bool
}

// Setter makes the three buttons for a column ("p" or "c") and a group ("": all).
func (e *permissionEditor) Setter(column, group string) []setButton {
	of := "all of " + group
	switch {
	case group == "" && e.Filtered():
		of = "all that fit"
	case group == "":
		of = "every resource"
	}
	if column == "c" {
		of += " on connected accounts"
	}
	var out []setButton
	for _, access := range []string{accessNone, accessRead, accessWrite} {
		label := strings.ToUpper(access[:1]) + access[1:]
		value := column + ":" + access + ":" + group
		out = append(out, setButton{Value: value, Label: label, Full: label + " for " + of, Pressed: value == e.Pressed})
	}
	return out
}

// shorten cuts a text at n characters.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
