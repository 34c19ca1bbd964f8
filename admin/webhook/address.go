package webhook

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
)

// closedV4 are the IPv4 addresses that are not on the public internet, and those at which clouds tell machines about
// themselves.
var closedV4 = prefixes(
	"0.0.0.0/8",        // this network, and unspecified
	"10.0.0.0/8",       // private
	"100.64.0.0/10",    // behind a provider's NAT; 100.100.100.200 is a metadata service
	"127.0.0.0/8",      // loopback
	"168.63.129.16/32", // a cloud's own services, at an address that looks public
	"169.254.0.0/16",   // link-local, and the metadata services
	"172.16.0.0/12",    // private
	"192.0.0.0/24",     // of protocols; 192.0.0.192 is a metadata service
	"192.0.2.0/24",     // documentation
	"192.31.196.0/24",  // anycast to what is near
	"192.52.193.0/24",  // the same
	"192.88.99.0/24",   // 6to4 relays
	"192.168.0.0/16",   // private
	"192.175.48.0/24",  // anycast to what is near
	"198.18.0.0/15",    // benchmarks
	"198.51.100.0/24",  // documentation
	"203.0.113.0/24",   // documentation
	"224.0.0.0/4",      // multicast
	"240.0.0.0/4",      // reserved, and broadcast
)

// IPv6 is closed but for the global unicast range, and there these are closed:
var (
	openV6   = netip.MustParsePrefix("2000::/3")
	closedV6 = prefixes(
		"2001::/23",     // of protocols; Teredo, which carries IPv4, is one
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, which carries IPv4
		"3fff::/20",     // documentation
	)
	// nat64 carries an IPv4 address in its last four bytes, which is judged in its place. Other prefixes of a network's own
	// NAT64 lie in ranges that are closed, or cannot be told from any others.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, text := range list {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// public says whether an address is on the public internet. What it cannot read is not: fail closed.
func public(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	a = a.Unmap() // ::ffff:127.0.0.1 connects to 127.0.0.1
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	closed := closedV4
	if a.Is6() {
		if !openV6.Contains(a) {
			return false
		}
		closed = closedV6
	}
	for _, p := range closed {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// CheckURL says what of a URL would keep every delivery to it from being made, if private addresses and plain HTTP are not
// allowed. It is a help for who sets an endpoint up, and no protection: that is the check of each connection.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("the URL cannot be read")
	}
	if u.Scheme != "https" {
		return errors.New("want https: unencrypted deliveries need the option webhooks allow_private")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	a, err := netip.ParseAddr(host)
	if err == nil && !public(a) || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return errors.New("this address is not public: deliveries to it need the option webhooks allow_private")
	}
	return nil
}
