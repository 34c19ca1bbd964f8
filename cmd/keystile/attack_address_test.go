package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestF1_SpoofedAddress: no header of an untrusted peer moves its address into the key's range.
func TestF1_SpoofedAddress(t *testing.T) {
	b := theBed(t)
	inside := "203.0.113.5"
	for _, line := range []string{
		"X-Forwarded-For: " + inside,
		"X-Real-IP: " + inside,
		"Forwarded: for=" + inside,
		"True-Client-IP: " + inside,
		"CF-Connecting-IP: " + inside,
		"X-Client-IP: " + inside,
		"X-Cluster-Client-IP: " + inside,
		"Fastly-Client-IP: " + inside,
		"X-Originating-IP: " + inside,
		"Client-IP: " + inside,
		"X_Forwarded_For: " + inside,
		"X-Forwarded-For: " + inside + ", " + gatetest.TrustedProxy,
		"X-Envoy-External-Address: " + inside,
	} {
		b.denied(t, b.any, get("/v1/customers", b.SKIP.Token, line), ipNotAllowed)
		// A trusted proxy vouches for X-Forwarded-For alone.
		if line[:15] != "X-Forwarded-For" {
			b.deniedFrom(t, gatetest.TrustedProxy, b.any,
				get("/v1/customers", b.SKIP.Token, line, "X-Forwarded-For: 198.51.100.9"), ipNotAllowed)
		}
	}
}

// TestF2_ForwardedFor: behind a trusted proxy the right-most address that is no trusted proxy decides; what cannot be read
// denies.
func TestF2_ForwardedFor(t *testing.T) {
	b := theBed(t)
	allowed := [][]string{
		{"X-Forwarded-For: 203.0.113.5"},
		{"X-Forwarded-For: 203.0.113.5, 10.0.0.1"},
		{"X-Forwarded-For: 198.51.100.9, 203.0.113.5"},
		{"X-Forwarded-For: 198.51.100.9", "X-Forwarded-For: 203.0.113.5"},
		{"X-Forwarded-For: junk, 203.0.113.5"},
		{"X-Forwarded-For: ::ffff:203.0.113.5"},
		{"X-Forwarded-For: 203.0.113.255,10.0.0.1,10.0.0.1"},
	}
	for _, lines := range allowed {
		answer := b.sendFrom(t, gatetest.TrustedProxy, b.any, get("/v1/customers", b.SKIP.Token, lines...))
		if answer.Status != 200 {
			t.Errorf("%q: got %d, want 200; body %.200s", lines, answer.Status, answer.Body)
		}
	}
	denied := [][]string{
		nil,
		{"X-Forwarded-For: 203.0.113.5, 198.51.100.9"},
		{"X-Forwarded-For: 203.0.113.5, 198.51.100.9, 10.0.0.1"},
		{"X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 198.51.100.9"},
		{"X-Forwarded-For: 203.0.113.5", "X-Forwarded-For: 198.51.100.9, 10.0.0.1"},
		{"X-Forwarded-For:"},
		{"X-Forwarded-For: 203.0.113.5, "},
		{"X-Forwarded-For: 203.0.113.5, unknown"},
		{"X-Forwarded-For: 203.0.113.5, junk, 10.0.0.1"},
		{"X-Forwarded-For: 203.0.113.5.evil"},
		{"X-Forwarded-For: 203.0.113.05"},
		{"X-Forwarded-For: 0xcb.0.0x71.5"},
		{"X-Forwarded-For: 3405803781"},
		{"X-Forwarded-For: 203.0.113"},
		{"X-Forwarded-For: 203.0.113.0/24"},
		{"X-Forwarded-For: fe80::1%eth0"},
		{"X-Forwarded-For: ::203.0.113.5"},
		{"X-Forwarded-For: 64:ff9b::203.0.113.5"},
		{"X-Forwarded-For: 2002:cb00:7105::"},
		{"X-Forwarded-For: 10.0.0.1"},
		{"X-Forwarded-For: \"203.0.113.5\", 198.51.100.9"},
		{"X-Forwarded-For: 203.0.113.5;198.51.100.9"},
		{"X-Forwarded-For: 203.0.113.5 198.51.100.9"},
	}
	for _, lines := range denied {
		b.deniedFrom(t, gatetest.TrustedProxy, b.any, get("/v1/customers", b.SKIP.Token, lines...), ipNotAllowed)
	}
}

