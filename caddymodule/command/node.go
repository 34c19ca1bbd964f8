package command

import (
	"strconv"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

func nodeCommand() caddycmd.Command {
	return group("node", "Shows the gateways that share the key store", `
Shows the gateways that share the key store: which of them live, and how far each
has applied what was changed.`,
		nodeList)
}

func nodeList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the nodes of the fleet",
		Long: `
Lists the nodes of the fleet. BEHIND counts the changes that a node has not applied
yet. A silent node was not heard of for some seconds; it accepts no keys any more
once it is cut off for longer than max_staleness.`,
		Example: `  keystile node list`,
	}
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		return list(c, pathTo("nodes"), nil, []string{"ID", "STATUS", "REVISION", "BEHIND", "VERSION", "STARTED", "SEEN"},
			func(n *api.FleetNode) []string {
				id := n.ID
				if n.Self {
					id += " (this one)"
				}
				return []string{
					id, n.Status, strconv.FormatUint(n.Revision, 10), strconv.FormatUint(n.Behind, 10), n.Version, moment(n.StartedAt), moment(n.LastSeenAt),
				}
			})
	})
}
