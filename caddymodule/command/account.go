package command

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func accountCommand() caddycmd.Command {
	return group("account", "Manages accounts and their connections", `
Manages accounts. An account owns keys: a new one gets a secret and a
publishable key for each mode. It may belong to an organization, and it may be a
platform: its keys then also act on the accounts that are connected to it.`,
		accountCreate, accountList, accountGet, accountEdit, accountConnect, accountDisconnect)
}

func accountCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME [--organization ORGANIZATION]",
		Short: "Creates an account with its four default keys",
		Long: `
Creates an account. It gets a sandbox named 'default' and four keys: secret and
publishable, sandbox and live. 'key reveal' shows their tokens: the sandbox keys'
any number of times, the live secret key's once.`,
		Example: `
  keystile account create "Example Shop"
  keystile account create --name "Example Shop" --organization org_Vh2RnXs0K3mQb7Ty --default-api-version 2026-01-31
  keystile account create "Example Shop" --rate-limit live=200,sandbox=50`,
	}
	fs := cmd.Flags()
	fs.String("name", "", "The `NAME`, if not given as the argument")
	fs.String("organization", "", "Id of the `ORGANIZATION` that it belongs to")
	fs.String("default-api-version", "", "API `VERSION` of requests that name none")
	addAccountRate(fs)
	return leaf(cmd, []string{"[NAME]"}, func(c *call) error {
		name, err := c.nameArgument(0)
		if err != nil {
			return err
		}
		req := body{"name": name}
		req.setText(c.flags(), "organization", "organization", true)
		req.setText(c.flags(), "default-api-version", "default_api_version", true)
		if err := req.setAccountRate(c.flags()); err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("accounts"), nil, req)
		if err != nil {
			return err
		}
		return show(c, answer, func(a *api.AccountCreated) error {
			err := c.showAccount(&a.Account)
			c.showKeysOf(a.Keys)
			return err
		})
	})
}

func accountList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--organization ORGANIZATION]",
		Short: "Lists accounts, newest first",
		Long:  `Lists accounts, newest first: all of them, or those of one organization.`,
		Example: `
  keystile account list
  keystile account list --organization org_Vh2RnXs0K3mQb7Ty --all --json`,
	}
	cmd.Flags().String("organization", "", "Only accounts of this `ORGANIZATION`")
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		query := make(url.Values)
		c.filter(query, "organization")
		return list(c, pathTo("accounts"), query, []string{"ID", "ORGANIZATION", "NAME", "CREATED"},
			func(a *api.Account) []string {
				return []string{a.ID, text(a.Organization), a.Name, moment(&a.CreatedAt)}
			})
	})
}

func accountGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get ACCOUNT",
		Short:   "Shows one account",
		Long:    `Shows one account by its id, with the accounts connected to it.`,
		Example: `  keystile account get acct_9fKq2LmZx81TnWvB`,
	}, []string{"ACCOUNT"}, func(c *call) error {
		id, err := c.id(0, "acct_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("accounts", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showAccount)
	})
}

func accountEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit ACCOUNT [flags]",
		Short: "Changes an account's name, organization, default API version or rate limits",
		Long: `
Changes an account. Only what a flag names is changed; an empty --organization
takes the account out of its organization, an empty --default-api-version removes
the default. --rate-limit replaces the limits of both modes: one that it does not
name is as the configuration says.`,
		Example: `
  keystile account edit acct_9fKq2LmZx81TnWvB --name "Example Shop (EU)"
  keystile account edit acct_9fKq2LmZx81TnWvB --organization ""
  keystile account edit acct_9fKq2LmZx81TnWvB --rate-limit live=200
  keystile account edit acct_9fKq2LmZx81TnWvB --no-rate-limit`,
	}
	fs := cmd.Flags()
	fs.String("name", "", "The new `NAME`")
	fs.String("organization", "", "Id of the `ORGANIZATION` that it belongs to, or empty for none")
	fs.String("default-api-version", "", "API `VERSION` of requests that name none, or empty for none")
	addAccountRate(fs)
	fs.Bool("no-rate-limit", false, "Limit its requests as the configuration says")
	return leaf(cmd, []string{"ACCOUNT"}, func(c *call) error {
		id, err := c.id(0, "acct_")
		if err != nil {
			return err
		}
		patch := make(body)
		patch.setText(c.flags(), "name", "name", false)
		patch.setText(c.flags(), "organization", "organization", true)
		patch.setText(c.flags(), "default-api-version", "default_api_version", true)
		if err := patch.setAccountRate(c.flags()); err != nil {
			return err
		}
		if len(patch) == 0 {
			return errNothingToEdit
		}
		answer, err := c.do("PATCH", pathTo("accounts", id), nil, patch)
		if err != nil {
			return err
		}
		return show(c, answer, c.showAccount)
	})
}

func accountConnect() *cobra.Command {
	return connection("connect", "PUT", "Connects an account to a platform account", `
Connects the account CONNECTED to ACCOUNT, which is its platform from then on:
keys of ACCOUNT may act on CONNECTED as far as their connected-account permissions
reach. The connection has a direction.`)
}

func accountDisconnect() *cobra.Command {
	return connection("disconnect", "DELETE", "Ends a connection", `
Ends the connection of the account CONNECTED to ACCOUNT. Requests that keys of
ACCOUNT make on it are refused from the moment this command returns.`)
}

// connection makes the two verbs that differ in their method only.
func connection(verb, method, short, long string) *cobra.Command {
	return leaf(&cobra.Command{
		Use:     verb + " ACCOUNT CONNECTED",
		Short:   short,
		Long:    long,
		Example: "  keystile account " + verb + " acct_9fKq2LmZx81TnWvB acct_4bYt6RsHc03PdQeJ",
	}, []string{"ACCOUNT", "CONNECTED"}, func(c *call) error {
		id, err := c.id(0, "acct_")
		if err != nil {
			return err
		}
		connected, err := c.id(1, "acct_")
		if err != nil {
			return err
		}
		answer, err := c.do(method, pathTo("accounts", id, "connections", connected), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showAccount)
	})
}

func (c *call) showAccount(a *api.Account) error {
	c.out.fields(
		field{"id", a.ID},
		field{"name", a.Name},
		field{"organization", text(a.Organization)},
		field{"default API version", text(a.DefaultAPIVersion)},
		field{"rate limit", rateText(a.RateLimit)},
		field{"default sandbox", a.DefaultSandbox},
		field{"connections", strings.Join(a.Connections, " ")},
		field{"created", moment(&a.CreatedAt)},
	)
	return nil
}

// showKeysOf prints the keys that were made with an account or a sandbox.
func (c *call) showKeysOf(keys []api.Key) {
	if len(keys) == 0 {
		return
	}
	rows := make([][]string, 0, len(keys))
	for _, k := range keys {
		rows = append(rows, []string{k.ID, k.Kind, k.Mode, tokenText(&k)})
	}
	c.out.linef("")
	c.out.table([]string{"KEY", "KIND", "MODE", "TOKEN"}, rows...)
}

// filter copies flags that were given to query parameters of the same names, with underscores.
func (c *call) filter(query url.Values, flags ...string) {
	for _, name := range flags {
		if flag := c.flags().Lookup(name); flag.Changed {
			query.Set(strings.ReplaceAll(name, "-", "_"), flag.Value.String())
		}
	}
}
