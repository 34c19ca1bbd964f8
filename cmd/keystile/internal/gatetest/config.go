package gatetest

import (
	"strings"
	"testing"
)

// Config is a Caddyfile in parts. Texts are lines as they stand in the block; indentation does not matter.
type Config struct {
	Global   string // further global options of Caddy
	Keystile string // inside the global block keystile
	Sites    string // site blocks
}

// Text is the Caddyfile of c for a gateway: its admin address, no certificates from the outside, no saved config.
func (c Config) Text(g *Gateway) string {
	var b strings.Builder
	b.WriteString("{\n\tadmin " + g.AdminAddr + "\n\tpersist_config off\n\tauto_https disable_redirects\n\tgrace_period 5s\n")
	for line := range strings.Lines(c.Global) {
		b.WriteString("\t" + strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteString("\tkeystile {\n")
	for line := range strings.Lines(c.Keystile) {
		b.WriteString("\t\t" + strings.TrimRight(line, "\n") + "\n")
	}
	b.WriteString("\t}\n}\n" + c.Sites + "\n")
	return b.String()
}

// Launch prepares and starts a gateway with a configuration, for the time of the test.
func Launch(tb testing.TB, c Config) *Gateway {
	tb.Helper()
	g := New(tb)
	g.WriteConfig(tb, c.Text(g))
	g.Start(tb)
	return g
}
