package dashboard

import (
	"net/http"
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func keyPages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys", "list_keys", (*request).showKeys},
		{"GET /{owner}/{mode}/keys/{id}/reveal", "reveal_key", (*request).confirmReveal},
		{"POST /{owner}/{mode}/keys/{id}/reveal", "reveal_key", (*request).reveal},
		{"GET /{owner}/{mode}/keys/{id}/delete", "delete_key", (*request).confirmDelete},
		{"POST /{owner}/{mode}/keys/{id}/delete", "delete_key", (*request).deleteKey},
	}
}

var doneDeleted = notice("key_deleted", "The key is deleted. Requests with it are refused from now on.")

// keysShown is how many keys of a kind and state one page has.
const keysShown = "20"

// keysPage lists the keys of an account or organization in one mode.
type keysPage struct {
	Page
	Standard   []keyRow // secret and publishable
	Restricted []keyRow // or those of an organization
	More       string   // address of the next page of Restricted, "" if this is the last
	First      bool     // this is the first page
	Query      string
	Ended      bool // the ended ones are shown
}

// keyRow is a key in a list, with what its menu needs.
type keyRow struct {
	api.Key
	page *Page
}

// URL is the address of one of the key's pages, "" for the one that tells all about it.
func (k keyRow) URL(page string) string {
	if page != "" {
		page = "/" + page
	}
	return k.page.In("keys/" + k.ID + page)
}

// In is the address of a page of the scope.
func (k keyRow) In(page string) string { return k.page.In(page) }

// Logs is the address of the key's request logs.
func (k keyRow) Logs() string { return k.page.In(withQuery("logs", "key", k.ID)) }

// Ends says whether an end is set that has not come.
func (k keyRow) Ends() bool { return k.ExpiresIn != nil }

// Ended says whether the key opens nothing any more.
func (k keyRow) Ended() bool { return k.Status == "expired" || k.Status == "deleted" }

// Shown says whether the row has the token in clear.
func (k keyRow) Shown() bool { return k.Token != "" }

// Clear is the token in clear.
func (k keyRow) Clear() string { return string(k.Token) }

// RevealWord is what the button for revealing says.
func (k keyRow) RevealWord() string {
	if k.Mode == modeLive {
		return "Reveal live key"
	}
	return "Reveal test key"
}

// May says whether the viewer may do something to the key.
func (k keyRow) May(operation string) bool { return !k.Ended() && k.page.May(operation) }

// Editable says whether the key's kind can be deleted, limited to addresses, or duplicated.
func (k keyRow) Deletable() bool  { return k.May("delete_key") && k.Kind != "publishable" }
func (k keyRow) Limitable() bool  { return k.May("update_key") && k.Kind != "publishable" }
func (k keyRow) Duplicable() bool { return k.May("duplicate_key") && k.Kind == "restricted" }
func (k keyRow) Ranges() []string { return k.IPRanges }
func (k keyRow) Revealing() bool  { return k.Revealable && !k.Shown() && k.May("reveal_key") }
func (k keyRow) Restricted() bool { return k.Permissions != nil }
func (k keyRow) LiveReveal() bool { return k.Mode == modeLive }
func (k keyRow) StatusWord() string {
	switch k.Status {
	case "deleted":
		return "Deleted"
	case "expired":
		return "Expired"
	}
	return ""
}

func (q *request) showKeys() error {
	p, err := q.keysPage(nil)
	if err != nil {
		return err
	}
	return q.show("keys", p)
}

// keysPage makes the page; revealed is a key that is shown with its token in this one answer.
func (q *request) keysPage(revealed *api.Key) (*keysPage, error) {
	p := &keysPage{Page: q.page("API keys", "keys"), Query: q.query("query"), Ended: q.query("ended") != "", First: q.query("after") == ""}
	filter, err := q.keyFilter()
	if err != nil {
		return nil, err
	}
	if p.Query != "" {
		filter.Set("query", p.Query)
	}
	statuses := []string{"expiring", "active"}
	if p.Ended {
		statuses = []string{"expired", "deleted"}
	}
	row := func(k api.Key) keyRow {
		if revealed != nil && k.ID == revealed.ID {
			k = *revealed
		}
		return keyRow{Key: k, page: &p.Page}
	}
	if p.Scope.Organization == "" && p.First {
		for _, kind := range []string{"publishable", "secret"} {
			for _, status := range statuses {
				keys, _, err := q.listKeys(filter, kind, status, "")
				if err != nil {
					return nil, err
				}
				for _, k := range keys {
					p.Standard = append(p.Standard, row(k))
				}
			}
		}
	}
	kind := "restricted"
	if p.Scope.Organization != "" {
		kind = "organization"
	}
	for _, status := range statuses {
		last := status == statuses[1]
		if !last && !p.First {
			continue // what is ending stands on the first page
		}
		keys, more, err := q.listKeys(filter, kind, status, q.query("after"))
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			p.Restricted = append(p.Restricted, row(k))
		}
		if more && last {
			p.More = p.In(withQuery("keys", "query", p.Query, "ended", q.query("ended"), "after", keys[len(keys)-1].ID))
		}
	}
	return p, nil
}

