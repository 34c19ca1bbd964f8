package keystore

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keystile/keystile/policy"
)

// WebhookEndpoint is an address that is told of key events. It is a constant once stored; a deleted one is gone, and the
// events tell of it. Its secret is kept sealed: deliveries are signed with it.
type WebhookEndpoint struct {
	ID           string // we_…
	URL          string
	Description  string
	Events       []string // types of key events, sorted; or only "*": all of them
	Account      string   // acct_…: hears only of this account; at most one of the two is set, none: of everything
	Organization string   // org_…: hears only of this organization and its member accounts
	CreatedAt    time.Time
	CreatedBy    string
	From         uint64 // place in the chain of the event of its making, or of its last enabling: it hears what comes after
	Disabled     bool   // it hears nothing
	Revision     uint64 // of the commit that wrote it

	// PreviousEnds is until when deliveries are also signed with the secret before this one; zero: there is none.
	PreviousEnds time.Time

	sealed   string // the secret
	previous string // the one before it, sealed; "": none
	spans    []webhookSpan
}

// webhookSpan is what an endpoint heard of up to a place in the chain, before it was told to hear of more: what waits there
// is delivered as it was asked for then.
type webhookSpan struct {
	until  uint64
	events []string
}

// WebhookParams is a new webhook endpoint.
type WebhookParams struct {
	URL          string   // required: https or http, without user, password and fragment
	Description  string   // up to 200 characters
	Events       []string // required: types of key events, or "*" alone
	Account      string   // not together with Organization
	Organization string
}

// AllEvents in place of event types stands for all key events.
const AllEvents = "*"

// webhookEvents are the types of events that endpoints can hear: those that tell of keys.
var webhookEvents = []EventType{
	EventKeyCreated, EventKeyImported, EventKeyUpdated, EventKeyRevealed, EventKeyRotated, EventKeyDeleted, EventKeyExpired,
	EventKeyRotationScheduled, EventKeyRotationUnscheduled, EventKeyRotationEnded, EventKeyImportCompleted,
}

// WebhookEvents lists the types of events that endpoints can hear.
func WebhookEvents() []EventType { return slices.Clone(webhookEvents) }

// Hears says whether the endpoint is to be told of an event. Who belongs to an organization is asked now, not then: who
// has left it is no longer spoken of.
func (w *WebhookEndpoint) Hears(e *Event, d policy.Directory) bool {
	if e.Seq <= w.From {
		return false
	}
	for _, span := range w.spans {
		if e.Seq <= span.until {
			if !listed(span.events, e.Type) {
				return false
			}
			break
		}
	}
	return w.MayHear(e, d)
}

// MayHear is Hears for whatever time: whether an event is of the types and of the owners that the endpoint was made for.
func (w *WebhookEndpoint) MayHear(e *Event, d policy.Directory) bool {
	if w.Disabled || !slices.Contains(webhookEvents, e.Type) || !listed(w.Events, e.Type) {
		return false
	}
	switch {
	case w.Account != "":
		return e.Account == w.Account
	case w.Organization != "":
		if e.Account != "" {
			return d.MemberOf(e.Account, w.Organization)
		}
		return e.Organization == w.Organization
	}
	return true
}

// listed says whether a list of types has one.
func listed(events []string, t EventType) bool {
	return slices.Contains(events, AllEvents) || slices.Contains(events, string(t))
}

// WebhookEndpoint finds an endpoint by its id.
func (v *Snapshot) WebhookEndpoint(id string) (*WebhookEndpoint, bool) {
	return first[*WebhookEndpoint](v.txn, tableWebhooks, indexID, id)
}

// WebhookEndpoints lists the endpoints that keep lets through (nil: all), newest first.
func (v *Snapshot) WebhookEndpoints(p Page, keep func(*WebhookEndpoint) bool) (rows []*WebhookEndpoint, more bool, err error) {
	return page(p, prefixWebhook, walkTable[*WebhookEndpoint](v.txn, tableWebhooks, p.StartingAfter), keep)
}

// AllWebhookEndpoints is every endpoint. There are at most [MaxWebhookEndpoints].
func (v *Snapshot) AllWebhookEndpoints() []*WebhookEndpoint {
	var all []*WebhookEndpoint
	next := walkTable[*WebhookEndpoint](v.txn, tableWebhooks, "")
	for w := next(); w != nil; w = next() {
		all = append(all, w)
	}
	return all
}

// WebhookOrigin is so much of an endpoint's URL as may be shown to who must not post to it: scheme and host. What stands behind
// them is often what lets in.
func WebhookOrigin(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// summary is what events tell. Viewers read events, and do not see the endpoints.
func (w *WebhookEndpoint) summary() map[string]any {
	m := map[string]any{"url": WebhookOrigin(w.URL), "events": strings.Join(w.Events, " ")}
	putText(m, "description", w.Description)
	putText(m, "account", w.Account)
	putText(m, "organization", w.Organization)
	if w.Disabled {
		m["disabled"] = true
	}
	return m
}
