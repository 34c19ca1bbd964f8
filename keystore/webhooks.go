package keystore

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/keystile/keystile/policy"
)

const (
	// MaxWebhookEndpoints is how many webhook endpoints there may be: each is served on its own.
	MaxWebhookEndpoints = 300
	// MaxWebhookURL is how long an endpoint's URL may be, in bytes.
	MaxWebhookURL = 2048
)

// The events of webhook endpoints.
const (
	EventWebhookCreated       EventType = "webhook_endpoint.created"
	EventWebhookUpdated       EventType = "webhook_endpoint.updated"
	EventWebhookDeleted       EventType = "webhook_endpoint.deleted"
	EventWebhookSecretRotated EventType = "webhook_endpoint.secret_rotated"
	EventWebhookResend        EventType = "webhook_endpoint.resend_requested"
)

// webhookSecretPrefix begins the secret that deliveries to an endpoint are signed with.
const webhookSecretPrefix = "whsec_"

// CreateWebhookEndpoint makes an endpoint. It hears what happens from now on. Its secret is in the answer, and sealed in the
// store for signing: nobody can read it again.
func (s *Store) CreateWebhookEndpoint(ctx context.Context, by Actor, p WebhookParams) (*WebhookEndpoint, policy.Token, error) {
	var made *WebhookEndpoint
	var secret policy.Token
	err := s.write(ctx, by, func(c *change) (err error) {
		events, err := c.checkWebhook(&p)
		if err != nil {
			return err
		}
		made = &WebhookEndpoint{
			URL: p.URL, Description: p.Description, Events: events, Account: p.Account, Organization: p.Organization,
			CreatedAt: c.now, CreatedBy: c.actor.label(), From: c.nextPlace(), // its own event, which comes below
		}
		if made.ID, err = c.newID(prefixWebhook); err != nil {
			return err
		}
		if secret, err = c.newWebhookSecret(made); err != nil {
			return err
		}
		if err := c.putWebhook(made); err != nil {
			return err
		}
		return c.event(EventWebhookCreated, made.ID, made.Account, made.Organization, nil, made.summary())
	})
	if err != nil {
		return nil, policy.Token{}, err
	}
	return made, secret, nil
}

// newWebhookSecret gives an endpoint a new secret, sealed.
func (c *change) newWebhookSecret(w *WebhookEndpoint) (policy.Token, error) {
	secret, err := newWebhookSecret(c.store.tokens.rand)
	if err != nil {
		return policy.Token{}, err
	}
	sealed, err := c.store.seal.Encrypt([]byte(secret.Reveal()), webhookSecretFor(w.ID))
	if err != nil {
		return policy.Token{}, fmt.Errorf("sealing the secret of %s: %w", w.ID, err)
	}
	w.sealed = string(sealed)
	return secret, nil
}

func (c *change) putWebhook(w *WebhookEndpoint) error {
	w.Revision = c.revision
	if err := w.checkStored(); err != nil {
		return fmt.Errorf("refusing to store %s: %w", w.ID, err)
	}
	return c.put(TableWebhook, tableWebhooks, w.ID, w, w.encode())
}

// webhook is an endpoint at the revision that the caller expects (0: any).
func (c *change) webhook(id string, revision uint64) (*WebhookEndpoint, error) {
	w, ok := first[*WebhookEndpoint](c.txn, tableWebhooks, indexID, id)
	if !ok {
		return nil, notFound("", "webhook endpoint", id)
	}
	return w, checkRevision("webhook endpoint", w.ID, w.Revision, revision)
}

// DeleteWebhookEndpoint ends an endpoint and destroys what is known of its deliveries.
func (s *Store) DeleteWebhookEndpoint(ctx context.Context, by Actor, id string) error {
	err := s.write(ctx, by, func(c *change) error {
		w, err := c.webhook(id, 0)
		if err != nil {
			return err
		}
		if err := c.txn.Delete(tableWebhooks, w); err != nil {
			return err
		}
		c.rows = append(c.rows, Row{Table: TableWebhook, ID: w.ID})
		return c.event(EventWebhookDeleted, w.ID, w.Account, w.Organization, w.summary(), nil)
	})
	if err == nil {
		s.dropWebhookState(ctx, id)
	}
	return err
}

