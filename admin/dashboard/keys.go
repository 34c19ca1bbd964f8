package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"time"

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

// keysPage lists the keys of an account or organization in one mode.
type keysPage struct {
	Page
	Standard   *keyList // secret and publishable; nil: not on this page
	Restricted *keyList // or those of an organization
	Query      string
	Ended      bool // the ended ones are shown
}

// shrink leaves rows of the longer list to its next page.
func (p *keysPage) shrink() bool {
	if p.Standard != nil && (p.Restricted == nil || len(p.Standard.Rows) > len(p.Restricted.Rows)) {
		return p.Standard.shrink()
	}
	return p.Restricted != nil && p.Restricted.shrink()
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

// Called is what the key is called in lists: its name as far as there is room for it, or its id.
func (k keyRow) Called() string { return shorten(cmp.Or(k.Name, k.ID), 80) }

// Noted is the note as far as a list has room for it.
func (k keyRow) Noted() string { return shorten(k.Note, 100) }

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

// keysPage makes the page; revealed is a key that is shown with its token in this one answer. A later page of one list has
// that list alone.
func (q *request) keysPage(revealed *api.Key) (*keysPage, error) {
	p := &keysPage{Page: q.page("API keys", "keys"), Query: q.query("query"), Ended: q.query("ended") != ""}
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
	most, standard, after := keysBeside, q.query("standard"), q.query("after")
	if standard != "" || after != "" {
		most = keysAlone
	}
	list := func(cursor, after string, kinds ...string) (*keyList, error) {
		var parts []keyPart
		for _, kind := range kinds {
			for _, status := range statuses {
				parts = append(parts, keyPart{kind, status})
			}
		}
		l, err := q.keyList(filter, parts, after, most, row, func(at string) string {
			return p.In(withQuery("keys", "query", p.Query, "ended", q.query("ended"), cursor, at))
		})
		return &l, err
	}
	if p.Scope.Organization == "" && after == "" {
		if p.Standard, err = list("standard", standard, "publishable", "secret"); err != nil {
			return nil, err
		}
	}
	if standard == "" {
		kind := "restricted"
		if p.Scope.Organization != "" {
			kind = "organization"
		}
		if p.Restricted, err = list("after", after, kind); err != nil {
			return nil, err
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
		return q.showSecret(shown, "Your live key", "It is shown this once and cannot be shown again.", time.Time{})
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

func (p *deletePage) shrink() bool { return fewerUsers(p.Usage) }

// fewerUsers leaves the users out that used a key longest ago.
func fewerUsers(u *api.KeyUsage) bool {
	if u == nil {
		return false
	}
	var ok bool
	if u.Users, ok = fewer(u.Users); ok {
		u.Complete = false
	}
	return ok
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
