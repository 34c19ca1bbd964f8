package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/keystile/keystile/admin/api"
)

func catalogCommand() caddycmd.Command {
	return group("catalog", "Checks and lists the catalog of resources", `
Checks and lists the catalog: the map from method and path to the resource and
access that a key needs.`,
		catalogCheck, catalogList)
}

func catalogList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [--routes]",
		Short: "Lists the resources of the running gateway's catalog",
		Long: `
Lists the resources that permissions can be given on, from the catalog of the
running gateway; with --routes, the routes that belong to each.`,
		Example: `
  keystile catalog list
  keystile catalog list --routes`,
	}
	cmd.Flags().Bool("routes", false, "List every route")
	return leaf(cmd, nil, func(c *call) error {
		answer, err := c.get(pathTo("resources"), nil)
		if err != nil {
			return err
		}
		return show(c, answer, func(l *api.List[api.Resource]) error {
			c.showResources(l.Data)
			return nil
		})
	})
}

// showResources prints resources, or with --routes their routes.
func (c *call) showResources(resources []api.Resource) {
	if routes, _ := c.flags().GetBool("routes"); routes {
		c.showRoutes(resources)
		return
	}
	rows := make([][]string, 0, len(resources))
	for _, r := range resources {
		rows = append(rows, []string{r.Name, strings.Join(r.Access, " "), strconv.Itoa(len(r.Routes))})
	}
	c.out.table([]string{"RESOURCE", "ACCESS", "ROUTES"}, rows...)
}

func (c *call) showRoutes(resources []api.Resource) {
	rows := [][]string{} // not nil: without a route there still is a head
	for _, r := range resources {
		for _, route := range r.Routes {
			publishable := ""
			if route.Publishable {
				publishable = "publishable"
			}
			rows = append(rows, []string{r.Name, route.Access, route.Method, route.Pattern, publishable})
		}
	}
	c.out.table([]string{"RESOURCE", "ACCESS", "METHOD", "PATTERN", "KEYS"}, rows...)
}
