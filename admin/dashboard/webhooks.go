package dashboard

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func webhookPages() []route {
	return []route{
		{"GET /webhooks", "list_webhook_endpoints", (*request).showWebhooks},
		{"POST /webhooks", "create_webhook_endpoint", (*request).createWebhook},
		{"GET /webhooks/{id}", "get_webhook_endpoint", (*request).showWebhook},
		{"POST /webhooks/{id}/delete", "delete_webhook_endpoint", (*request).deleteWebhook},
	}
}

var doneWebhookDeleted = notice("webhook_deleted", "The endpoint is deleted, and hears nothing more.")

// webhooksPage lists the addresses that are told of key events.
type webhooksPage struct {
	Page
	Rows                            []api.WebhookEndpoint
	More                            string
	Address, Description, Of, Limit string
}

func (q *request) webhooksPage() (*webhooksPage, error) {
	p := &webhooksPage{Page: q.page("Webhooks", "webhooks"), Of: "*", Limit: q.scope.Owner()}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.WebhookEndpoint]](q, get("/v1/webhook_endpoints", asked))
	if err != nil {
		return nil, err
	}
	if p.Rows = list.Data; list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return p, nil
}

// shrink leaves rows to the next page.
func (p *webhooksPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *webhooksPage) next(w api.WebhookEndpoint) string {
	return p.To(withQuery("/webhooks", "account", p.Scope.Account, "organization", p.Scope.Organization, "after", w.ID))
}

func (q *request) showWebhooks() error {
	p, err := q.webhooksPage()
	if err != nil {
		return err
	}
	return q.show("webhooks", p)
}

func (q *request) createWebhook() error {
	body := api.WebhookEndpointCreate{URL: q.form("url"), Events: strings.FieldsFunc(q.form("events"), func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' })}
	if body.Events == nil {
		body.Events = []string{}
	}
	if d := q.form("description"); d != "" {
		body.Description = api.Set(d)
	}
	body.Account, body.Organization = limitOf(q.form("limit"))
	w, header, err := askHeader[api.WebhookEndpoint](q, q.once(post("/v1/webhook_endpoints", body)))
	if err != nil {
		wrong := formFailure(err)
		if wrong == nil {
			return err
		}
		p, err := q.webhooksPage()
		if err != nil {
			return err
		}
		p.Error, p.Address, p.Description, p.Of, p.Limit = wrong, q.form("url"), q.form("description"), q.form("events"), q.form("limit")
		return q.show("webhooks", p)
	}
	if header.Get("Idempotent-Replayed") != "" {
		return repeatedSecret()
	}
	return q.showWebhookSecret(w, "Save the signing secret", "This is the only time that it is shown. Your endpoint checks the signature of each delivery with it.")
}

// webhookPage is one endpoint with what was sent to it.
type webhookPage struct {
	Page
	Endpoint   api.WebhookEndpoint
	Deliveries []api.WebhookDelivery
	More       string
}

// shrink leaves deliveries to the next page.
func (p *webhookPage) shrink() bool { return moreAfter(&p.Deliveries, &p.More, p.next) }

func (p *webhookPage) next(d api.WebhookDelivery) string {
	return p.To(withQuery("/webhooks/"+p.Endpoint.ID, "account", p.Scope.Account, "organization", p.Scope.Organization, "after", d.ID))
}

func (q *request) showWebhook() error {
	p, err := q.webhookPage()
	if err != nil {
		return err
	}
	return q.show("webhook", p)
}

func (q *request) webhookPage() (*webhookPage, error) {
	w, err := ask[api.WebhookEndpoint](q, get(q.webhookPath(), nil))
	if err != nil {
		return nil, err
	}
	p := &webhookPage{Page: q.page("Webhook", "webhooks"), Endpoint: w}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.WebhookDelivery]](q, get(q.webhookPath()+"/deliveries", asked))
	if err != nil {
		return nil, err
	}
	if p.Deliveries = list.Data; list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return p, nil
}

func (q *request) deleteWebhook() error {
	c := call{method: http.MethodDelete, path: q.webhookPath()}
	if _, err := ask[api.Deleted](q, c); err != nil {
		return err
	}
	return q.seeOther(q.about("/webhooks"), doneWebhookDeleted)
}