// keyFilter selects the keys of the scope.
func (q *request) keyFilter() (url.Values, error) {
	filter := q.scope.owner()
	filter.Set("mode", q.scope.Mode)
	sandbox, err := q.sandboxID()
	if err != nil {
		return nil, err
	}
	if sandbox != "" {
		filter.Set("sandbox", sandbox)
	}
	return filter, nil
}

func (q *request) listKeys(filter url.Values, kind, status, after string) ([]api.Key, bool, error) {
	asked := url.Values{"kind": {kind}, "status": {status}, "limit": {keysShown}}
	for name, values := range filter {
		asked[name] = values
	}
	if after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.Key]](q, get("/v1/keys", asked))
	return list.Data, list.HasMore, err
}

// key is the key that the path names, if it is one of the scope: an address never shows a key of another account or mode
// under a wrong heading.
func (q *request) key() (api.Key, error) {
	k, err := ask[api.Key](q, get("/v1/keys/"+url.PathEscape(q.r.PathValue("id")), nil))
	if err != nil {
		return k, err
	}
	owner := ""
	if k.Account != nil {
		owner = *k.Account
	} else if k.Organization != nil {
		owner = *k.Organization
	}
	if owner != q.scope.Owner() || k.Mode != q.scope.Mode {
		return api.Key{}, notFoundError()
	}
	if k.Sandbox != nil && q.scope.Sandbox == "" {
		q.scope.Sandbox = *k.Sandbox // so that links stay in it
	}
	return k, nil
}

// keyPage is a page about one key.
type keyPage struct {
	Page
	Key keyRow
}

func (q *request) keyPage(title string) (*keyPage, error) {
	k, err := q.key()
	if err != nil {
		return nil, err
	}
	p := &keyPage{Page: q.page(title, "keys")}
	p.Key = keyRow{Key: k, page: &p.Page}
	return p, nil
}

// confirmReveal asks before a live key is revealed: it is the only time.
func (q *request) confirmReveal() error {
	p, err := q.keyPage("Reveal live key")
	if err != nil {
		return err
	}
	return q.show("key_reveal", p)
}

func (q *request) reveal() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	c := q.withCode(post("/v1/keys/"+k.ID+"/reveal", nil))
	shown, err := ask[api.Key](q, c)
	if err != nil {
		return q.failOrCode(err, "Reveal live key", codeFor{operation: "reveal_key", key: k.ID})
	}
	if k.Mode == modeLive {
		return q.showSecret(shown, "Your live key", "It is shown this once and cannot be shown again.")
	}
	p, err := q.keysPage(&shown)
	if err != nil {
		return err
	}
	return q.show("keys", p)
}

// deletePage asks before a key is deleted, and says who would notice.
type deletePage struct {
	keyPage
	Usage *api.KeyUsage
}

func (q *request) confirmDelete() error {
	base, err := q.keyPage("Delete key")
	if err != nil {
		return err
	}
	p := &deletePage{keyPage: *base}
	p.Key.page = &p.Page
	p.Usage = q.usage(p.Key.ID, "24h")
	return q.show("key_delete", p)
}

// usage is who uses a key, nil if that cannot be told: it is a help and no condition.
func (q *request) usage(id, since string) *api.KeyUsage {
	u, err := ask[api.KeyUsage](q, get("/v1/keys/"+id+"/usage", url.Values{"since": {since}}))
	if err != nil {
		return nil
	}
	return &u
}

func (q *request) deleteKey() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	if _, err := ask[api.Key](q, call{method: http.MethodDelete, path: "/v1/keys/" + k.ID}); err != nil {
		return err
	}
	return q.seeOther(q.scope.path("keys"), doneDeleted)
}
