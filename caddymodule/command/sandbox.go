package command

import (
	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func sandboxCommand() caddycmd.Command {
	return group("sandbox", "Manages the sandboxes of an account", `
Manages sandboxes: isolated places of sandbox mode inside an account, each with
its own secret and publishable key. Each account has one named 'default'.`,
		sandboxCreate, sandboxList, sandboxDelete)
}

func sandboxCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create NAME --account ACCOUNT",
		Short:   "Creates a sandbox with its two default keys",
		Long:    `Creates a sandbox in an account. It gets a secret and a publishable key.`,
		Example: `  keystile sandbox create staging --account acct_9fKq2LmZx81TnWvB`,
	}
	cmd.Flags().String("name", "", "The `NAME`, if not given as the argument")
	addAccountOf(cmd)
	return leaf(cmd, []string{"[NAME]"}, func(c *call) error {
		owner, err := c.accountFlag()
		if err != nil {
			return err
		}
		name, err := c.nameArgument(0)
		if err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("accounts", owner, "sandboxes"), nil, body{"name": name})
		if err != nil {
			return err
		}
		return show(c, answer, func(s *api.SandboxCreated) error {
			c.out.fields(
				field{"id", s.ID},
				field{"account", s.Account},
				field{"name", s.Name},
				field{"created", moment(&s.CreatedAt)},
			)
			c.showKeysOf(s.Keys)
			return nil
		})
	})
}

func sandboxList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list --account ACCOUNT",
		Short:   "Lists the sandboxes of an account, newest first",
		Long:    `Lists the sandboxes of an account, newest first.`,
		Example: `  keystile sandbox list --account acct_9fKq2LmZx81TnWvB`,
	}
	addAccountOf(cmd)
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		owner, err := c.accountFlag()
		if err != nil {
			return err
		}
		return list(c, pathTo("accounts", owner, "sandboxes"), nil, []string{"ID", "NAME", "CREATED"},
			func(s *api.Sandbox) []string { return []string{s.ID, s.Name, moment(&s.CreatedAt)} })
	})
}

func sandboxDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete SANDBOX --account ACCOUNT",
		Short: "Deletes a sandbox and its keys",
		Long: `
Deletes a sandbox. Its keys are refused from the moment this command returns. The
default sandbox cannot be deleted.`,
		Example: `  keystile sandbox delete sbx_7GhW1kPzN5cXq0Rf --account acct_9fKq2LmZx81TnWvB`,
	}
	addAccountOf(cmd)
	return leaf(cmd, []string{"SANDBOX"}, func(c *call) error {
		id, err := c.id(0, "sbx_")
		if err != nil {
			return err
		}
		owner, err := c.accountFlag()
		if err != nil {
			return err
		}
		answer, err := c.do("DELETE", pathTo("accounts", owner, "sandboxes", id), nil, nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(*api.Deleted) error {
			c.out.linef("deleted %s", id)
			return nil
		})
	})
}

// addAccountOf adds the flag --account, which accountFlag reads.
func addAccountOf(cmd *cobra.Command) {
	cmd.Flags().String("account", "", "Id of the `ACCOUNT` (required)")
}

// accountFlag is the required flag --account.
func (c *call) accountFlag() (string, error) {
	id, _ := c.flags().GetString("account")
	if id == "" {
		return "", misuse("--account is missing")
	}
	return checkID("--account", id, "acct_")
}
