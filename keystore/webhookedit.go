package keystore

import (
	"context"
	"slices"
	"time"

	"github.com/keystile/keystile/policy"
)

// MaxSecretOverlap is how long deliveries may be signed with the secret before the newest one too.
const MaxSecretOverlap = 24 * time.Hour

// maxWebhookSpans is how many lists of types an endpoint is remembered to have had.
const maxWebhookSpans = 16

// WebhookPatch changes a webhook endpoint. Absent fields stay as they are; a null description takes it away, the others
// cannot be null.
type WebhookPatch struct {
	URL, Description Field[string]
	Events           Field[[]string]
	Disabled         Field[bool]
	IfRevision       uint64 // the revision that the endpoint must have; 0: whatever it is
}

// UpdateWebhookEndpoint changes an endpoint. What waits for it goes to the new URL. New types of events are heard of from
// now on; one that is disabled hears nothing, and when it is enabled again, what happened meanwhile and what waited is left
// out. A patch that changes nothing is no change: it has no event.
func (s *Store) UpdateWebhookEndpoint(ctx context.Context, by Actor, id string, p WebhookPatch) (*WebhookEndpoint, error) {
	var now *WebhookEndpoint
	err := s.write(ctx, by, func(c *change) error {
		old, err := c.webhook(id, p.IfRevision)
		if err != nil {
			return err
		}
		next := *old
		if err := c.patchWebhook(&next, &p); err != nil {
			return err
		}
		if now = old; next.URL == old.URL && next.Description == old.Description && slices.Equal(next.Events, old.Events) &&
			next.Disabled == old.Disabled {
			return nil
		}
		now = &next
		next.dropPrevious(c.now)
		if err := c.putWebhook(now); err != nil {
			return err
		}
		after := now.summary()
		if next.URL != old.URL && WebhookOrigin(next.URL) == WebhookOrigin(old.URL) {
			after["path_changed"] = true // all that may be told of it
		}
		return c.event(EventWebhookUpdated, now.ID, now.Account, now.Organization, old.summary(), after)
	})
	return result(now, err)
}

func (c *change) patchWebhook(w *WebhookEndpoint, p *WebhookPatch) error {
	for param, null := range map[string]bool{"url": p.URL.Null, "events": p.Events.Null, "status": p.Disabled.Null} {
		if null {
			return invalid(param, "this cannot be null")
		}
	}
	if p.URL.Set {
		w.URL = p.URL.Value
	}
	if p.Description.Set {
		if w.Description = p.Description.Value; p.Description.Null {
			w.Description = ""
		}
	}
	if err := checkWebhookTexts(w.URL, w.Description); err != nil {
		return err
	}
	if p.Events.Set {
		events, err := checkWebhookEvents(p.Events.Value)
		if err != nil {
			return err
		}
		if widens(w.Events, events) {
			spans := append(slices.Clone(w.spans), webhookSpan{until: c.nextPlace(), events: w.Events})
			w.spans = spans[max(0, len(spans)-maxWebhookSpans):]
		}
		w.Events = events
	}
	if p.Disabled.Set && p.Disabled.Value != w.Disabled {
		if w.Disabled = p.Disabled.Value; !w.Disabled {
			w.From, w.spans = c.nextPlace(), nil
		}
	}
	return nil
}

// widens says whether a list of types has one that another has not.
func widens(from, to []string) bool {
	return slices.ContainsFunc(to, func(e string) bool { return !listed(from, EventType(e)) })
}

// nextPlace is the place in the chain of the event that this change makes next.
func (c *change) nextPlace() uint64 { return c.store.head.Events + uint64(len(c.events)) + 1 }

// RotateWebhookSecret gives an endpoint a new secret, which is in the answer and cannot be read again. Deliveries are signed
// with it at once, and with the one before it too until ends (zero: not at all), at most a day on: receivers change over
// meanwhile. A still older one is done with.
func (s *Store) RotateWebhookSecret(ctx context.Context, by Actor, id string, ends time.Time) (*WebhookEndpoint, policy.Token, error) {
	var now *WebhookEndpoint
	var secret policy.Token
	err := s.write(ctx, by, func(c *change) error {
		const param = "expires_at"
		old, err := c.webhook(id, 0)
		if err != nil {
			return err
		}
		ends = milliseconds(ends)
		switch {
		case ends.IsZero():
		case !ends.After(c.now):
			return invalid(param, "the time must be in the future; without one the old secret ends now")
		case ends.After(c.now.Add(MaxSecretOverlap)):
			return invalid(param, "the old secret may go on for at most 24 hours")
		}
		next := *old
		now = &next
		next.previous, next.PreviousEnds = "", time.Time{}
		after := map[string]any{"rotated": true}
		if !ends.IsZero() {
			next.previous, next.PreviousEnds = old.sealed, ends
			putTime(after, "previous_secret_expires_at", ends)
		}
		if secret, err = c.newWebhookSecret(now); err != nil {
			return err
		}
		if err := c.putWebhook(now); err != nil {
			return err
		}
		return c.event(EventWebhookSecretRotated, now.ID, now.Account, now.Organization, nil, after)
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return now, secret, nil
}

// dropPrevious destroys the secret before this one once it has ended.
func (w *WebhookEndpoint) dropPrevious(now time.Time) {
	if !now.Before(w.PreviousEnds) {
		w.previous, w.PreviousEnds = "", time.Time{}
	}
}

// ResendWebhookEvent asks for an event to be sent to an endpoint again, after what waits for it already. It must be one that
// the endpoint may hear, from whatever time. The request is an event of its own, so that it outlives a restart.
func (s *Store) ResendWebhookEvent(ctx context.Context, by Actor, id, event string) (*StoredEvent, error) {
	again, err := s.findEvent(ctx, event)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, by, func(c *change) error {
		w, err := c.webhook(id, 0)
		switch {
		case err != nil:
			return err
		case w.Disabled:
			return conflict("", "the webhook endpoint is disabled; enable it first")
		case again == nil || !w.MayHear(again.Event, s.directory):
			return notFound("event", "event that this endpoint hears", event)
		}
		return c.event(EventWebhookResend, w.ID, w.Account, w.Organization, nil, map[string]any{"event": again.ID})
	})
	return again, err
}
