package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/keystore"
)

// Event is one line of the audit trail: one change, with what was before and after it. Fields that do not apply are absent.
type Event struct {
	ID           string      `json:"id" example:"evt_3Jd8sVwQ0xTnB6Lm"`
	Seq          uint64      `json:"seq" doc:"Place in the chain, from 1"`
	Revision     uint64      `json:"revision" doc:"Of the store, with this change"`
	Type         string      `json:"type" example:"key.created"`
	Time         time.Time   `json:"time"`
	Actor        EventActor  `json:"actor"`
	Object       string      `json:"object" doc:"The id of what changed"`
	Account      string      `json:"account,omitempty" doc:"The account that it belongs to"`
	Organization string      `json:"organization,omitempty" doc:"The organization that it belongs to"`
	Before       EventFields `json:"before,omitempty" doc:"The fields that changed, as they were; never a token"`
	After        EventFields `json:"after,omitempty" doc:"The fields that changed, as they are now"`
	Previous     string      `json:"previous" doc:"SHA-256 of the event before, as it is stored; zeros for the first"`
	Hash         string      `json:"hash" doc:"SHA-256 of this event as it is stored: a line of the export, without its line end, unless a part of it is kept from the caller"`
}

// EventFields are fields of an object by name, null where it did not have them.
type EventFields map[string]any

// Schema is an object of anything.
func (EventFields) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// EventActor is who made a change.
type EventActor struct {
	Kind    string `json:"kind" example:"admin_token"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty" doc:"The client's address, where there was one"`
}

// EventList is one page of events.
type EventList struct {
	List[Event]
	Next *string `json:"next" doc:"starting_after of the next page, null if there is none; a page may end between matches, perhaps without any"`
}

// EventVerification is what a walk along the chain of events found.
type EventVerification struct {
	Object   string      `json:"object" enum:"event_verification"`
	Intact   bool        `json:"intact" doc:"Nothing is amiss in what was looked at"`
	Complete bool        `json:"complete" doc:"All was looked at up to the newest event, or something amiss was found. Else ask again with after set to place"`
	Checked  uint64      `json:"checked" doc:"Events looked at by this call"`
	Place    string      `json:"place" doc:"Up to where everything is in order: note it elsewhere, and give it as after later to find out whether anything before it was changed"`
	Events   uint64      `json:"events" doc:"Events of the store"`
	Revision uint64      `json:"revision"`
	FirstBad *EventFault `json:"first_bad,omitempty" doc:"Absent: nothing is amiss"`
}

// EventFault is the first place where the chain does not hold.
type EventFault struct {
	Seq    uint64  `json:"seq"`
	ID     *string `json:"id" doc:"Of the event that stands there; null: it is missing or cannot be read"`
	Reason string  `json:"reason"`
}

// eventFilters are the filters of events, for lists and exports.
type eventFilters struct {
	kind, actor, object, account, organization, since, until string
}

