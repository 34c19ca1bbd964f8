package caddymodule

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// FuzzClientAddress: behind a trusted proxy the client is the right-most hop that is no trusted proxy, whatever stands left of it; a hop
// that cannot be read on the way there makes the client unknown; an address is never one that is mapped, or has a zone.
func FuzzClientAddress(f *testing.F) {
	for _, s := range [][2]string{
		{"203.0.113.5", ""}, {"203.0.113.5, 198.51.100.9", ""}, {"203.0.113.5", "198.51.100.9"}, {"x, 198.51.100.9", "10.0.0.1"}, {"[::1]:80, 10.0.0.1:9", ""},
		{"::ffff:203.0.113.5", ""}, {"fe80::1%eth0", ""}, {",", ""}, {"198.51.100.9,", ""}, {" 10.1.1.1 ,\t10.0.0.1", "10.0.0.2"}, {strings.Repeat("10.0.0.1,", 40), "10.0.0.1"},
		{"010.0.0.1", ""}, {"1.2.3.4 5.6.7.8", ""}, {"_hidden", ""}, {"[::1", ""}, {"[1.2.3.4]", ""},
	} {
		f.Add(s[0], s[1])
	}
	c := newCaddy(f)
	c.mustLoad(c.config("servers {\ntrusted_proxies static 10.0.0.0/8\n}", "", "keystile"))
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		f.Fatal(err)
	}
	var server *caddyhttp.Server
	for _, only := range app.(*caddyhttp.App).Servers {
		server = only
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := request("GET", "/", "")
		lines := []string{first}
		if second != "" {
			lines = append(lines, second)
		}
		r.Header["X-Forwarded-For"] = lines
		got := clientAddress(r, server, true)
		if got.IsValid() && (got.Is4In6() || got.Zone() != "") {
			t.Fatalf("%q gives %v", lines, got)
		}
		if want := rightmost(lines); got != want {
			t.Fatalf("%q gives %v, want %v", lines, got, want)
		}
		// What a client writes stands to the left of what the proxy appends, and changes nothing.
		r.Header["X-Forwarded-For"] = []string{first, second, "198.51.100.77"}
		if got := clientAddress(r, server, true); got != netip.MustParseAddr("198.51.100.77") {
			t.Fatalf("%q before the proxy's own entry gives %v", lines, got)
		}
		if got := clientAddress(r, server, false); got != netip.MustParseAddr("198.51.100.9") {
			t.Fatalf("%q from an untrusted peer gives %v", lines, got)
		}
	})
}

// rightmost is the definition, written anew.
func rightmost(lines []string) (client netip.Addr) {
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	hops := strings.Split(strings.Join(lines, ","), ",")
	for n := range hops {
		hop := strings.TrimSpace(hops[len(hops)-1-n])
		if n == maxHops {
			return netip.Addr{}
		}
		addr, err := netip.ParseAddr(hop)
		if err != nil {
			port, perr := netip.ParseAddrPort(hop)
			addr = port.Addr()
			if perr != nil {
				inner := strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]")
				if len(inner) != len(hop)-2 || !strings.Contains(inner, ":") {
					return netip.Addr{}
				}
				if addr, err = netip.ParseAddr(inner); err != nil {
					return netip.Addr{}
				}
			}
		}
		if client = addr.Unmap().WithZone(""); !trusted.Contains(client) {
			return client
		}
	}
	return client
}
