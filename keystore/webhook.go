package keystore

import (
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
	From         uint64 // place in the chain of the event of its own making: it hears what comes after
	Revision     uint64 // of the commit that wrote it

	sealed string // the secret
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
	if e.Seq <= w.From || !slices.Contains(webhookEvents, e.Type) {
		return false
	}
	if !slices.Contains(w.Events, AllEvents) && !slices.Contains(w.Events, string(e.Type)) {
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

func (w *WebhookEndpoint) summary() map[string]any {
	m := map[string]any{"url": w.URL, "events": strings.Join(w.Events, " ")}
	putText(m, "description", w.Description)
	putText(m, "account", w.Account)
	putText(m, "organization", w.Organization)
	return m
}