type listEventsInput struct {
	Type          string `query:"type" doc:"A type such as key.created, or key.* for all of a noun"`
	Actor         string `query:"actor" maxLength:"200" doc:"The id, the name or the kind of who made the change"`
	Object        string `query:"object" doc:"The id of what changed; a key also finds the import that brought it"`
	Account       string `query:"account" doc:"Only what belongs to this account"`
	Organization  string `query:"organization" doc:"Only what belongs to this organization"`
	Since         string `query:"since" doc:"Not before this time, RFC 3339, or a duration back from now such as 24h"`
	Until         string `query:"until" doc:"Before this time, RFC 3339, or a duration back from now"`
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type exportEventsInput struct {
	Format       string `query:"format" enum:"jsonl,csv" default:"jsonl"`
	Type         string `query:"type" doc:"As in the list"`
	Actor        string `query:"actor" maxLength:"200"`
	Object       string `query:"object"`
	Account      string `query:"account"`
	Organization string `query:"organization"`
	Since        string `query:"since"`
	Until        string `query:"until"`
}

type eventInput struct {
	ID string `path:"id" doc:"evt_…"`
}

type verifyEventsInput struct {
	After string `query:"after" doc:"A place of an earlier answer: only what follows is looked at, and that the place is still as it was"`
}

func (a *API) registerEvents() {
	const tag = "events"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/events", id: "list_events", tag: tag, summary: "List events",
		description: "The audit trail, newest first. Every filter must hold.",
	}, a.listEvents)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/events/{id}", id: "get_event", tag: tag, summary: "Get an event",
	}, a.getEvent)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/events/verify", id: "verify_events", tag: tag, summary: "Verify the chain of events",
		description: "Each event holds the hash of the one before it. The walk finds events that were changed, removed, moved or put in; who can rewrite the whole store is found out by a place that was noted elsewhere.",
	}, a.verifyEvents)
	stream(a, operation{
		method: http.MethodGet, path: "/v1/events/export", id: "export_events", tag: tag, summary: "Export events", media: exportMedia,
		description: "Oldest first. The lines of format jsonl are the stored bytes: without filters, the SHA-256 of each is the previous of the next. Tables in CSV hold no formulas.",
	}, a.exportEvents)
}

// verifyTime bounds one call's walk. The caller goes on from where it ended.
const verifyTime = 20 * time.Second

func (a *API) verifyEvents(c *call, in *verifyEventsInput) (EventVerification, error) {
	var from keystore.ChainPlace
	if in.After != "" {
		var err error
		if from, err = keystore.ParseChainPlace(in.After); err != nil {
			return EventVerification{}, badParam("after", "after must be the place of an earlier answer: %s", err.Error())
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, verifyTime)
	defer cancel()
	report, err := a.Store.VerifyEvents(ctx, from)
	if err != nil {
		return EventVerification{}, err
	}
	out := EventVerification{
		Object: "event_verification", Intact: report.Fault == nil, Complete: report.Complete, Checked: report.Checked,
		Place: report.Place.String(), Events: report.Head.Events, Revision: report.Head.Revision,
	}
	if f := report.Fault; f != nil {
		out.FirstBad = &EventFault{Seq: f.Seq, ID: some(f.ID), Reason: f.Reason}
	}
	return out, nil
}

func (a *API) listEvents(c *call, in *listEventsInput) (EventList, error) {
	filter, err := c.eventFilter(eventFilters{in.Type, in.Actor, in.Object, in.Account, in.Organization, in.Since, in.Until})
	if err != nil {
		return EventList{}, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, listSearch)
	defer cancel()
	p := page(in.Limit, in.StartingAfter)
	found, err := a.Store.Events(ctx, filter, p)
	for err == nil && len(found.Events) == 0 && found.More {
		p.StartingAfter = found.Next
		next, again := a.Store.Events(ctx, filter, p)
		if again != nil {
			if ctx.Err() != nil && c.ctx.Err() == nil {
				break // time is over, the caller is there: it goes on from where we are
			}
			return EventList{}, again
		}
		found = next
	}
	if err != nil {
		return EventList{}, err
	}
	return EventList{List: listOf(found.Events, found.More, c.viewEvent), Next: some(found.Next)}, nil
}

func (a *API) getEvent(c *call, in *eventInput) (Event, error) {
	e, err := a.Store.Event(c.ctx, in.ID)
	if keystore.CodeOf(err) == keystore.CodeNotFound || err == nil && !c.coversEvent(e.Event) {
		return Event{}, notFound("event", in.ID)
	}
	if err != nil {
		return Event{}, err
	}
	return c.viewEvent(*e), nil
}

// eventFilter is the store's form of the filters, and of what the caller may see.
func (c *call) eventFilter(in eventFilters) (*keystore.EventFilter, error) {
	f := &keystore.EventFilter{Type: in.kind, Actor: in.actor, Object: in.object, Account: in.account, Organization: in.organization}
	var err error
	if f.Since, err = c.moment("since", in.since); err != nil {
		return nil, err
	}
	if f.Until, err = c.moment("until", in.until); err != nil {
		return nil, err
	}
	if c.caller.Limited() {
		f.Within = c.coversEvent
	}
	return f, nil
}

// coversEvent judges an event by what it is about. One that is about nobody, such as an import for several accounts, is for
// callers without a limit.
func (c *call) coversEvent(e *keystore.Event) bool {
	switch {
	case e.Account != "" && c.covers(e.Account, ""):
		return true
	case e.Organization != "" && c.covers("", e.Organization):
		return true
	}
	return !c.caller.Limited()
}

// moment reads a time, or a duration back from now.
func (c *call) moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return c.now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, badParam(name, "%s must be a time such as 2026-01-31T12:00:00Z, or a duration back from now such as 24h", name)
	}
	return at, nil
}

