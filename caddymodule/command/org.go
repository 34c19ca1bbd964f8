package command

import (
	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func orgCommand() caddycmd.Command {
	return group("org", "Manages organizations", `
Manages organizations. An organization owns accounts, and organization keys,
which act on any of its accounts.`,
		orgCreate, orgList, orgGet, orgEdit)
}

func orgCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Creates an organization",
		Long: `
Creates an organization. Accounts join it with 'account create --organization'
or 'account edit --organization'.`,
		Example: `
  keystile org create "Example Group"
  keystile org create --name "Example Group" --json`,
	}
	cmd.Flags().String("name", "", "The `NAME`, if not given as the argument")
	return leaf(cmd, []string{"[NAME]"}, func(c *call) error {
		name, err := c.nameArgument(0)
		if err != nil {
			return err
		}
		answer, err := c.do("POST", pathTo("organizations"), nil, body{"name": name})
		if err != nil {
			return err
		}
		return show(c, answer, c.showOrganization)
	})
}

func orgList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Lists organizations, newest first",
		Long:    `Lists organizations, newest first.`,
		Example: `  keystile org list --all`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		return list(c, pathTo("organizations"), nil, []string{"ID", "NAME", "CREATED"},
			func(o *api.Organization) []string {
				return []string{o.ID, o.Name, moment(&o.CreatedAt)}
			})
	})
}

func orgGet() *cobra.Command {
	return leaf(&cobra.Command{
		Use:     "get ORGANIZATION",
		Short:   "Shows one organization",
		Long:    `Shows one organization by its id.`,
		Example: `  keystile org get org_Vh2RnXs0K3mQb7Ty`,
	}, []string{"ORGANIZATION"}, func(c *call) error {
		id, err := c.id(0, "org_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("organizations", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showOrganization)
	})
}

func orgEdit() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "edit ORGANIZATION --name NAME",
		Short:   "Renames an organization",
		Long:    `Renames an organization. Its id, accounts and keys stay.`,
		Example: `  keystile org edit org_Vh2RnXs0K3mQb7Ty --name "Example Holding"`,
	}
	cmd.Flags().String("name", "", "The new `NAME`")
	return leaf(cmd, []string{"ORGANIZATION"}, func(c *call) error {
		id, err := c.id(0, "org_")
		if err != nil {
			return err
		}
		patch := make(body)
		patch.setText(c.flags(), "name", "name", false)
		if len(patch) == 0 {
			return errNothingToEdit
		}
		answer, err := c.do("PATCH", pathTo("organizations", id), nil, patch)
		if err != nil {
			return err
		}
		return show(c, answer, c.showOrganization)
	})
}

// errNothingToEdit refuses an edit without a change: it was meant to have one.
var errNothingToEdit = misuse("nothing to edit: no flag says what to change")

// nameArgument is a name that is given as the i-th argument or as --name.
func (c *call) nameArgument(i int) (string, error) {
	name, _ := c.flags().GetString("name")
	switch {
	case c.arg(i) != "" && c.flags().Changed("name"):
		return "", misuse("the name is given twice, as an argument and as --name")
	case c.arg(i) != "":
		return c.arg(i), nil
	case name == "":
		return "", misuse("a name is missing")
	}
	return name, nil
}

func (c *call) showOrganization(o *api.Organization) error {
	c.out.fields(
		field{"id", o.ID},
		field{"name", o.Name},
		field{"created", moment(&o.CreatedAt)},
	)
	return nil
}
