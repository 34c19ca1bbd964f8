package api

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keystile/keystile/admin/webhook"
	"github.com/keystile/keystile/keystore"
)

// WebhookEndpoint is an address that is told of key events.
type WebhookEndpoint struct {
	ID           string    `json:"id" example:"we_8DpB666ojJIBrHTw33ZR"`
	Object       string    `json:"object" enum:"webhook_endpoint"`
	URL          string    `json:"url"`
	Description  *string   `json:"description"`
	Events       []string  `json:"events" nullable:"false" doc:"Types of key events, or * alone: all of them"`
	Account      *string   `json:"account" doc:"What it hears of: keys of this account; null: not limited so"`
	Organization *string   `json:"organization" doc:"What it hears of: keys of this organization and of its accounts; null: not limited so"`
	Secret       Token     `json:"secret,omitempty" doc:"What deliveries are signed with, in the answers of create and rotate_secret and no other"`
	Status       string    `json:"status" enum:"enabled,disabled" doc:"A disabled endpoint hears nothing"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by"`

	PreviousSecretExpiresAt *time.Time `json:"previous_secret_expires_at" doc:"Until when deliveries are also signed with the secret before this one; null: they are not"`
}

// WebhookEndpointCreate is the body that makes a webhook endpoint.
type WebhookEndpointCreate struct {
	URL          string           `json:"url" doc:"An absolute URL, https unless the configuration allows more; without user, password and fragment"`
	Description  Optional[string] `json:"description,omitzero" doc:"Up to 200 characters"`
	Events       []string         `json:"events" nullable:"false" doc:"Types of key events such as key.created, or * alone: all of them"`
	Account      Optional[string] `json:"account,omitzero" doc:"Limits it to keys of an account"`
	Organization Optional[string] `json:"organization,omitzero" doc:"Limits it to keys of an organization and of its accounts; not together with account"`
}

// WebhookEndpointUpdate is the body that changes a webhook endpoint. Absent fields stay as they are.
type WebhookEndpointUpdate struct {
	URL         Optional[string]   `json:"url,omitzero" doc:"As when it was made; not null. What waits goes there"`
	Description Optional[string]   `json:"description,omitzero" doc:"null or empty takes it away"`
	Events      Optional[[]string] `json:"events,omitzero" doc:"Replaces them all; not null. New types are heard of from now on"`
	Status      Optional[string]   `json:"status,omitzero" doc:"enabled or disabled; not null. What happens while it is disabled is not told later, nor is what waited"`
}

// WebhookSecretRotate is the body that rotates the secret of a webhook endpoint.
type WebhookSecretRotate struct {
	ExpiresAt Optional[time.Time] `json:"expires_at,omitzero" doc:"Until when deliveries are also signed with the old secret, at most 24 hours on; absent or null: not at all"`
}

// WebhookResend is the body that asks for an event to be sent again.
type WebhookResend struct {
	Event string `json:"event" example:"evt_8DpB666ojJIBrHTw33ZR" doc:"An event that the endpoint may hear, of whatever time"`
}

// WebhookDelivery is one attempt to tell an endpoint of an event.
type WebhookDelivery struct {
	ID        string     `json:"id" doc:"The event's id and the number of the attempt"`
	Object    string     `json:"object" enum:"webhook_delivery"`
	Endpoint  string     `json:"endpoint"`
	Event     string     `json:"event" example:"evt_8DpB666ojJIBrHTw33ZR"`
	EventType string     `json:"event_type" example:"key.created"`
	Attempt   int        `json:"attempt" doc:"From 1"`
	Outcome   string     `json:"outcome" enum:"delivered,retrying,given_up"`
	Status    *int       `json:"status" doc:"HTTP status of the answer; null: there was none"`
	Error     *string    `json:"error" doc:"Why it failed; null: it did not"`
	CreatedAt time.Time  `json:"created_at"`
	NextAt    *time.Time `json:"next_at" doc:"When the event was to be tried again; null: not"`
}

func (c *call) viewWebhook(w *keystore.WebhookEndpoint) WebhookEndpoint {
	out := WebhookEndpoint{
		ID: w.ID, Object: "webhook_endpoint", URL: w.URL, Description: some(w.Description), Events: w.Events, Account: some(w.Account),
		Organization: some(w.Organization), Status: webhookEnabled, CreatedAt: *stamp(w.CreatedAt), CreatedBy: w.CreatedBy,
	}
	if w.Disabled {
		out.Status = webhookDisabled
	}
	if c.now.Before(w.PreviousEnds) {
		out.PreviousSecretExpiresAt = stamp(w.PreviousEnds)
	}
	return out
}