func (c *call) viewEvent(stored keystore.StoredEvent) Event {
	e := c.shownEvent(stored)
	return Event{
		ID: e.ID, Seq: e.Seq, Revision: e.Revision, Type: string(e.Type), Time: e.Time, Actor: EventActor(e.Actor), Object: e.Object,
		Account: e.Account, Organization: e.Organization, Before: e.Before, After: e.After, Previous: e.Previous, Hash: e.HashText(),
	}
}

// shownEvent is an event as the caller may read it. Events of webhook endpoints that an earlier version wrote have whole URLs,
// and stay as they are, or their chain breaks: who may not list endpoints is shown the origins, in a line that is not the
// stored one.
func (c *call) shownEvent(e keystore.StoredEvent) keystore.StoredEvent {
	if !strings.HasPrefix(string(e.Type), "webhook_endpoint.") || c.caller.May("list_webhook_endpoints") == nil {
		return e
	}
	shown := *e.Event
	changed := false
	for _, fields := range []*map[string]any{&shown.Before, &shown.After} {
		text, _ := (*fields)["url"].(string)
		if origin := keystore.WebhookOrigin(text); origin != text {
			*fields = maps.Clone(*fields)
			(*fields)["url"] = origin
			changed = true
		}
	}
	if !changed {
		return e
	}
	e.Event = &shown
	e.Body = []byte(jsonText(&shown))
	return e
}

func (a *API) exportEvents(c *call, in *exportEventsInput) error {
	filter, err := c.eventFilter(eventFilters{in.Type, in.Actor, in.Object, in.Account, in.Organization, in.Since, in.Until})
	if err != nil {
		return err
	}
	if err := filter.Check(); err != nil {
		return err
	}
	out, err := c.export(in.Format, "events", []string{
		"id", "seq", "revision", "type", "time", "actor_kind", "actor_id", "actor_name", "actor_address", "object", "account",
		"organization", "before", "after", "previous", "hash",
	})
	if err == nil && c.r.Method != http.MethodHead {
		err = a.Store.ExportEvents(c.ctx, filter, func(e keystore.StoredEvent) error {
			if !c.caller.Still() {
				return newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this export is not good any more")
			}
			e = c.shownEvent(e)
			return out.row(func() []byte { return e.Body }, func() []string {
				return []string{
					e.ID, strconv.FormatUint(e.Seq, 10), strconv.FormatUint(e.Revision, 10), string(e.Type), e.Time.Format(time.RFC3339Nano),
					e.Actor.Kind, e.Actor.ID, e.Actor.Name, e.Actor.Address, e.Object, e.Account, e.Organization,
					jsonCell(e.Before), jsonCell(e.After), e.Previous, e.HashText(),
				}
			})
		})
	}
	return out.end(err)
}

// jsonCell is a map as one cell, "" for none.
func jsonCell[V any](m map[string]V) string {
	if len(m) == 0 {
		return ""
	}
	return jsonText(m)
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "" // of our own making: texts, numbers, lists and maps of them
	}
	return string(text)
}
