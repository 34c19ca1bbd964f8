// Command keystile is Caddy with Keystile built in: `keystile run`, `keystile key create`, and all of Caddy's commands.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/keystile/keystile"
)

func main() {
	caddycmd.Main()
}
