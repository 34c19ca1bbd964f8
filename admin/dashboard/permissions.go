package dashboard

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// Fields of the permission editor: one for each resource, in each of the two columns.
const (
	ownField       = "p." // p.charges=read
	connectedField = "c."
)

const (
	accessNone  = "none"
	accessRead  = "read"
	accessWrite = "write"
)

// permissionEditor is the table of all resources with what a key may do to each.
type permissionEditor struct {
	Groups    []permissionGroup
	Connected bool   // there is a column for connected accounts
	Filter    string // only resources with this in their name are shown; the others keep what they have
	Grants    []string
	Empty     bool // the catalog has no resource
}

// routesMost is up to how many resources the editor says what each stands for: the page stays small.
const routesMost = 30

// permissionGroup is what stands together in the table and can be set at once.
type permissionGroup struct {
	Name string
	Rows []permissionRow
}

// permissionRow is one resource.
type permissionRow struct {
	Name, Own, Connected string
	Routes               string // what it stands for, in a line
	Hidden               bool   // by the filter
}

// OwnIs says whether the row gives this access; with ConnectedIs it is for the radio buttons.
func (r permissionRow) OwnIs(access string) bool { return cmp.Or(r.Own, accessNone) == access }

// ConnectedIs is OwnIs for connected accounts.
func (r permissionRow) ConnectedIs(access string) bool {
	return cmp.Or(r.Connected, accessNone) == access
}

// Hidden says whether the filter hides the whole group.
func (g permissionGroup) Hidden() bool {
	return !slices.ContainsFunc(g.Rows, func(r permissionRow) bool { return !r.Hidden })
}

// permissions makes the editor with the given permissions. Resources that a key has and the catalog has lost stay in it.
func (q *request) permissions(own, connected map[string]string, withConnected bool) (*permissionEditor, error) {
	resources, err := ask[api.List[api.Resource]](q, get("/v1/resources", nil))
	if err != nil {
		return nil, err
	}
	rows := map[string]permissionRow{}
	for _, r := range resources.Data {
		var routes []string
		for _, route := range r.Routes {
			routes = append(routes, route.Method+" "+route.Pattern)
		}
		row := permissionRow{Name: r.Name}
		if len(resources.Data) <= routesMost {
			row.Routes = shorten(strings.Join(routes, ", "), 90)
		}
		rows[r.Name] = row
	}
	for _, given := range []map[string]string{own, connected} {
		for name, access := range given {
			if _, known := rows[name]; !known && access != accessNone {
				rows[name] = permissionRow{Name: name, Routes: "not in the catalog any more"}
			}
		}
	}
	e := &permissionEditor{Connected: withConnected, Filter: q.form("filter"), Empty: len(rows) == 0}
	names := make([]string, 0, len(rows))
	for name := range rows {
		names = append(names, name)
	}
	slices.Sort(names)
	groups := groupNames(names)
	for _, name := range names {
		row := rows[name]
		row.Own, row.Connected = own[name], connected[name]
		row.Hidden = e.Filter != "" && !strings.Contains(strings.ToLower(name), strings.ToLower(e.Filter))
		i := slices.IndexFunc(e.Groups, func(g permissionGroup) bool { return g.Name == groups[name] })
		if i < 0 {
			i = len(e.Groups)
			e.Groups = append(e.Groups, permissionGroup{Name: groups[name]})
		}
		e.Groups[i].Rows = append(e.Groups[i].Rows, row)
	}
	slices.SortStableFunc(e.Groups, func(a, b permissionGroup) int {
		return cmp.Compare(b2i(a.Name == restOfResources), b2i(b.Name == restOfResources))
	})
	e.Grants = grants(own, connected)
	return e, nil
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
func groupNames(names []string) map[string]string {
	word := func(name string) string {
		if i := strings.IndexAny(name, "._-/:"); i > 0 {
			return name[:i]
		}
		return name
	}
	count := map[string]int{}
	for _, name := range names {
		count[word(name)]++
	}
	groups := map[string]string{}
	for _, name := range names {
		groups[name] = restOfResources
		if w := word(name); count[w] > 1 {
			groups[name] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return groups
}

// grants says in sentences what permissions allow.
func grants(own, connected map[string]string) []string {
	var out []string
	for _, column := range []struct {
		given map[string]string
		where string
	}{{own, ""}, {connected, " on connected accounts"}} {
		for _, access := range []struct{ word, verb string }{{accessWrite, "Read and write "}, {accessRead, "Read "}} {
			var names []string
			for name, a := range column.given {
				if a == access.word {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			if len(names) > 0 {
				out = append(out, access.verb+strings.Join(names, ", ")+column.where)
			}
		}
	}
	return out
}

// formPermissions reads the editor's fields, and carries out the button that sets a group at once: "p:write:Billing", or
// "p:write:" for all. What the filter hides is left alone by it.
func formPermissions(form url.Values, prefix string) map[string]string {
	out := map[string]string{}
	for field, values := range form {
		if name, ok := strings.CutPrefix(field, prefix); ok && len(values) == 1 {
			out[name] = values[0]
		}
	}
	set := strings.SplitN(form.Get("set"), ":", 3)
	if len(set) != 3 || set[0]+"." != prefix {
		return out
	}
	names := make([]string, 0, len(out))
	for name := range out {
		names = append(names, name)
	}
	filter := strings.ToLower(strings.TrimSpace(form.Get("filter")))
	groups := groupNames(names)
	for _, name := range names {
		if (set[2] == "" || groups[name] == set[2]) && strings.Contains(strings.ToLower(name), filter) {
			out[name] = set[1]
		}
	}
	return out
}

// given is what of the permissions is sent: none is what a resource has that is not named.
func given(all map[string]string) map[string]string {
	out := map[string]string{}
	for name, access := range all {
		if access != accessNone {
			out[name] = access
		}
	}
	return out
}

// setButton sets a column of a group, or of the whole table, at once.
type setButton struct{ Value, Label, Full string }

// setter makes the three buttons for a column ("p" or "c") and a group ("": all).
func setter(column, group string) []setButton {
	of := "all of " + group
	if group == "" {
		of = "every resource"
	}
	if column == "c" {
		of += " on connected accounts"
	}
	var out []setButton
	for _, access := range []string{accessNone, accessRead, accessWrite} {
		label := strings.ToUpper(access[:1]) + access[1:]
		out = append(out, setButton{Value: column + ":" + access + ":" + group, Label: label, Full: label + " for " + of})
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
