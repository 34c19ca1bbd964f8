package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
)

func TestWebhookEndpoints(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := as[api.Account](f.ok("POST", "/v1/accounts", map[string]any{"name": "A"}))
	f.do("POST", "/v1/webhook_endpoints", map[string]any{"url": "http://example.com/", "events": []string{"*"}}).fails(400, "parameter_invalid", "url")
	f.do("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://127.0.0.1/", "events": []string{"*"}}).fails(400, "parameter_invalid", "url")
	f.do("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://example.com/", "events": []string{"key.made"}}).fails(400, "parameter_invalid", "events[0]")
	f.do("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://example.com/", "events": []string{"*"}, "account": "acct_none"}).fails(404, "resource_missing", "account")
	w := as[api.WebhookEndpoint](f.ok("POST", "/v1/webhook_endpoints",
		map[string]any{"url": "https://example.com/hooks", "events": []string{"key.deleted", "key.created"}, "account": a.ID, "description": "D"}))
	if !strings.HasPrefix(string(w.Secret), "whsec_") || w.Status != "enabled" || *w.Account != a.ID || w.Organization != nil || *w.Description != "D" {
		t.Errorf("made %+v", w)
	}
	for _, path := range []string{"/v1/webhook_endpoints", "/v1/webhook_endpoints/" + w.ID} {
		if got := f.ok("GET", path, nil); !strings.Contains(string(got.body), w.ID) || strings.Contains(string(got.body), string(w.Secret)) {
			t.Errorf("%s answers %s", path, got.body)
		}
	}

	path := "/v1/webhook_endpoints/" + w.ID + "/deliveries"
	if got := as[api.List[api.WebhookDelivery]](f.ok("GET", path, nil)); len(got.Data) != 0 || got.HasMore {
		t.Errorf("deliveries of a fresh endpoint: %+v", got)
	}
	at := f.clock()
	state := &keystore.WebhookState{Attempts: []keystore.WebhookDelivery{
		{ID: "evt_1.3", Event: "evt_1", Type: "key.created", Attempt: 3, At: at, Outcome: keystore.WebhookDelivered, Status: 200},
		{ID: "evt_1.2", Event: "evt_1", Type: "key.created", Attempt: 2, At: at, Outcome: keystore.WebhookRetrying, Error: "no connection", Next: at.Add(time.Minute)},
		{ID: "evt_1.1", Event: "evt_1", Type: "key.created", Attempt: 1, At: at, Outcome: keystore.WebhookRetrying, Status: 500, Error: "x", Next: at},
	}}
	if err := f.store.SaveWebhookState(t.Context(), w.ID, state); err != nil {
		t.Fatal(err)
	}
	got := as[api.List[api.WebhookDelivery]](f.ok("GET", path+"?limit=1&starting_after=evt_1.3", nil))
	if len(got.Data) != 1 || !got.HasMore || got.Data[0].ID != "evt_1.2" || got.Data[0].Status != nil || *got.Data[0].Error != "no connection" || got.Data[0].NextAt == nil {
		t.Errorf("the second delivery: %+v", got)
	}
	f.do("GET", path+"?starting_after=evt_9.1", nil).fails(400, "parameter_invalid", "starting_after")

	f.ok("DELETE", "/v1/webhook_endpoints/"+w.ID, nil)
	f.do("DELETE", "/v1/webhook_endpoints/"+w.ID, nil).fails(404, "resource_missing", "")
	f.do("GET", path, nil).fails(404, "resource_missing", "")
}

// TestWebhooksAllowed: what the configuration allows is accepted.
func TestWebhooksAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.PrivateWebhooks = true })
	f.ok("POST", "/v1/webhook_endpoints", map[string]any{"url": "http://127.0.0.1:8080/", "events": []string{"*"}})
	f.do("POST", "/v1/webhook_endpoints", map[string]any{"url": "http://u:p@127.0.0.1:8080/", "events": []string{"*"}}).fails(400, "parameter_invalid", "url")
}

// webhooks gives each world an endpoint, and answers what takes all endpoints away again.
func (f *roleFixture) webhooks(worlds ...*world) func() {
	f.t.Helper()
	by := keystore.Actor{Kind: "system"}
	for _, w := range worlds {
		made, _, err := f.store.CreateWebhookEndpoint(f.t.Context(), by, keystore.WebhookParams{
			URL: "https://example.com/", Events: []string{"*"}, Account: w.account,
		})
		if err != nil {
			f.t.Fatal(err)
		}
		w.webhook = made.ID
	}
	return func() {
		for _, w := range f.store.Snapshot().AllWebhookEndpoints() {
			if err := f.store.DeleteWebhookEndpoint(f.t.Context(), by, w.ID); err != nil {
				f.t.Error(err)
			}
		}
	}
}
