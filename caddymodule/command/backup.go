package command

import (
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func backupCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "backup",
		Usage: "FILE [flags]",
		Short: "Copies the key store while the gateway runs",
		Long: strings.TrimSpace(`
Writes a copy of the embedded key store, as it is at one moment, while the gateway
runs: a tar archive of the copy, a manifest, and a checksum. - is standard output.
The gateway's disk needs room for one more copy meanwhile.

The master key is not in the backup. Keep a copy of it apart from the backups
(keystile/master.key in Caddy's data directory, unless the configuration says
otherwise): a restored store with sealed tokens does not start without it. The
request log is not in the backup either.

This works only at the gateway's own admin endpoint, not with --url.`),
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `
  keystile backup keys-2027-01-31.tar
  keystile backup - | age -r age1… > keys.tar.age`
			addAddress(cmd.Flags())
			leaf(cmd, []string{"FILE"}, func(c *call) error {
				if remote, _ := c.flags().GetString("url"); remote != "" {
					return misuse("a backup is taken at the gateway's own admin endpoint: --url does not go with it")
				}
				name := c.arg(0)
				if name == "-" && c.out.terminal {
					return misuse("a backup is no text for a terminal: name a file, or send it through a pipe")
				}
				conn, err := c.connect()
				if err != nil {
					return err
				}
				resp, err := conn.send(c.context(), "GET", pathTo("backup"), nil, nil)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				return c.save(name, resp.Body, 0o600)
			})
			seal(cmd)
		},
	}
}
