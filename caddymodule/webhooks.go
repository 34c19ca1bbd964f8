package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/keystile/keystile/admin/webhook"
)

// WebhooksConfig says where webhook deliveries may go. Endpoints themselves are set up by the admin API.
type WebhooksConfig struct {
	// Whether deliveries may go to any address, loopback, private and link-local ones included, and by plain HTTP. Whoever
	// may set up a webhook endpoint can then make this process send requests into the network behind it. Default: false,
	// only public addresses by https.
	AllowPrivate bool `json:"allow_private,omitempty"`
}

// privateWebhooks says whether this config lets deliveries go anywhere.
func (a *App) privateWebhooks() bool { return a.Webhooks != nil && a.Webhooks.AllowPrivate }

// parseWebhooks sets up the option from Caddyfile tokens. Syntax:
//
//	webhooks {
//		allow_private on|off
//	}
func (a *App) parseWebhooks(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.Webhooks = new(WebhooksConfig)
	seen := false
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch {
		case d.Val() != "allow_private":
			return d.Errf("unrecognized option %q of webhooks", d.Val())
		case seen:
			return d.Errf("duplicate option %q of webhooks", d.Val())
		}
		seen = true
		if err := parseOnOff(d, &a.Webhooks.AllowPrivate); err != nil {
			return err
		}
	}
	if !seen {
		return d.Err("webhooks: empty: this version has \"allow_private\"")
	}
	return nil
}

// startWebhooks starts the deliveries of an open store, unless they run already: they outlive a config load.
func (s *sharedStore) startWebhooks(node string, private bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if s.webhooks != nil || s.store == nil {
		return nil
	}
	d, err := webhook.Start(webhook.Options{Store: s.store, Node: node, Logger: processLogger("keystile.webhooks")})
	if err != nil {
		return err
	}
	d.SetPrivate(private)
	s.webhooks = d
	return nil
}

// tuneWebhooks hands to the deliveries what only one config at a time can say.
func (s *sharedStore) tuneWebhooks(private bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.webhooks != nil {
		s.webhooks.SetPrivate(private)
	}
}
