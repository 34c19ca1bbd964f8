package dashboard

import (
	"github.com/keystile/keystile/admin/api"
)

func keyUsePages() []route {
	return []route{{"GET /{owner}/{mode}/keys/{id}", "get_key", (*request).showKey}}
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
}

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
