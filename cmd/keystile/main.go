// Command keystile is Caddy with Keystile built in: `keystile run`, `keystile key create`, and all of Caddy's commands.
package main

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/keystile/keystile"
)

func main() {
	caddy.CustomBinaryName = "keystile"
	caddy.CustomLongDescription = "Keystile gives any HTTP API the key system that Stripe has for its own. It is Caddy with a gateway built in: " +
		"run, start, reload and validate are Caddy's; org, account, sandbox, key, log, explain, catalog and scan manage a running gateway's keys."
	tuneGC()
	caddycmd.Main()
}
