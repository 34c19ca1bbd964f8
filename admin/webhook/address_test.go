package webhook

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPublic(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"93.184.216.34": true, "8.8.8.8": true, "1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "11.0.0.1": true,
		"2606:2800:220:1:248:1893:25c8:1946": true, "2a00:1450:4001::1": true, "64:ff9b::808:808": true, "::ffff:8.8.8.8": true,

		"127.0.0.1": false, "127.255.255.254": false, "0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.168.0.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "192.0.2.1": false, "198.18.0.1": false,
		"198.51.100.7": false, "203.0.113.9": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false,
		"255.255.255.255": false,

		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false, "fec0::1": false,
		"ff02::1": false, "2001:db8::1": false, "2001::1": false, "2001:0:4136:e378::": false, "2002:7f00:1::": false, "3fff::1": false,
		"::127.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:169.254.169.254": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::a00:1": false, "64:ff9b:1::808:808": false, "100::1": false,
		"2606:2800::1%eth0": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("public(%s) = %t, want %t", text, got, want)
		}
	}
	if public(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	s := newSender()
	for address, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true,
		"127.0.0.1:443": false, "[::1]:443": false, "[::ffff:127.0.0.1]:443": false, "[64:ff9b::7f00:1]:443": false, "[fe80::1%1]:443": false,
		"localhost:443": false, "": false, "93.184.216.34": false, "@abstract": false,
	} {
		if err := s.control("tcp", address, nil); (err == nil) != want {
			t.Errorf("control(%q) = %v, want allowed %t", address, err, want)
		}
	}
	s.private.Store(true)
	if err := s.control("tcp", "127.0.0.1:80", nil); err != nil {
		t.Errorf("allowed, but %v", err)
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://example.com/hooks": "", "https://93.184.216.34:8443/": "", "https://[2606:2800:220:1::1]/": "",
		"http://example.com/": "https", "https://127.0.0.1/": "public", "https://[::1]/": "public", "https://[::ffff:10.0.0.1]/": "public",
		"https://localhost/": "public", "https://LOCALHOST.:443/": "public", "https://a.localhost/": "public", "https://[fe80::1%25eth0]/": "public",
		"https://169.254.169.254/latest": "public",
	} {
		err := CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("CheckURL(%s) = %v, want %q", text, err, want)
		}
	}
}