// TestF4_MappedAddress: an IPv4 address is the same in its IPv6 clothes, in the peer and in the list.
func TestF4_MappedAddress(t *testing.T) {
	b := theBed(t)
	mapped := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "mapped",
		"ip_ranges": []string{"::ffff:203.0.113.0/120"}})
	if len(mapped.IPRanges) != 1 || mapped.IPRanges[0] != "203.0.113.0/24" {
		t.Errorf("got ip_ranges %v, want the IPv4 form", mapped.IPRanges)
	}
	for _, address := range []string{"203.0.113.5", "::ffff:203.0.113.5", "::ffff:cb00:7105"} {
		answer := b.sendFrom(t, gatetest.TrustedProxy, b.any, get("/v1/customers", mapped.Token, "X-Forwarded-For: "+address))
		if answer.Status != 200 {
			t.Errorf("%s: got %d, want 200", address, answer.Status)
		}
	}
	local := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "local",
		"ip_ranges": []string{"127.0.0.77"}})
	for _, site := range []string{b.any, b.dual} { // b.dual listens on both, where peers of IPv4 may look mapped
		if answer := b.sendFrom(t, "127.0.0.77", site, get("/v1/customers", local.Token)); answer.Status != 200 {
			t.Errorf("%s: got %d from the right peer, want 200", site, answer.Status)
		}
		b.deniedFrom(t, "127.0.0.78", site, get("/v1/customers", local.Token), ipNotAllowed)
	}
	_, port, _ := net.SplitHostPort(b.dual)
	conn, err := net.Dial("tcp6", "[::1]:"+port)
	if err != nil {
		t.Logf("this machine has no IPv6 loopback: %v", err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, get("/v1/customers", local.Token)); err != nil {
		t.Fatal(err)
	}
	answer, err := gatetest.ReadAnswer(bufio.NewReader(conn), "GET")
	if err != nil {
		t.Fatal(err)
	}
	b.checkDenial(t, answer, ipNotAllowed)
}

// TestIPRanges: ranges that are not what they look like are refused by position and nothing is saved.
func TestIPRanges(t *testing.T) {
	b := theBed(t)
	key := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "ranges",
		"ip_ranges": []string{"127.0.0.50"}})
	tests := []struct {
		name   string
		ranges any
		param  string
	}{
		{"host bits", []string{"10.0.0.1", "10.0.0.1/8"}, "ip_ranges[1]"},
		{"everything", []string{"0.0.0.0/0"}, "ip_ranges[0]"},
		{"duplicate", []string{"10.0.0.1", "10.0.0.1"}, "ip_ranges[1]"},
		{"duplicate in other form", []string{"10.0.0.1", "10.0.0.1/32"}, "ip_ranges[1]"},
		{"duplicate, mapped", []string{"10.0.0.1", "::ffff:10.0.0.1"}, "ip_ranges[1]"},
		{"leading zero", []string{"010.0.0.1"}, "ip_ranges[0]"},
		{"IPv6", []string{"2001:db8::/32"}, "ip_ranges[0]"},
		{"junk", []string{"10.0.0.1", "10.0.0.2", "office"}, "ip_ranges[2]"},
		{"junk in a string", "10.0.0.1 10.0.0.2\noffice", "ip_ranges[2]"},
		{"empty list", []string{}, "ip_ranges"},
		{"empty string", "", "ip_ranges"},
		{"empty entry", []string{""}, "ip_ranges[0]"},
		{"port", []string{"10.0.0.1:80"}, "ip_ranges[0]"},
		{"prefix too long", []string{"10.0.0.0/33"}, "ip_ranges[0]"},
		{"number", 5, "ip_ranges"},
		{"false", false, "ip_ranges"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body, err := b.Admin.Call("PATCH", "/v1/keys/"+key.ID, gatetest.Fields{"ip_ranges": tt.ranges, "name": "changed"})
			if err != nil {
				t.Fatal(err)
			}
			e, err := gatetest.ParseError(body)
			if err != nil || status != 400 || e.Param != tt.param {
				t.Errorf("got %d param %q (%v), want 400 with %q; body %s", status, e.Param, err, tt.param, body)
			}
			got := b.Admin.GetKey(t, key.ID)
			if fmt.Sprint(got.IPRanges) != "[127.0.0.50]" || got.Name != "ranges" {
				t.Errorf("a refused edit was saved: %v %q", got.IPRanges, got.Name)
			}
		})
	}
	b.Admin.EditKey(t, key.ID, gatetest.Fields{"ip_ranges": "127.0.0.51 127.0.0.52\n127.0.1.0/24"})
	for address, want := range map[string]int{"127.0.0.50": 403, "127.0.0.51": 200, "127.0.0.52": 200, "127.0.1.200": 200, "127.0.2.1": 403} {
		if got := b.sendFrom(t, address, b.any, get("/v1/customers", key.Token)).Status; got != want {
			t.Errorf("from %s: got %d, want %d", address, got, want)
		}
	}
	b.Admin.EditKey(t, key.ID, gatetest.Fields{"ip_ranges": nil})
	b.passes(t, b.any, get("/v1/customers", key.Token))
}