// The states of an endpoint.
const (
	webhookEnabled  = "enabled"
	webhookDisabled = "disabled"
)

type listWebhooksInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type createWebhookInput struct {
	Body WebhookEndpointCreate
}

type webhookInput struct {
	ID string `path:"id" doc:"we_…"`
}

type updateWebhookInput struct {
	ID   string `path:"id" doc:"we_…"`
	Body WebhookEndpointUpdate
}

type rotateWebhookSecretInput struct {
	ID   string `path:"id" doc:"we_…"`
	Body WebhookSecretRotate
}

type resendWebhookInput struct {
	ID   string `path:"id" doc:"we_…"`
	Body WebhookResend
}

type listWebhookDeliveriesInput struct {
	ID            string `path:"id" doc:"we_…"`
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

func (a *API) registerWebhooks() {
	const tag = "webhooks"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/webhook_endpoints", id: "list_webhook_endpoints", tag: tag, summary: "List webhook endpoints",
	}, a.listWebhooks)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/webhook_endpoints", id: "create_webhook_endpoint", tag: tag, summary: "Create a webhook endpoint", etag: true,
		errors: []int{http.StatusNotFound},
		description: "Tells a URL of key events from now on, each as a signed POST of the event, at least once and in order. The answer is the " +
			"only one that has the secret. Deliveries carry Keystile-Signature: t=<seconds>,v1=<hex HMAC-SHA256 over \"<t>.<body>\" with the secret>. " +
			"What is not answered with 2xx within 10 s is tried again for 3 days. " +
			fmt.Sprintf("An account has at most %d, an organization together with its accounts %d.", keystore.MaxAccountWebhooks, keystore.MaxOrganizationWebhooks),
	}, a.createWebhook)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/webhook_endpoints/{id}", id: "get_webhook_endpoint", tag: tag, summary: "Get a webhook endpoint", etag: true,
	}, a.getWebhook)
	handle(a, operation{
		method: http.MethodPatch, path: "/v1/webhook_endpoints/{id}", id: "update_webhook_endpoint", tag: tag, summary: "Change a webhook endpoint",
		etag: true, precondition: true, description: "Account and organization never change.",
	}, a.updateWebhook)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/webhook_endpoints/{id}/rotate_secret", id: "rotate_webhook_secret", tag: tag,
		summary: "Rotate the secret of a webhook endpoint", etag: true,
		description: "Answers the endpoint with its new secret, which signs at once. Until expires_at deliveries have two v1 in their signature, " +
			"the second one made with the old secret.",
	}, a.rotateWebhookSecret)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/webhook_endpoints/{id}/resend", id: "resend_webhook_event", tag: tag,
		summary:     "Send an event to a webhook endpoint again",
		description: "Answers the event, which is delivered after what waits already.",
	}, a.resendWebhook)
	handle(a, operation{
		method: http.MethodDelete, path: "/v1/webhook_endpoints/{id}", id: "delete_webhook_endpoint", tag: tag, summary: "Delete a webhook endpoint",
		description: "It hears nothing more, and its deliveries are forgotten.",
	}, a.deleteWebhook)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/webhook_endpoints/{id}/deliveries", id: "list_webhook_deliveries", tag: tag,
		summary:     "List the deliveries to a webhook endpoint",
		description: "Every attempt, newest first. The newest 100 of an endpoint are kept.",
	}, a.listWebhookDeliveries)
}

// webhook is an endpoint that the caller may see.
func (a *API) webhook(c *call, id string) (*keystore.WebhookEndpoint, error) {
	w, ok := a.Store.Snapshot().WebhookEndpoint(id)
	if !ok || !c.covers(w.Account, w.Organization) {
		return nil, notFound("webhook endpoint", id)
	}
	return w, nil
}

func (a *API) listWebhooks(c *call, in *listWebhooksInput) (List[WebhookEndpoint], error) {
	snapshot := a.Store.Snapshot()
	covered := func(w *keystore.WebhookEndpoint) bool { return c.covers(w.Account, w.Organization) }
	rows, more, err := snapshot.WebhookEndpoints(page(in.Limit, in.StartingAfter), covered)
	if err != nil {
		return List[WebhookEndpoint]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, c.viewWebhook), nil
}

