package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseNetworks(t *testing.T) {
	t.Parallel()
	many := make([]string, MaxNetworks+1)
	for i := range many {
		many[i] = fmt.Sprintf("10.0.%d.%d", i/256, i%256)
	}
	if _, err := ParseNetworks(many[:MaxNetworks], false); err != nil {
		t.Errorf("%d entries: got %v, want none", MaxNetworks, err)
	}
	for _, tt := range []struct {
		name  string
		in    []string
		v6    bool
		want  string // canonical, or the reason
		index int    // of the error; -2: none
	}{
		{"single and range", []string{"203.0.113.0/24", "100.10.38.255"}, false, "100.10.38.255 203.0.113.0/24", -2},
		{"a /32 is an address", []string{"1.2.3.4/32"}, false, "1.2.3.4", -2},
		{"the whole of /1", []string{"128.0.0.0/1"}, false, "128.0.0.0/1", -2},
		{"nested ranges", []string{"10.1.0.0/16", "10.0.0.0/8", "10.1.2.3"}, false, "10.0.0.0/8 10.1.0.0/16 10.1.2.3", -2},
		{"mapped range", []string{"::ffff:203.0.113.0/120"}, false, "203.0.113.0/24", -2},
		{"mapped address", []string{"::FFFF:cb00:7107"}, false, "203.0.113.7", -2},
		{"IPv6 where allowed", []string{"2001:DB8::/32", "1.2.3.4", "2001:db8::1"}, true, "1.2.3.4 2001:db8::/32 2001:db8::1", -2},

		{"nil", nil, false, "null lifts the restriction", -1},
		{"empty", []string{}, false, "null lifts the restriction", -1},
		{"too many", many, false, "there are 201 entries: at most 200 are allowed", -1},
		{"host bits", []string{"1.2.3.4", "10.0.0.1/8"}, false, "host bits set: the range that it lies in is 10.0.0.0/8, the single address 10.0.0.1", 1},
		{"everything", []string{"0.0.0.0/0"}, false, "every address; null lifts", 0},
		{"everything, mapped", []string{"::ffff:0.0.0.0/96"}, false, "every address; null lifts", 0},
		{"everything, IPv6", []string{"::/0"}, true, "every address; null lifts", 0},
		{"comma", []string{"1.2.3.4", "10.0.0.0/8,", "1.2.3.5"}, false, "separated by spaces or line ends", 1},
		{"duplicate", []string{"1.2.3.4", "1.2.3.5", "1.2.3.4"}, false, "the same as [0]", 2},
		{"duplicate in another spelling", []string{"1.2.3.4", "1.2.3.4/32"}, false, "the same as [0]", 1},
		{"duplicate as mapped", []string{"203.0.113.0/24", "::ffff:203.0.113.0/120"}, false, "the same as [0]", 1},
		{"leading zeros", []string{"010.0.0.1"}, false, "leading zeros", 0},
		{"leading zero in the length", []string{"10.0.0.0/08"}, false, "leading zero", 0},
		{"no length", []string{"10.0.0.0/"}, false, "a number from 1 to 32", 0},
		{"length too large", []string{"10.0.0.0/33"}, false, "a number from 1 to 32", 0},
		{"length of many digits", []string{"10.0.0.0/99999999999999999999"}, false, "a number from 1 to 32", 0},
		{"signed length", []string{"10.0.0.0/+8"}, false, "a number from 1 to 32", 0},
		{"two slashes", []string{"10.0.0.0/8/8"}, false, "a number from 1 to 32", 0},
		{"IPv6", []string{"2001:db8::/32"}, false, "IPv6 is not allowed here", 0},
		{"mapped range that is wider than IPv4", []string{"::ffff:0:0/80"}, true, "host bits", 0},
		{"zone", []string{"fe80::1%eth0"}, true, "zone", 0},
		{"three parts", []string{"10.0.0"}, false, "neither an address", 0},
		{"a number", []string{"167772161"}, false, "neither an address", 0},
		{"hexadecimal", []string{"0x0a.0.0.1"}, false, "leading zeros", 0},
		{"a name", []string{"localhost"}, false, "neither an address", 0},
		{"empty entry", []string{""}, false, "neither an address", 0},
		{"space inside", []string{" 1.2.3.4"}, false, "neither an address", 0},
		{"comma", []string{"1.2.3.4,1.2.3.5"}, false, "separated by spaces or line ends", 0},
		{"range with a dash", []string{"1.2.3.4-1.2.3.9"}, false, "neither an address", 0},
		{"huge entry", []string{strings.Repeat("9", 1e5)}, false, "neither an address", 0},
	} {
		n, err := ParseNetworks(tt.in, tt.v6)
		if tt.index == -2 {
			if err != nil {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
				continue
			}
			if got := strings.Join(n.Strings(), " "); got != tt.want || n.Len() != len(tt.in) {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
			if back, err := ParseNetworks(n.Strings(), tt.v6); err != nil || !slices.Equal(back.Strings(), n.Strings()) {
				t.Errorf("%s: the canonical text gives %v, %v", tt.name, back.Strings(), err)
			}
			continue
		}
		var e *NetworkError
		if n != nil || !errors.As(err, &e) || e.Index != tt.index || !strings.Contains(e.Error(), tt.want) || len(e.Error()) > 400 {
			t.Errorf("%s: got %v, %v, want entry %d: %s", tt.name, n.Strings(), err, tt.index, tt.want)
		}
	}
}

func TestParseNetworksText(t *testing.T) {
	t.Parallel()
	n, err := ParseNetworksText("  1.2.3.4\r\n10.0.0.0/8\t192.0.2.1 \n", false)
	if err != nil || strings.Join(n.Strings(), " ") != "1.2.3.4 10.0.0.0/8 192.0.2.1" {
		t.Errorf("got %v, %v", n.Strings(), err)
	}
	for in, want := range map[string]string{
		" \n":                           "null lifts the restriction",
		"1.2.3.4\u00a01.2.3.5":          "entry 1, ",
		"1.2.3.4\n010.2.3.4":            `entry 2, "010.2.3.4": `,
		strings.Repeat("1.2.3.4 ", 1e6): "there are 1000000 entries: at most 200",
	} {
		if n, err := ParseNetworksText(in, false); n != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30q: got %v, %v, want %s", in, n.Strings(), err, want)
		}
	}
}

