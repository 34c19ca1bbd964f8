package dashboard

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func keyRangePages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/{id}/ip", "update_key", (*request).showRanges},
		{"POST /{owner}/{mode}/keys/{id}/ip", "update_key", (*request).saveRanges},
	}
}

var doneRanges = notice("ranges", "The IP restrictions are saved, and in force from now on.")

// rangesPage limits a key to addresses: one by one, or all in one text. Both tabs show the same list, and each sends it.
type rangesPage struct {
	keyPage
	Limited bool
	Bulk    bool // the tab for the one text is open
	Rows    []addressRow
	Text    string

	From          int    // index of the first row in the list
	Before, After string // the part of the list in front of the rows and behind them, which goes along hidden
	Total         int
}

// First is the number of the first address in the rows, as people count.
func (p *rangesPage) First() int { return p.From + 1 }

// Last is the number of the last address in the rows.
func (p *rangesPage) Last() int { return min(p.From+rangesShown, p.Total) }

// addressRow is one row of the first tab.
type addressRow struct {
	Address, Prefix string
	Error           string
}

// rangesShown is how many addresses the first tab shows at once.
const rangesShown = 50

// spareRows is how many empty rows there are to fill in without a script.
const spareRows = 1

// Filled says how many rows are filled in.
func (p *rangesPage) Filled() int {
	n := 0
	for _, r := range p.Rows {
		if r.Address != "" || r.Prefix != "" {
			n++
		}
	}
	return n
}

func (q *request) showRanges() error {
	p, err := q.rangesPage()
	if err != nil {
		return err
	}
	p.Bulk = q.query("tab") == "bulk"
	p.Limited = p.Key.IPRanges != nil
	p.fill(p.Key.IPRanges, 0)
	return q.show("key_ip", p)
}

func (q *request) rangesPage() (*rangesPage, error) {
	base, err := q.keyPage("Manage IP restrictions")
	if err != nil {
		return nil, err
	}
	p := &rangesPage{keyPage: *base}
	p.Key.page = &p.Page
	return p, nil
}

// fill puts the list into both tabs, into the rows from an index on.
func (p *rangesPage) fill(ranges []string, from int) {
	p.Rows, p.Text, p.Total = nil, strings.Join(ranges, "\n"), len(ranges)
	p.From = max(0, min(from, (len(ranges)-1)/rangesShown*rangesShown))
	p.Before, p.After = strings.Join(ranges[:p.From], " "), strings.Join(ranges[p.Last():], " ")
	for _, r := range ranges[p.From:p.Last()] {
		address, prefix, _ := strings.Cut(r, "/")
		p.Rows = append(p.Rows, addressRow{Address: address, Prefix: prefix})
	}
	for range spareRows {
		p.Rows = append(p.Rows, addressRow{})
	}
}

// formRanges reads the list from the tab that was open when the form was sent.
func (q *request) formRanges() []string {
	if q.form("tab") == "bulk" {
		return strings.Fields(q.r.PostForm.Get("ranges"))
	}
	addresses, prefixes := q.r.PostForm["address"], q.r.PostForm["prefix"]
	remove := q.form("remove")
	out := strings.Fields(q.form("before"))
	for i, address := range addresses {
		address = strings.TrimSpace(address)
		prefix := ""
		if i < len(prefixes) {
			prefix = strings.TrimPrefix(strings.TrimSpace(prefixes[i]), "/")
		}
		if address == "" && prefix == "" || remove != "" && remove == address+"/"+prefix {
			continue
		}
		if prefix != "" {
			address += "/" + prefix
		}
		out = append(out, address)
	}
	return append(out, strings.Fields(q.form("after"))...)
}

func (q *request) saveRanges() error {
	p, err := q.rangesPage()
	if err != nil {
		return err
	}
	ranges := q.formRanges()
	p.Limited, p.Bulk = q.form("limited") == "yes", q.form("tab") == "bulk"
	from, _ := strconv.Atoi(q.form("from")) // what is no number is the beginning
	p.fill(ranges, from)
	switch q.form("show") { // a button that changes the view, and saves nothing
	case "bulk", "single":
		p.Bulk = q.form("show") == "bulk"
		return q.show("key_ip", p)
	case "earlier", "later":
		if q.form("show") == "later" {
			from += 2 * rangesShown
		}
		p.fill(ranges, from-rangesShown)
		return q.show("key_ip", p)
	case "add":
		// One row is empty already, and is the new one if all that were sent are filled in.
		for _, address := range q.r.PostForm["address"] {
			if strings.TrimSpace(address) == "" {
				p.Rows = append(p.Rows, addressRow{})
			}
		}
		return q.show("key_ip", p)
	}
	if q.form("remove") != "" {
		return q.show("key_ip", p)
	}
	body := api.KeyUpdate{IPRanges: api.SetNull[api.IPRanges]()}
	if p.Limited {
		body.IPRanges = api.Set(api.IPRanges(slices.Concat([]string{}, ranges)))
	}
	if body.IPRanges.Value == nil && p.Limited {
		body.IPRanges.Value = api.IPRanges{} // refused by the API: no restriction is never an accident
	}
	c := q.withCode(call{method: http.MethodPatch, path: "/v1/keys/" + p.Key.ID, body: body})
	if _, err := ask[api.Key](q, c); err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			p.markRow(ranges)
			return q.show("key_ip", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "update_key", key: p.Key.ID, body: body})
	}
	return q.seeOther(q.scope.path("keys/"+p.Key.ID), doneRanges)
}

// markRow shows the row that the error is about, and puts it beside: the API names it as ip_ranges[2].
func (p *rangesPage) markRow(ranges []string) {
	text, ok := strings.CutPrefix(p.Error.Param, "ip_ranges[")
	i, err := strconv.Atoi(strings.TrimSuffix(text, "]"))
	if !ok || err != nil || i < 0 || i >= len(ranges) {
		return
	}
	p.fill(ranges, i/rangesShown*rangesShown)
	p.Rows[i-p.From].Error = p.Error.Message
}
