package dashboard

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func eventPages() []route {
	return []route{
		{"GET /events", "list_events", (*request).showEvents},
		{"GET /events/export", "export_events", (*request).exportEvents},
	}
}

// eventsPage lists the audit trail.
type eventsPage struct {
	Page
	Rows                      []eventRow
	More                      string
	Type, Actor, Object, From string
	Active                    bool
	Verified                  *api.EventVerification
}

// shrink leaves events to the next page, and then makes the texts of changes shorter.
func (p *eventsPage) shrink() bool {
	if len(p.Rows) > 3 && moreAfter(&p.Rows, &p.More, p.next) {
		return true
	}
	var texts []*string
	for i := range p.Rows {
		for j := range p.Rows[i].Changes {
			c := &p.Rows[i].Changes[j]
			texts = append(texts, &c.Name, &c.Before, &c.After)
		}
	}
	return shorter(texts...)
}

func (p *eventsPage) next(e eventRow) string { return p.after(e.ID) }

// after is the address of the page of older events.
func (p *eventsPage) after(id string) string {
	return p.To(withQuery("/events", "account", p.Scope.Account, "organization", p.Scope.Organization, "type", p.Type, "actor", p.Actor, "object", p.Object, "since", p.From, "after", id))
}

// eventRow is one event with what it changed, in pairs.
type eventRow struct {
	api.Event
	Changes   []eventChange
	Further   int    // changes that are not shown
	ActorURL  string // "": there is nothing to see of it, or not for the viewer
	ObjectURL string
}

// eventChange is one field before and after.
type eventChange struct{ Name, Before, After string }

// Changed is how many fields changed.
func (e eventRow) Changed() int { return len(e.Changes) + e.Further }

// Who is who made the change, as far as it is known.
func (e eventRow) Who() string {
	switch {
	case e.Actor.Name != "":
		return e.Actor.Name
	case e.Actor.ID != "":
		return e.Actor.ID
	}
	return words(e.Actor.Kind)
}

// Kind is the kind of who made the change.
func (e eventRow) Kind() string { return strings.ReplaceAll(e.Actor.Kind, "_", " ") }

// Types are what the filter offers.
func (eventsPage) Types() []choice {
	out := []choice{{"", "All events"}}
	for _, noun := range []string{"key", "account", "organization", "sandbox", "member", "admin_token", "webhook_endpoint"} {
		out = append(out, choice{noun + ".*", words(noun)})
	}
	return out
}

func (q *request) eventQuery() url.Values {
	asked := q.scope.owner()
	for _, name := range []string{"type", "actor", "object", "since"} {
		if v := q.query(name); v != "" {
			asked.Set(name, v)
		}
	}
	return asked
}

func (q *request) showEvents() error {
	p := &eventsPage{
		Page: q.page("Events", "events"), Type: q.query("type"), Actor: q.query("actor"), Object: q.query("object"), From: q.query("since"),
	}
	p.Active = p.Type+p.Actor+p.Object+p.From != ""
	asked := q.eventQuery()
	asked.Set("limit", "25")
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.EventList](q, get("/v1/events", asked))
	if err != nil {
		if p.Error = formFailure(err); p.Error == nil {
			return err
		}
		return q.show("events", p)
	}
	links := &eventLinks{q: q, page: &p.Page, found: map[string]string{}}
	for _, e := range list.Data {
		row := eventRowOf(e)
		row.ObjectURL, row.ActorURL = links.to(e.Object), links.to(e.Actor.ID)
		p.Rows = append(p.Rows, row)
	}
	if list.Next != nil && list.HasMore {
		p.More = p.after(*list.Next)
	}
	if q.query("verify") != "" && q.may("verify_events") {
		if v, err := ask[api.EventVerification](q, get("/v1/events/verify", nil)); err == nil {
			p.Verified = &v
		}
	}
	return q.show("events", p)
}

func eventRowOf(e api.Event) eventRow {
	row := eventRow{Event: e}
	names := map[string]bool{}
	for name := range e.Before {
		names[name] = true
	}
	for name := range e.After {
		names[name] = true
	}
	for name := range names {
		row.Changes = append(row.Changes, eventChange{shorten(name, 80), fieldText(e.Before, name), fieldText(e.After, name)})
	}
	slices.SortFunc(row.Changes, func(a, b eventChange) int { return strings.Compare(a.Name, b.Name) })
	const most = 12
	if len(row.Changes) > most {
		row.Further = len(row.Changes) - most
		row.Changes = row.Changes[:most]
	}
	return row
}

// fieldText is a field's value in a line.
func fieldText(fields api.EventFields, name string) string {
	v, ok := fields[name]
	if !ok || v == nil {
		return "–"
	}
	switch v := v.(type) {
	case string:
		return shorten(v, 120)
	case map[string]any, []any:
		text, err := json.Marshal(v)
		if err != nil {
			return "…"
		}
		return shorten(string(text), 120)
	}
	return shorten(fmt.Sprint(v), 120)
}

// Export is the address of a file of the events that the filters select.
func (p *eventsPage) Export(format string) string {
	return p.To(withQuery("/events/export", "format", format, "account", p.Scope.Account, "organization", p.Scope.Organization, "type", p.Type, "actor", p.Actor, "object", p.Object, "since", p.From))
}

func (q *request) exportEvents() error {
	asked := q.eventQuery()
	asked.Set("format", q.query("format"))
	return q.stream("/v1/events/export", asked)
}