// WebhookSecrets opens the secrets that deliveries to an endpoint are signed with at now: its own, and while it is being
// rotated the one before it.
func (s *Store) WebhookSecrets(w *WebhookEndpoint, now time.Time) ([]policy.Token, error) {
	sealed := []string{w.sealed}
	if now.Before(w.PreviousEnds) {
		sealed = append(sealed, w.previous)
	}
	secrets := make([]policy.Token, 0, len(sealed))
	for _, one := range sealed {
		plain, err := s.seal.Decrypt([]byte(one), webhookSecretFor(w.ID))
		if err != nil {
			return nil, fmt.Errorf("opening the secret of %s: %w", w.ID, err)
		}
		secrets = append(secrets, policy.TokenFrom(string(plain)))
	}
	return secrets, nil
}

// webhookSecretFor is what a sealed secret is bound to: moved to another endpoint it does not open.
func webhookSecretFor(id string) []byte { return []byte("keystile webhook secret of " + id) }

// newWebhookSecret is the prefix and 32 random characters.
func newWebhookSecret(random io.Reader) (policy.Token, error) {
	secret := []byte(webhookSecretPrefix)
	var buf [64]byte
	for len(secret) < len(webhookSecretPrefix)+32 {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return policy.Token{}, fmt.Errorf("making a webhook secret: %w", err)
		}
		for _, b := range buf {
			// 248 is the greatest multiple of 62 that a byte holds: the rest would favour some characters
			if b < 248 && len(secret) < len(webhookSecretPrefix)+32 {
				secret = append(secret, base62[b%62])
			}
		}
	}
	return policy.TokenFrom(string(secret)), nil
}

// checkWebhook checks a new endpoint and answers its list of events in order.
func (c *change) checkWebhook(p *WebhookParams) ([]string, error) {
	if err := checkWebhookTexts(p.URL, p.Description); err != nil {
		return nil, err
	}
	switch {
	case p.Organization != "" && p.Account != "":
		return nil, invalid("account", "an endpoint is limited to an organization or to an account, not to both")
	case p.Organization != "":
		if _, err := c.organization("organization", p.Organization); err != nil {
			return nil, err
		}
	case p.Account != "":
		if _, err := c.account("account", p.Account); err != nil {
			return nil, err
		}
	}
	staged := c.staged()
	all := staged.AllWebhookEndpoints()
	if len(all) >= MaxWebhookEndpoints {
		return nil, conflict("", "there are %d webhook endpoints, more are not possible: delete those that nobody uses", MaxWebhookEndpoints)
	}
	err := c.roomFor(webhookShare, p.Account, p.Organization, func(belongs func(account, organization string) bool) int {
		n := 0
		for _, w := range all {
			if belongs(w.Account, w.Organization) {
				n++
			}
		}
		return n
	})
	if err != nil {
		return nil, err
	}
	return checkWebhookEvents(p.Events)
}

func checkWebhookTexts(url, description string) error {
	if err := checkWebhookURL(url); err != nil || description == "" {
		return err
	}
	return checkName("description", description)
}

func checkWebhookEvents(events []string) ([]string, error) {
	if len(events) == 0 {
		return nil, missing("events", "give the types of events to be told of, or %q alone for all of them", AllEvents)
	}
	out := slices.Clone(events)
	slices.Sort(out)
	for i, e := range events {
		switch {
		case e == AllEvents && len(events) > 1:
			return nil, invalid("events", "%q stands alone: it stands for all events", AllEvents)
		case e != AllEvents && !slices.Contains(webhookEvents, EventType(e)):
			return nil, invalid(fmt.Sprintf("events[%d]", i), "not a key event: give one of %s, or %q alone", joinTypes(webhookEvents), AllEvents)
		case slices.Contains(events[:i], e):
			return nil, invalid(fmt.Sprintf("events[%d]", i), "stands there twice")
		}
	}
	return out, nil
}

func joinTypes(types []EventType) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// checkWebhookURL checks the shape of a URL. Which addresses may be told is the configuration's to say, at each delivery.
func checkWebhookURL(text string) error {
	const param = "url"
	if text == "" {
		return missing(param, "give the URL that is to be told, such as https://example.com/hooks")
	}
	if len(text) > MaxWebhookURL {
		return invalid(param, "the URL has more than %d bytes", MaxWebhookURL)
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return invalid(param, "a URL consists of visible ASCII characters: encode the others")
		}
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return invalid(param, "give an absolute URL such as https://example.com/hooks")
	case u.User != nil:
		return invalid(param, "a URL has no user and password here: deliveries are signed, check their signature instead")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return invalid(param, "a URL has no fragment here: it would not be sent")
	}
	return checkNoToken(param, text)
}
