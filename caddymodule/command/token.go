package command

import (
	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func tokenCommand() caddycmd.Command {
	return group("token", "Manages admin tokens", `
Manages admin tokens: the credentials by which programs, this one included, use
the admin API of a site with the keystile_admin directive. A token has a role:

  owner          everything
  administrator  everything but owners' tokens
  developer      keys and request records
  viewer         reads, and sees no token

It can be limited to one organization or one account, and nobody makes one with
more rights than their own.`,
		tokenCreate, tokenList, tokenGet, tokenDelete)
}

func tokenCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE [flags]",
		Short: "Creates an admin token and prints it",
		Long: `
Creates an admin token and prints it. It cannot be shown again. Use it with
--url, in the variable KEYSTILE_TOKEN or on standard input with --token-stdin.`,
		Example: `
  keystile token create --name ci --role developer --account acct_9fKq2LmZx81TnWvB --expire-in 90d
  keystile token create --name audit --role viewer --token-only > audit.token
  KEYSTILE_TOKEN=$(cat audit.token) keystile log list --url https://keys.example.com`,
	}
	fs := cmd.Flags()
	fs.String("name", "", "`NAME` of the token (required)")
	fs.String("role", "", "`ROLE`: owner, administrator, developer or viewer (required)")
	fs.String("organization", "", "Limit it to this `ORGANIZATION`, its accounts and what is theirs")
	fs.String("account", "", "Limit it to this `ACCOUNT` and what is its")
	fs.String("expires-at", "", "`TIME` when the token ends, as 2027-01-31T12:00:00Z")
	fs.String("expire-in", "", "`DURATION` from now after which the token ends, as 24h or 90d")
	addTokenOnly(fs)
	return leaf(cmd, nil, func(c *call) error {
		if only, _ := c.flags().GetBool("token-only"); only && c.json {
			return misuse("--token-only and --json exclude each other")
		}
		req, err := newTokenRequest(c)
		if err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("admin_tokens"), nil, req)
		if err != nil {
			return err
		}
		return show(c, answer, c.showNewToken)
	})
}

func newTokenRequest(c *call) (body, error) {
	fs := c.flags()
	req := make(body)
	for _, name := range []string{"name", "role"} {
		if value, _ := fs.GetString(name); value == "" {
			return nil, misuse("--%s is missing", name)
		}
		req.setText(fs, name, name, false)
	}
	if exclusive(fs.Changed("account"), fs.Changed("organization")) > 1 {
		return nil, misuse("--account and --organization exclude each other")
	}
	for name, prefix := range map[string]string{"account": "acct_", "organization": "org_"} {
		if !fs.Changed(name) {
			continue
		}
		// An empty one, as of a variable that is not set, must not make a token without a limit: fail closed.
		id, _ := fs.GetString(name)
		if _, err := checkID("--"+name, id, prefix); err != nil {
			return nil, err
		}
		req.setText(fs, name, name, false)
	}
	return req, req.setExpiry(c)
}

func tokenList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Lists admin tokens, newest first",
		Long:    `Lists admin tokens, newest first, without the tokens themselves.`,
		Example: `  keystile token list --all`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		return list(c, pathTo("admin_tokens"), nil, []string{"ID", "NAME", "ROLE", "LIMIT", "STATUS", "EXPIRES", "LAST USED"},
			func(t *api.AdminToken) []string {
				return []string{t.ID, t.Name, t.Role, tokenLimit(t), t.Status, moment(t.ExpiresAt), moment(t.LastUsedAt)}
			})
	})
}

func tokenGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get TOKEN-ID",
		Short:   "Shows one admin token",
		Long:    `Shows one admin token by its id, without the token itself.`,
		Example: `  keystile token get adm_8DpB666ojJIBrHTw33ZR`,
	}, []string{"TOKEN-ID"}, func(c *call) error {
		id, err := c.id(0, "adm_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("admin_tokens", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showToken)
	})
}

func tokenDelete() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "delete TOKEN-ID",
		Short:   "Deletes an admin token",
		Long:    `Deletes an admin token by its id. It is refused from that moment on.`,
		Example: `  keystile token delete adm_8DpB666ojJIBrHTw33ZR`,
	}, []string{"TOKEN-ID"}, func(c *call) error {
		id, err := c.id(0, "adm_")
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("admin_tokens", id), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(d *api.Deleted) error {
			c.out.linef("deleted %s", clean(d.ID))
			return nil
		})
	})
}

// tokenLimit is what a token is limited to, "" if nothing.
func tokenLimit(t *api.AdminToken) string {
	if t.Organization != nil {
		return *t.Organization
	}
	return text(t.Account)
}

// showNewToken prints a new token: alone with --token-only, else with what it is.
func (c *call) showNewToken(t *api.AdminToken) error {
	if only, _ := c.flags().GetBool("token-only"); only {
		c.out.linef("%s", clean(string(t.Token)))
		return nil
	}
	if err := c.showToken(t); err != nil {
		return err
	}
	c.tokenNotice(false)
	return nil
}

func (c *call) showToken(t *api.AdminToken) error {
	shown := t.TokenMasked
	if t.Token != "" {
		shown = string(t.Token)
	}
	c.out.fields(
		field{"id", t.ID},
		field{"name", t.Name},
		field{"role", t.Role},
		field{"organization", text(t.Organization)},
		field{"account", text(t.Account)},
		field{"token", shown},
		field{"status", t.Status},
		field{"created", moment(&t.CreatedAt)},
		field{"created by", t.CreatedBy},
		field{"expires", moment(t.ExpiresAt)},
		field{"last used", moment(t.LastUsedAt)},
		field{"last used from", text(t.LastUsedIP)},
	)
	return nil
}
