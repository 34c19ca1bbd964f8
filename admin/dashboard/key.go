package dashboard

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func keyUsePages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/{id}", "get_key", (*request).showKey},
		{"GET /{owner}/{mode}/keys/{id}/permissions", "get_key", (*request).showPermissions},
		{"GET /{owner}/{mode}/keys/{id}/json", "get_key", (*request).keyAsJSON},
	}
}

// useKeyPage tells all about one key: what it may do, its place among its rotations, and who uses it.
type useKeyPage struct {
	keyPage
	Since  string // how far back Users goes
	Users  []api.KeyUser
	Whole  bool // Users is all of them
	InUse  bool // ending it was refused, since it is in use
	Grants []string
	Before *keyRow // the key that it replaced
	After  *keyRow // the key that replaced it
	Brief  bool    // long lists and texts are cut
	Many   bool    // Grants speaks of groups: another page has them all

	Metadata []metadataPair
}

// shrink leaves the users out that used the key longest ago, and then cuts what else is long.
func (p *useKeyPage) shrink() bool {
	var ok bool
	if p.Users, ok = fewer(p.Users); ok {
		p.Whole = false
		return true
	}
	p.Brief = true
	if p.Key.IPRanges, ok = fewer(p.Key.IPRanges); ok {
		return true
	}
	if p.Key.AllowedOrigins, ok = fewer(p.Key.AllowedOrigins); ok {
		return true
	}
	texts := []*string{&p.Key.Note}
	for i := range p.Grants {
		texts = append(texts, &p.Grants[i])
	}
	for i := range p.Metadata {
		texts = append(texts, &p.Metadata[i].Value)
	}
	return shorter(texts...)
}

// metadataPair is one pair of a key's metadata.
type metadataPair struct{ Name, Value string }

// sinceChoices are how far back the list of users may go.
var sinceChoices = []choice{{"1h", "the last hour"}, {"24h", "the last 24 hours"}, {"168h", "the last 7 days"}}

// Sinces are they, for the template.
func (useKeyPage) Sinces() []choice { return sinceChoices }

// Ending says whether it is the old key of a rotation that goes on beside its replacement.
func (p *useKeyPage) Ending() bool { return p.Key.Status == "expiring" && p.After != nil }

func (q *request) useKeyPage() (*useKeyPage, error) {
	base, err := q.keyPage("Key")
	if err != nil {
		return nil, err
	}
	p := &useKeyPage{keyPage: *base, Since: "24h"}
	p.Key.page = &p.Page
	k := &p.Key
	if k.Name != "" {
		p.Title = k.Name
	}
	p.Grants = grants(k.Permissions, k.ConnectedPermissions)
	if p.Many = len(k.Permissions) > namesMost || len(k.ConnectedPermissions) > namesMost; p.Many {
		rows, err := q.resourceRows(k.Permissions, k.ConnectedPermissions)
		if err != nil {
			return nil, err
		}
		p.Grants = summarized(rows, k.Permissions, k.ConnectedPermissions)
	}
	for _, name := range slices.Sorted(maps.Keys(k.Metadata)) {
		p.Metadata = append(p.Metadata, metadataPair{name, k.Metadata[name]})
	}
	for _, c := range sinceChoices {
		if c.Value == q.query("since") {
			p.Since = c.Value
		}
	}
	if u := q.usage(k.ID, p.Since); u != nil {
		p.Users, p.Whole = u.Users, u.Complete
	}
	p.Before, p.After = q.neighbour(k.Rotation.Predecessor, &p.Page), q.neighbour(k.Rotation.Successor, &p.Page)
	return p, nil
}

// neighbour is another key of the same chain of rotations.
func (q *request) neighbour(id *string, page *Page) *keyRow {
	if id == nil {
		return nil
	}
	k, err := ask[api.Key](q, get("/v1/keys/"+*id, nil))
	if err != nil {
		return nil
	}
	return &keyRow{Key: k, page: page}
}

func (q *request) showKey() error {
	p, err := q.useKeyPage()
	if err != nil {
		return err
	}
	return q.show("key", p)
}

// keyAsJSON is the key as the API answers it. The API's own address would ask a member of several roles for which of them it is.
func (q *request) keyAsJSON() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	return q.stream("/v1/keys/"+url.PathEscape(k.ID), nil)
}

// permissionsPage lists all permissions of a key that has many.
type permissionsPage struct {
	keyPage
	Rows   []permissionRow
	More   string
	Filter string
}

// permissionsShown is how many permissions a page has.
const permissionsShown = 150

// shrink leaves rows to the next page.
func (p *permissionsPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *permissionsPage) next(r permissionRow) string {
	return p.In(withQuery("keys/"+p.Key.ID+"/permissions", "filter", p.Filter, "after", r.Name))
}

func (q *request) showPermissions() error {
	base, err := q.keyPage("Permissions")
	if err != nil {
		return err
	}
	p := &permissionsPage{keyPage: *base, Filter: q.query("filter")}
	k := &p.Key
	k.page = &p.Page
	var all []permissionRow
	names := maps.Clone(k.Permissions)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, k.ConnectedPermissions)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if strings.Contains(strings.ToLower(name), strings.ToLower(p.Filter)) {
			own, connected := cmp.Or(k.Permissions[name], accessNone), cmp.Or(k.ConnectedPermissions[name], accessNone)
			all = append(all, permissionRow{Name: name, Own: words(own), Connected: words(connected)})
		}
	}
	rows, more := partOf(all, q.query("after"), permissionsShown, func(r permissionRow) string { return r.Name })
	if p.Rows = rows; more {
		p.More = p.next(rows[len(rows)-1])
	}
	return q.show("key_permissions", p)
}
