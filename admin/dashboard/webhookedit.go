package dashboard

import (
	"net/http"
	"net/url"
	"time"

	"github.com/keystile/keystile/admin/api"
)

func webhookEditPages() []route {
	return []route{
		{"POST /webhooks/{id}/status", "update_webhook_endpoint", (*request).setWebhookStatus},
		{"POST /webhooks/{id}/secret", "rotate_webhook_secret", (*request).rotateWebhookSecret},
		{"POST /webhooks/{id}/resend", "resend_webhook_event", (*request).resendWebhookEvent},
	}
}

var (
	doneWebhookOff    = notice("webhook_disabled", "The endpoint is disabled. What happens from now on is not told to it, also not later.")
	doneWebhookOn     = notice("webhook_enabled", "The endpoint is enabled, and hears of what happens from now on.")
	doneWebhookResent = notice("webhook_resent", "The event is sent again, after what waits already. Reload the page to see how it went.")
)

// secretOverlaps are how long deliveries may be signed with the old secret, too.
var secretOverlaps = []choice{{"", "Now"}, {"1h", "In 1 hour"}, {"24h", "In 24 hours"}}

// Overlaps are they, for the template.
func (webhookPage) Overlaps() []choice { return secretOverlaps }

// webhookPath is the endpoint's path in the API.
func (q *request) webhookPath() string {
	return "/v1/webhook_endpoints/" + url.PathEscape(q.r.PathValue("id"))
}

// setWebhookStatus sets the status that the form says, so that one sent twice does nothing more.
func (q *request) setWebhookStatus() error {
	status, done := q.form("status"), doneWebhookOn
	if status != "enabled" {
		done = doneWebhookOff
	}
	c := call{method: http.MethodPatch, path: q.webhookPath(), body: api.WebhookEndpointUpdate{Status: api.Set(status)}}
	w, err := ask[api.WebhookEndpoint](q, c)
	if err != nil {
		return q.webhookFailure(err)
	}
	return q.seeOther(q.about("/webhooks/"+w.ID), done)
}

func (q *request) rotateWebhookSecret() error {
	var body api.WebhookSecretRotate
	if chosen := q.form("expires"); chosen != "" {
		d, err := time.ParseDuration(chosen)
		if err != nil {
			return q.webhookFailure(&api.Error{Status: http.StatusBadRequest, Message: "choose one of the times in the list"})
		}
		// A little early, so that the longest is within the API's limit; whole minutes, so that a form sent twice says the same.
		body.ExpiresAt = api.Set(q.Now().Add(d - time.Second).UTC().Truncate(time.Minute))
	}
	w, header, err := askHeader[api.WebhookEndpoint](q, q.once(post(q.webhookPath()+"/rotate_secret", body)))
	if err != nil {
		return q.webhookFailure(err)
	}
	if header.Get("Idempotent-Replayed") != "" {
		return repeatedSecret()
	}
	return q.showWebhookSecret(w, "Save the new signing secret", "This is the only time that it is shown. Deliveries are signed with it from now on.")
}

// showWebhookSecret shows what deliveries of an endpoint are signed with.
func (q *request) showWebhookSecret(w api.WebhookEndpoint, heading, text string) error {
	p := &secretPage{Page: q.page(heading, "webhooks"), Heading: heading, Name: w.URL, Label: "Signing secret", Secret: string(w.Secret), Text: text}
	p.Next = p.To(q.about("/webhooks/" + w.ID))
	return q.show("secret", p)
}

// repeatedSecret is the answer for a form that was sent a second time, by reloading or going back.
func repeatedSecret() error {
	return &refusedError{
		status: http.StatusConflict, title: "This was done already",
		text: "The form was sent twice. The secret was made the first time, and shown then: it is not shown again. If you did not save it, rotate it on the endpoint's page.",
	}
}

func (q *request) resendWebhookEvent() error {
	if _, err := ask[api.Event](q, q.once(post(q.webhookPath()+"/resend", api.WebhookResend{Event: q.form("event")}))); err != nil {
		return q.webhookFailure(err)
	}
	return q.seeOther(q.about("/webhooks/"+url.PathEscape(q.r.PathValue("id"))), doneWebhookResent)
}

// webhookFailure shows the endpoint with what was wrong.
func (q *request) webhookFailure(err error) error {
	wrong := formFailure(err)
	if wrong == nil {
		return err
	}
	p, err := q.webhookPage()
	if err != nil {
		return err
	}
	p.Error = wrong
	return q.show("webhook", p)
}
