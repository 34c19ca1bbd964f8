package dashboard

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// How many keys a list has where it shares the page with another, and where it has the page for itself.
const (
	keysBeside = 12
	keysAlone  = 25
)

// keyPart is keys of one kind and state, as the API lists them.
type keyPart struct{ kind, status string }

// keyList is a list of keys over several parts, a page at a time.
type keyList struct {
	Rows []keyRow
	More string // address of the next page, "" if this is the last

	cursors []string            // of the rows: the part and the key
	next    func(string) string // address of the page after a cursor
}

// keyList lists keys part by part, after a cursor of the page before ("": from the beginning).
func (q *request) keyList(filter url.Values, parts []keyPart, after string, most int, row func(api.Key) keyRow, next func(string) string) (keyList, error) {
	out := keyList{next: next}
	at, id := 0, ""
	if after != "" {
		part, key, ok := strings.Cut(after, ".")
		n, err := strconv.Atoi(part)
		if !ok || err != nil || n < 0 || n >= len(parts) {
			return out, notFoundError()
		}
		at, id = n, key
	}
	for ; at < len(parts); at, id = at+1, "" {
		asked := url.Values{"kind": {parts[at].kind}, "status": {parts[at].status}, "limit": {strconv.Itoa(most + 1 - len(out.Rows))}}
		for name, values := range filter {
			asked[name] = values
		}
		if id != "" {
			asked.Set("starting_after", id)
		}
		list, err := ask[api.List[api.Key]](q, get("/v1/keys", asked))
		if err != nil {
			return out, err
		}
		for _, k := range list.Data {
			if len(out.Rows) == most {
				out.More = next(out.cursors[most-1])
				return out, nil
			}
			out.Rows, out.cursors = append(out.Rows, row(k)), append(out.cursors, strconv.Itoa(at)+"."+k.ID)
		}
	}
	return out, nil
}

// shrink leaves rows to the next page.
func (l *keyList) shrink() bool {
	rows, ok := fewer(l.Rows)
	if ok {
		l.Rows = rows
		l.More = l.next(l.cursors[len(rows)-1])
	}
	return ok
}