func TestNetworksContains(t *testing.T) {
	t.Parallel()
	n, err := ParseNetworks([]string{"203.0.113.0/24", "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "255.255.255.255", "0.0.0.0/8", "2001:db8::/32"}, true)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]bool{
		"203.0.113.0": true, "203.0.113.255": true, "203.0.112.255": false, "203.0.114.0": false,
		"10.0.0.0": true, "10.1.2.3": true, "10.1.2.4": true, "10.200.0.1": true, "11.0.0.0": false, "9.255.255.255": false,
		"255.255.255.255": true, "255.255.255.254": false, "0.0.0.0": true, "1.0.0.0": false,
		"::ffff:203.0.113.5": true, "::ffff:198.51.100.9": false,
		"2001:db8::1": true, "2001:db9::1": false, "::1": false, "fe80::1%eth0": false,
	} {
		if got := n.Contains(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s: got %v, want %v", in, got, want)
		}
	}
	if n.Contains(netip.Addr{}) {
		t.Error("the unknown address must lie in no range")
	}
	if (*Networks)(nil).Contains(netip.MustParseAddr("10.0.0.1")) || (*Networks)(nil).Len() != 0 || (*Networks)(nil).Strings() != nil {
		t.Error("a nil set must contain nothing")
	}
}

// The search over nested ranges must agree with asking each of them.
func TestNetworksAgreeWithEachRange(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var list []string
		var each []netip.Prefix
		for range 1 + r.IntN(60) {
			// Few different bits, so that ranges nest and touch.
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), byte(r.IntN(4) * 64), byte(r.IntN(4))}), 6+r.IntN(27)).Masked()
			if !slices.Contains(each, p) {
				each, list = append(each, p), append(list, p.String())
			}
		}
		n, err := ParseNetworks(list, false)
		if err != nil {
			t.Fatalf("%v: %v", list, err)
		}
		for range 200 {
			a := netip.AddrFrom4([4]byte{byte(8 + r.IntN(5)), byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(5))})
			want := slices.ContainsFunc(each, func(p netip.Prefix) bool { return p.Contains(a) })
			if got := n.Contains(a); got != want {
				t.Fatalf("%s in %v: got %v, want %v", a, list, got, want)
			}
		}
	}
}

func FuzzParseNetworksText(f *testing.F) {
	f.Add("1.2.3.4 10.0.0.0/8\n::ffff:203.0.113.0/120", true)
	f.Add("010.0.0.1 1.2.3.4/0 fe80::%1/64", true)
	f.Fuzz(func(t *testing.T, bulk string, v6 bool) {
		n, err := ParseNetworksText(bulk, v6)
		if err != nil {
			if n != nil {
				t.Error("got a set and an error")
			}
			return
		}
		if n.Len() == 0 {
			t.Errorf("%q gives an empty set", bulk)
		}
		back, err := ParseNetworks(n.Strings(), v6)
		if err != nil || !slices.Equal(back.Strings(), n.Strings()) {
			t.Errorf("%q: the canonical text %q gives %v", bulk, n.Strings(), err)
		}
		for _, s := range n.Strings() {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				p = netip.PrefixFrom(netip.MustParseAddr(s), netip.MustParseAddr(s).BitLen())
			}
			if p.Bits() == 0 || p != p.Masked() || !v6 && !p.Addr().Is4() || !n.Contains(p.Addr()) {
				t.Errorf("%q: bad range %s", bulk, s)
			}
		}
	})
}
