package api_test

import (
	"encoding/json"
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

// TestWebhookChanges: an endpoint is edited, its secret rotated, and an event sent again.
func TestWebhookChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := as[api.Account](f.ok("POST", "/v1/accounts", map[string]any{"name": "A"}))
	w := as[api.WebhookEndpoint](f.ok("POST", "/v1/webhook_endpoints",
		map[string]any{"url": "https://example.com/", "events": []string{"key.created"}, "account": a.ID, "description": "D"}))
	path := "/v1/webhook_endpoints/" + w.ID
	for _, tc := range []struct {
		body        any
		code, param string
	}{
		{map[string]any{"url": nil}, "parameter_invalid", "url"},
		{map[string]any{"url": "https://127.0.0.1/"}, "parameter_invalid", "url"},
		{map[string]any{"url": "https://u:p@example.com/"}, "parameter_invalid", "url"},
		{map[string]any{"events": nil}, "parameter_invalid", "events"},
		{map[string]any{"events": []string{}}, "parameter_missing", "events"},
		{map[string]any{"events": []string{"key.made"}}, "parameter_invalid", "events[0]"},
		{map[string]any{"status": nil}, "parameter_invalid", "status"},
		{map[string]any{"status": "off"}, "parameter_invalid", "status"},
		{map[string]any{"account": a.ID}, "parameter_unknown", "account"},
	} {
		f.do("PATCH", path, tc.body).fails(400, tc.code, tc.param)
	}
	edited := f.ok("PATCH", path, map[string]any{"url": "https://b.example/", "description": nil, "events": []string{"*"}, "status": "disabled"})
	edited.has("url", `"https://b.example/"`, "description", "null", "events", `["*"]`, "status", `"disabled"`, "previous_secret_expires_at", "null")
	f.do("PATCH", path, map[string]any{"status": "enabled"}, "If-Match", `"1"`).fails(412, "revision_mismatch", "If-Match")
	f.do("POST", path+"/resend", map[string]any{"event": "evt_1"}).fails(409, "conflict", "")
	f.ok("PATCH", path, map[string]any{"status": "enabled"}, "If-Match", edited.header.Get("ETag")).has("status", `"enabled"`)

	event := as[api.EventList](f.ok("GET", "/v1/events?type=key.created&limit=1", nil)).Data[0]
	f.ok("POST", path+"/resend", map[string]any{"event": event.ID}).has("id", `"`+event.ID+`"`)
	f.do("POST", path+"/resend", map[string]any{"event": "evt_1"}).fails(404, "resource_missing", "event")
	f.do("POST", path+"/resend", map[string]any{}).fails(400, "parameter_missing", "event")

	f.do("POST", path+"/rotate_secret", map[string]any{"expires_at": f.clock().Add(25 * time.Hour)}).fails(400, "parameter_invalid", "expires_at")
	rotated := f.ok("POST", path+"/rotate_secret", map[string]any{"expires_at": f.clock().Add(24 * time.Hour)}, "Idempotency-Key", "k")
	rotated.has("previous_secret_expires_at", `"2026-03-02T12:00:00Z"`)
	again := f.ok("POST", path+"/rotate_secret", map[string]any{"expires_at": f.clock().Add(24 * time.Hour)}, "Idempotency-Key", "k")
	secret := as[api.WebhookEndpoint](rotated).Secret
	if secret == w.Secret || !strings.HasPrefix(string(secret), "whsec_") || string(again.body) != string(rotated.body) {
		t.Error("the secret is no new one, or another one on repetition")
	}
	f.ok("POST", path+"/rotate_secret", nil).has("previous_secret_expires_at", "null")

	var types []string
	for _, e := range as[api.EventList](f.ok("GET", "/v1/events?object="+w.ID, nil)).Data {
		types = append(types, e.Type)
		if text, _ := json.Marshal(e); strings.Contains(string(text), "whsec_") {
			t.Errorf("an event holds a secret: %s", text)
		}
	}
	want := "webhook_endpoint.secret_rotated webhook_endpoint.secret_rotated webhook_endpoint.resend_requested " +
		"webhook_endpoint.updated webhook_endpoint.updated webhook_endpoint.created"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("the trail has %s, want %s", got, want)
	}
}

// TestWalkOverDeletedRows: who deletes what a list shows goes on after the row that is gone.
func TestWalkOverDeletedRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 3 {
		f.ok("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://example.com/", "events": []string{"*"}})
		f.ok("POST", "/v1/admin_tokens", map[string]any{"name": "x", "role": "viewer"})
	}
	for _, path := range []string{"/v1/webhook_endpoints", "/v1/admin_tokens"} {
		last, seen := "", 0
		for more := true; more; seen++ {
			query := "?limit=1"
			if last != "" {
				query += "&starting_after=" + last
			}
			rows := as[api.List[struct{ ID string }]](f.ok("GET", path+query, nil))
			if len(rows.Data) != 1 {
				t.Fatalf("%s%s: %+v", path, query, rows)
			}
			last, more = rows.Data[0].ID, rows.HasMore
			f.ok("DELETE", path+"/"+last, nil)
		}
		if seen != 3 {
			t.Errorf("%s: %d rows were seen, want 3", path, seen)
		}
		f.do("GET", path+"?starting_after=nonsense", nil).fails(400, "parameter_invalid", "starting_after")
	}
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

// TestWebhookURLInEvents: events tell where an endpoint is, and not the path by which one posts there.
func TestWebhookURLInEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := as[api.WebhookEndpoint](f.ok("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://hooks.example/T0/secret-path", "events": []string{"*"}}))
	path := "/v1/webhook_endpoints/" + w.ID
	f.ok("PATCH", path, map[string]any{"url": "https://hooks.example/T0/secret-path-2"})
	f.ok("PATCH", path, map[string]any{"url": "https://other.example/secret-path?x=1"})
	f.ok("DELETE", path, nil)
	events := as[api.EventList](f.ok("GET", "/v1/events?type=webhook_endpoint.*", nil))
	export := f.ok("GET", "/v1/events/export?type=webhook_endpoint.*", nil)
	for _, body := range []string{string(f.ok("GET", "/v1/events?type=webhook_endpoint.*", nil).body), string(export.body)} {
		if strings.Contains(body, "secret-path") || !strings.Contains(body, "https://hooks.example") {
			t.Errorf("events: %s", body)
		}
	}
	if e := events.Data; len(e) != 4 || e[1].After["url"] != "https://other.example" || e[2].After["path_changed"] != true {
		t.Errorf("events: %+v", events.Data)
	}
}
