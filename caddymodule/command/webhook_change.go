package command

import (
	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
)

func webhookEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit ENDPOINT [URL] [flags]",
		Short: "Changes a webhook endpoint, or disables or enables it",
		Long: `
Changes a webhook endpoint. Only what a flag names is changed; the list of events is
replaced as a whole. What waits goes to the new URL. What happens while an endpoint
is disabled is not told later, nor is what waited for it.`,
		Example: `
  keystile webhook edit we_8DpB666ojJIBrHTw33ZR https://example.com/new
  keystile webhook edit we_8DpB666ojJIBrHTw33ZR --event key.created --event key.deleted
  keystile webhook edit we_8DpB666ojJIBrHTw33ZR --disable`,
	}
	fs := cmd.Flags()
	fs.StringArray("event", nil, "`TYPE` of event to hear of (repeatable), or * for all key events")
	fs.String("description", "", "What it is for: a `TEXT` for people; empty: none")
	fs.Bool("disable", false, "Tell it nothing any more")
	fs.Bool("enable", false, "Tell it what happens from now on")
	return leaf(cmd, []string{"ENDPOINT", "[URL]"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		patch, err := newWebhookPatch(c)
		if err != nil {
			return err
		}
		answer, err := c.do("PATCH", pathTo("webhook_endpoints", id), nil, patch)
		if err != nil {
			return err
		}
		return show(c, answer, func(w *api.WebhookEndpoint) error {
			c.showWebhook(w)
			return nil
		})
	})
}

func newWebhookPatch(c *call) (body, error) {
	fs := c.flags()
	patch := make(body)
	if c.arg(1) != "" { // an argument, as in create: --url names the process to talk to
		patch["url"] = c.arg(1)
	}
	patch.setText(fs, "description", "description", true)
	if events, _ := fs.GetStringArray("event"); len(events) > 0 {
		patch["events"] = events
	}
	disable, _ := fs.GetBool("disable")
	enable, _ := fs.GetBool("enable")
	switch {
	case disable && enable:
		return nil, misuse("--disable and --enable exclude each other")
	case disable:
		patch["status"] = "disabled"
	case enable:
		patch["status"] = "enabled"
	}
	if len(patch) == 0 {
		return nil, errNothingToEdit
	}
	return patch, nil
}

func webhookRotateSecret() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate-secret ENDPOINT [--expire-in DURATION | --expires-at TIME]",
		Short: "Gives a webhook endpoint a new secret and prints it",
		Long: `
Gives a webhook endpoint a new secret, which signs at once, and prints it: it is shown
this once. The old one signs no more, or for up to 24 hours beside the new one: then
the signature of a delivery has a second v1, made with the old secret.`,
		Example: `
  keystile webhook rotate-secret we_8DpB666ojJIBrHTw33ZR
  keystile webhook rotate-secret we_8DpB666ojJIBrHTw33ZR --expire-in 24h`,
	}
	cmd.Flags().String("expires-at", "", "`TIME` until which the old secret signs too, as 2027-01-31T12:00:00Z (default: now)")
	cmd.Flags().String("expire-in", "", "`DURATION` from now for which the old secret signs too, up to 24h")
	return leaf(cmd, []string{"ENDPOINT"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		req := make(body)
		if err := req.setExpiry(c); err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("webhook_endpoints", id, "rotate_secret"), nil, req)
		if err != nil {
			return err
		}
		return c.showWebhookSecret(answer)
	})
}

func webhookResend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resend ENDPOINT EVENT",
		Short: "Sends an event to a webhook endpoint again",
		Long: `
Sends an event to a webhook endpoint again, after what waits for it already. It must
be one that the endpoint may hear; 'event list' and 'webhook deliveries' name events.`,
		Example: `  keystile webhook resend we_8DpB666ojJIBrHTw33ZR evt_3Jd8sVwQ0xTnB6Lm`,
	}
	return leaf(cmd, []string{"ENDPOINT", "EVENT"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		event, err := c.id(1, "evt_")
		if err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("webhook_endpoints", id, "resend"), nil, body{"event": event})
		if err != nil {
			return err
		}
		return show(c, answer, func(*api.Event) error {
			c.out.linef("%s will be sent to %s again", event, id)
			return nil
		})
	})
}
