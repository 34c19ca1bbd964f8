package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func webhookCommand() caddycmd.Command {
	return group("webhook", "Manages webhook endpoints", `
Manages webhook endpoints: URLs that are told of key events, each by a signed POST
of the event, at least once and in order. What an endpoint does not answer with a
status of 2xx within 10 seconds is tried again for three days.`,
		webhookCreate, webhookList, webhookGet, webhookEdit, webhookDelete, webhookDeliveries, webhookResend, webhookRotateSecret)
}

func webhookCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create URL --event TYPE",
		Short: "Creates a webhook endpoint and prints its secret",
		Long: `
Creates a webhook endpoint, which hears what happens from now on, and prints the
secret that deliveries are signed with. It is shown this once.

A delivery has the header Keystile-Signature: t=SECONDS,v1=HEX, where HEX is the
HMAC-SHA256 of SECONDS, a dot and the body, with the secret as the key.`,
		Example: `
  keystile webhook create https://example.com/hooks --event '*'
  keystile webhook create https://example.com/hooks --event key.created --event key.deleted --account acct_9fKq2LmZx81TnWvB`,
	}
	fs := cmd.Flags()
	fs.StringArray("event", nil, "`TYPE` of event to hear of, such as key.created (repeatable), or * for all key events (required)")
	fs.String("description", "", "What it is for: a `TEXT` for people")
	fs.String("account", "", "Only keys of this `ACCOUNT`")
	fs.String("organization", "", "Only keys of this `ORGANIZATION` and of its accounts")
	return leaf(cmd, []string{"URL"}, func(c *call) error {
		events, _ := c.flags().GetStringArray("event")
		if len(events) == 0 {
			return misuse("--event is missing: a type such as key.created, or '*' for all")
		}
		b := body{"url": c.arg(0), "events": events}
		b.setText(c.flags(), "description", "description", false)
		for flag, prefix := range map[string]string{"account": "acct_", "organization": "org_"} {
			if id, _ := c.flags().GetString(flag); id != "" {
				if _, err := checkID("--"+flag, id, prefix); err != nil {
					return err
				}
				b[flag] = id
			}
		}
		answer, err := c.do("POST", pathTo("webhook_endpoints"), nil, b)
		if err != nil {
			return err
		}
		return c.showWebhookSecret(answer)
	})
}

func webhookList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Lists webhook endpoints, newest first",
		Long:    `Lists webhook endpoints, newest first.`,
		Example: `  keystile webhook list`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		return list(c, pathTo("webhook_endpoints"), nil, []string{"ID", "URL", "STATUS", "EVENTS", "OF", "CREATED"},
			func(w *api.WebhookEndpoint) []string {
				return []string{w.ID, w.URL, w.Status, strings.Join(w.Events, " "), webhookScope(w), moment(&w.CreatedAt)}
			})
	})
}

func webhookGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get ENDPOINT",
		Short:   "Shows a webhook endpoint",
		Long:    `Shows a webhook endpoint.`,
		Example: `  keystile webhook get we_8DpB666ojJIBrHTw33ZR`,
	}
	return leaf(cmd, []string{"ENDPOINT"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("webhook_endpoints", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(w *api.WebhookEndpoint) error {
			c.showWebhook(w)
			return nil
		})
	})
}

func webhookDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete ENDPOINT",
		Short:   "Deletes a webhook endpoint",
		Long:    `Deletes a webhook endpoint. It hears nothing more, and its deliveries are forgotten.`,
		Example: `  keystile webhook delete we_8DpB666ojJIBrHTw33ZR`,
	}
	return leaf(cmd, []string{"ENDPOINT"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("webhook_endpoints", id), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(*api.Deleted) error {
			c.out.linef("deleted %s", id)
			return nil
		})
	})
}

func webhookDeliveries() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deliveries ENDPOINT",
		Short: "Lists the deliveries to a webhook endpoint, newest first",
		Long: `
Lists every attempt to tell a webhook endpoint of an event, newest first, with what
came of it. The newest 100 are kept.`,
		Example: `  keystile webhook deliveries we_8DpB666ojJIBrHTw33ZR`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, []string{"ENDPOINT"}, func(c *call) error {
		id, err := c.id(0, "we_")
		if err != nil {
			return err
		}
		return list(c, pathTo("webhook_endpoints", id, "deliveries"), nil,
			[]string{"TIME", "EVENT", "TYPE", "ATTEMPT", "OUTCOME", "STATUS", "ERROR", "NEXT"},
			func(d *api.WebhookDelivery) []string {
				status, reason := "-", "-"
				if d.Status != nil {
					status = strconv.Itoa(*d.Status)
				}
				if d.Error != nil {
					reason = *d.Error
				}
				return []string{moment(&d.CreatedAt), d.Event, d.EventType, strconv.Itoa(d.Attempt), d.Outcome, status, reason, moment(d.NextAt)}
			})
	})
}

// showWebhook prints one endpoint.
func (c *call) showWebhook(w *api.WebhookEndpoint) {
	description := ""
	if w.Description != nil {
		description = *w.Description
	}
	c.out.fields(
		field{"id", w.ID},
		field{"url", w.URL},
		field{"description", description},
		field{"events", strings.Join(w.Events, " ")},
		field{"of", webhookScope(w)},
		field{"status", w.Status},
		field{"created", moment(&w.CreatedAt)},
		field{"secret", string(w.Secret)},
		field{"old secret until", moment(w.PreviousSecretExpiresAt)},
	)
}

// webhookScope says whose keys an endpoint hears of.
func webhookScope(w *api.WebhookEndpoint) string {
	switch {
	case w.Account != nil:
		return *w.Account
	case w.Organization != nil:
		return *w.Organization
	}
	return "all"
}

// showWebhookSecret prints the answer that holds an endpoint's new secret.
func (c *call) showWebhookSecret(answer []byte) error {
	return show(c, answer, func(w *api.WebhookEndpoint) error {
		c.showWebhook(w)
		c.note.linef("Keep the secret: it is not shown again.")
		return nil
	})
}
