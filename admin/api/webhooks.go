package api

import (
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
	Secret       Token     `json:"secret,omitempty" doc:"What deliveries are signed with, in the answer of create and no other"`
	Status       string    `json:"status" enum:"enabled"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by"`
}

// WebhookEndpointCreate is the body that makes a webhook endpoint.
type WebhookEndpointCreate struct {
	URL          string           `json:"url" doc:"An absolute URL, https unless the configuration allows more; without user, password and fragment"`
	Description  Optional[string] `json:"description,omitzero" doc:"Up to 200 characters"`
	Events       []string         `json:"events" nullable:"false" doc:"Types of key events such as key.created, or * alone: all of them"`
	Account      Optional[string] `json:"account,omitzero" doc:"Limits it to keys of an account"`
	Organization Optional[string] `json:"organization,omitzero" doc:"Limits it to keys of an organization and of its accounts; not together with account"`
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

func viewWebhook(w *keystore.WebhookEndpoint) WebhookEndpoint {
	return WebhookEndpoint{
		ID: w.ID, Object: "webhook_endpoint", URL: w.URL, Description: some(w.Description), Events: w.Events, Account: some(w.Account),
		Organization: some(w.Organization), Status: "enabled", CreatedAt: *stamp(w.CreatedAt), CreatedBy: w.CreatedBy,
	}
}

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
			"What is not answered with 2xx within 10 s is tried again for 3 days.",
	}, a.createWebhook)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/webhook_endpoints/{id}", id: "get_webhook_endpoint", tag: tag, summary: "Get a webhook endpoint", etag: true,
	}, a.getWebhook)
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
	covered := func(w *keystore.WebhookEndpoint) bool { return w != nil && c.covers(w.Account, w.Organization) }
	last, known := snapshot.WebhookEndpoint(in.StartingAfter)
	if err := checkCursor(in.StartingAfter, known && covered(last)); err != nil {
		return List[WebhookEndpoint]{}, err
	}
	rows, more, err := snapshot.WebhookEndpoints(page(in.Limit, in.StartingAfter), covered)
	if err != nil {
		return List[WebhookEndpoint]{}, cursorError(err, in.StartingAfter)
	}
	return listOf(rows, more, viewWebhook), nil
}

func (a *API) createWebhook(c *call, in *createWebhookInput) (WebhookEndpoint, error) {
	p := keystore.WebhookParams{
		URL: in.Body.URL, Description: in.Body.Description.Value, Events: in.Body.Events,
		Account: in.Body.Account.Value, Organization: in.Body.Organization.Value,
	}
	if err := c.coversOwner(p.Account, p.Organization); err != nil {
		return WebhookEndpoint{}, err
	}
	if !a.PrivateWebhooks {
		if err := webhook.CheckURL(p.URL); err != nil {
			return WebhookEndpoint{}, badParam("url", "%s", err)
		}
	}
	ctx, cancel := c.commit()
	defer cancel()
	w, secret, err := a.Store.CreateWebhookEndpoint(ctx, c.actor, p)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	out := viewWebhook(w)
	out.Secret = Token(secret.Reveal())
	return out, nil
}

func (a *API) getWebhook(c *call, in *webhookInput) (WebhookEndpoint, error) {
	w, err := a.webhook(c, in.ID)
	if err != nil {
		return WebhookEndpoint{}, err
	}
	c.revision = w.Revision
	return viewWebhook(w), nil
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