func (a *API) createWebhook(c *call, in *createWebhookInput) (WebhookEndpoint, error) {
	p := keystore.WebhookParams{
		URL: in.Body.URL, Description: in.Body.Description.Value, Events: in.Body.Events,
		Account: in.Body.Account.Value, Organization: in.Body.Organization.Value,
	}
	if err := c.coversOwner(p.Account, p.Organization); err != nil {
		return WebhookEndpoint{}, err
	}
	if err := a.checkWebhookURL(p.URL); err != nil {
		return WebhookEndpoint{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	w, secret, err := a.Store.CreateWebhookEndpoint(ctx, c.actor, p)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	out := c.viewWebhook(w)
	out.Secret = Token(secret.Reveal())
	return out, nil
}

// checkWebhookURL refuses what no delivery would be made to.
func (a *API) checkWebhookURL(url string) error {
	if a.PrivateWebhooks {
		return nil
	}
	if err := webhook.CheckURL(url); err != nil {
		return badParam("url", "%s", err)
	}
	return nil
}

func (a *API) updateWebhook(c *call, in *updateWebhookInput) (WebhookEndpoint, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	p := keystore.WebhookPatch{URL: field(in.Body.URL), Description: field(in.Body.Description), Events: field(in.Body.Events)}
	if in.Body.URL.Set && !in.Body.URL.Null {
		if err := a.checkWebhookURL(in.Body.URL.Value); err != nil {
			return WebhookEndpoint{}, err
		}
	}
	if status := in.Body.Status; status.Set && !status.Null && status.Value != webhookEnabled && status.Value != webhookDisabled {
		return WebhookEndpoint{}, badParam("status", "status must be enabled or disabled")
	}
	p.Disabled = mapped(in.Body.Status, func(s string) bool { return s == webhookDisabled })
	if p.IfRevision, err = c.ifRevision(w.Revision); err != nil {
		return WebhookEndpoint{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if w, err = a.Store.UpdateWebhookEndpoint(ctx, c.actor, w.ID, p); err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	return c.viewWebhook(w), nil
}

func (a *API) rotateWebhookSecret(c *call, in *rotateWebhookSecretInput) (WebhookEndpoint, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	w, secret, err := a.Store.RotateWebhookSecret(ctx, c.actor, w.ID, in.Body.ExpiresAt.Value)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	out := c.viewWebhook(w)
	out.Secret = Token(secret.Reveal())
	return out, nil
}

func (a *API) resendWebhook(c *call, in *resendWebhookInput) (Event, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return Event{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	e, err := a.Store.ResendWebhookEvent(ctx, c.actor, w.ID, in.Body.Event)
	if err != nil {
		return Event{}, err
	}
	return c.viewEvent(*e), nil
}

func (a *API) getWebhook(c *call, in *webhookInput) (WebhookEndpoint, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	return c.viewWebhook(w), nil
}

func (a *API) deleteWebhook(c *call, in *webhookInput) (Deleted, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return Deleted{}, err
	}
	ctx, cancel := c.commit()
	defer cancel()
	if err := a.Store.DeleteWebhookEndpoint(ctx, c.actor, w.ID); err != nil {
		return Deleted{}, err
	}
	return Deleted{ID: w.ID, Object: "webhook_endpoint", Deleted: true}, nil
}

func (a *API) listWebhookDeliveries(c *call, in *listWebhookDeliveriesInput) (List[WebhookDelivery], error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return List[WebhookDelivery]{}, err
	}
	state, err := a.Store.WebhookState(c.ctx, w)
	if err != nil {
		return List[WebhookDelivery]{}, err
	}
	rows := state.Attempts
	if in.StartingAfter != "" {
		i := slices.IndexFunc(rows, func(d keystore.WebhookDelivery) bool { return d.ID == in.StartingAfter })
		if err := checkCursor(in.StartingAfter, i >= 0); err != nil {
			return List[WebhookDelivery]{}, err
		}
		rows = rows[i+1:]
	}
	more := len(rows) > in.Limit
	return listOf(rows[:min(len(rows), in.Limit)], more, func(d keystore.WebhookDelivery) WebhookDelivery {
		out := WebhookDelivery{
			ID: d.ID, Object: "webhook_delivery", Endpoint: w.ID, Event: d.Event, EventType: string(d.Type), Attempt: d.Attempt,
			Outcome: d.Outcome, Error: some(d.Error), CreatedAt: *stamp(d.At), NextAt: stamp(d.Next),
		}
		if d.Status != 0 {
			out.Status = &d.Status
		}
		return out
	}), nil
}
