package command

import (
	"os"

	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminTokenVariable holds the admin token for --url.
const adminTokenVariable = "KEYSTILE_TOKEN"

// addConnection adds the flags that say which process to talk to, and --json.
func addConnection(fs *pflag.FlagSet) {
	addAddress(fs)
	fs.Bool("token-stdin", false, "With --url: read the admin token from standard input instead of "+adminTokenVariable)
}

// addAddress is addConnection without --token-stdin, for commands in which that flag means another token.
func addAddress(fs *pflag.FlagSet) {
	fs.String("address", "", "`ADDRESS` of the admin endpoint (default: the one in --config, else Caddy's default)")
	fs.StringP("config", "c", "", "Configuration `FILE` to take the admin endpoint's address from")
	fs.StringP("adapter", "a", "", "Config `ADAPTER` for that file")
	fs.String("url", "", "Talk to a remote keystile_admin site at this `URL` instead, with the admin token in "+adminTokenVariable)
	fs.Bool("json", false, "Print the API's JSON answer as it is")
}

// connect finds the process that the flags name. It sends nothing.
func (c *call) connect() (*client, error) {
	if c.conn == nil {
		conn, err := c.newClient()
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn, nil
}

func (c *call) newClient() (*client, error) {
	given := func(name string) string {
		s, _ := c.flags().GetString(name) // "" where a command has no such flag
		return s
	}
	fromStdin := false
	if flag := c.flags().Lookup("token-stdin"); flag != nil && c.cmd.Annotations[ownTokenStdin] == "" {
		fromStdin = flag.Value.String() == "true"
	}
	remote := given("url")
	if remote == "" {
		if fromStdin {
			return nil, misuse("--token-stdin gives the admin token for --url, which is missing: the admin endpoint asks for none")
		}
		address, err := caddycmd.DetermineAdminAPIAddress(given("address"), nil, given("config"), given("adapter"))
		if err != nil {
			return nil, err
		}
		return newAdminClient(address)
	}
	if given("address") != "" || given("config") != "" {
		return nil, misuse("--url and --address (or --config) name two processes: give one")
	}
	token := os.Getenv(adminTokenVariable)
	if fromStdin {
		var err error
		if token, err = c.secretLine("the admin token"); err != nil {
			return nil, err
		}
	}
	if token == "" {
		return nil, misuse("--url needs an admin token: in the variable %s, or on standard input with --token-stdin", adminTokenVariable)
	}
	return newRemoteClient(remote, token)
}

// ownTokenStdin marks a command whose --token-stdin is not the admin token.
const ownTokenStdin = "keystile-own-token-stdin"
