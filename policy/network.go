package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxNetworks is how many addresses and ranges one key may list.
const MaxNetworks = 200

// Networks is an immutable set of address ranges that a key may be used from. A nil *Networks stands for "no restriction".
type Networks struct {
	// v4 is sorted by address, then by prefix length. CIDR ranges are disjoint or nested, so the last entry that starts at or
	// below an address, or one that encloses it, contains the address if any does.
	v4 []network4
	v6 []netip.Prefix // sorted; only where the operator allows IPv6
}

type network4 struct {
	start  uint32
	bits   uint8
	parent int16 // index of the entry that encloses this one, or -1
}

func (n network4) contains(ip uint32) bool { return (ip^n.start)>>(32-n.bits) == 0 }

// NetworkError says which entry of a list is wrong, and what would be right.
type NetworkError struct {
	Index  int    // from 0; -1: the list as a whole
	Text   string // the entry as given, cut to 64 bytes
	Reason string
}

// Error names the position and the reason.
func (e *NetworkError) Error() string {
	if e.Index < 0 {
		return e.Reason
	}
	return fmt.Sprintf("entry %d, %q: %s", e.Index+1, e.Text, e.Reason)
}

// ParseNetworks compiles a list of IPv4 addresses and CIDR ranges, and IPv6 ones if allowed. An IPv4-mapped IPv6 range is
// taken as the IPv4 range it is. Nothing is repaired: a range with host bits set, a /0, a duplicate, leading zeros and
// anything else unclear is refused, since a key that is open to a wrong network looks exactly like one that is not. A nil
// or empty list is refused too (fail closed): "no restriction" must be said by the caller, never by accident.
func ParseNetworks(list []string, allowIPv6 bool) (*Networks, error) {
	if len(list) == 0 {
		return nil, &NetworkError{Index: -1, Reason: "the list is empty: name at least one address or range; null lifts the restriction"}
	}
	if len(list) > MaxNetworks {
		return nil, &NetworkError{Index: -1, Reason: fmt.Sprintf("there are %d entries: at most %d are allowed", len(list), MaxNetworks)}
	}
	n := new(Networks)
	seen := make(map[netip.Prefix]int, len(list))
	for i, text := range list {
		p, reason := parseNetwork(text, allowIPv6)
		if reason == "" {
			if first, ok := seen[p]; ok {
				reason = fmt.Sprintf("it is the same as [%d]", first)
			}
		}
		if reason != "" {
			return nil, &NetworkError{Index: i, Text: cut(text, 64), Reason: reason}
		}
		seen[p] = i
		if p.Addr().Is4() {
			a := p.Addr().As4()
			n.v4 = append(n.v4, network4{start: binary.BigEndian.Uint32(a[:]), bits: uint8(p.Bits())})
		} else {
			n.v6 = append(n.v6, p)
		}
	}
	n.v4 = slices.Clip(n.v4)
	slices.SortFunc(n.v4, func(a, b network4) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.bits, b.bits))
	})
	for i := range n.v4 {
		parent := i - 1
		for parent >= 0 && !n.v4[parent].contains(n.v4[i].start) {
			parent = int(n.v4[parent].parent)
		}
		n.v4[i].parent = int16(parent)
	}
	slices.SortFunc(n.v6, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return n, nil
}

// ParseNetworksText is ParseNetworks for a list in one string, separated by spaces, tabs or line ends.
func ParseNetworksText(bulk string, allowIPv6 bool) (*Networks, error) {
	// Counted first: a huge text must not become a huge slice.
	count, inside := 0, false
	for i := range len(bulk) {
		space := isSeparator(rune(bulk[i]))
		if !space && !inside {
			count++
		}
		inside = !space
	}
	if count > MaxNetworks {
		return nil, &NetworkError{Index: -1, Reason: fmt.Sprintf("there are %d entries: at most %d are allowed", count, MaxNetworks)}
	}
	return ParseNetworks(strings.FieldsFunc(bulk, isSeparator), allowIPv6)
}

func isSeparator(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == '\r' }

// parseNetwork reads one entry. reason is "" if it is good.
func parseNetwork(text string, allowIPv6 bool) (p netip.Prefix, reason string) {
	address, length, ranged := strings.Cut(text, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || strings.ContainsAny(length, ",;") {
		return p, addressReason(text)
	}
	if a.Zone() != "" {
		return p, "an address with a zone means a different host on every machine"
	}
	bits := a.BitLen()
	if ranged {
		if bits, reason = parseLength(length, a.BitLen()); reason != "" {
			return p, reason
		}
	}
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	p = netip.PrefixFrom(a, bits)
	switch {
	case a.Is6() && !allowIPv6:
		return p, "IPv6 is not allowed here: give an IPv4 address or range, or set the option ipv6_ranges"
	case bits == 0:
		return p, "a /0 range is every address; null lifts the restriction"
	case p.Masked() != p:
		return p, fmt.Sprintf("the range has host bits set: the range that it lies in is %s, the single address %s", p.Masked(), a)
	}
	return p, ""
}

// parseLength reads a prefix length without sign and leading zeros.
func parseLength(s string, most int) (int, string) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || len(s) > 3 {
			return 0, fmt.Sprintf("the part behind the slash must be a number from 1 to %d", most)
		}
		n = n*10 + int(s[i]-'0')
	}
	switch {
	case len(s) > 1 && s[0] == '0':
		return 0, "the part behind the slash has a leading zero"
	case s == "" || n > most:
		return 0, fmt.Sprintf("the part behind the slash must be a number from 1 to %d", most)
	}
	return n, ""
}

// addressReason says why an address was not read, in the most useful words.
func addressReason(s string) string {
	if strings.ContainsAny(s, ",;") {
		return "entries are separated by spaces or line ends"
	}
	if strings.Count(s, ".") == 3 && !strings.Contains(s, ":") {
		for part := range strings.SplitSeq(s, ".") {
			if len(part) > 1 && part[0] == '0' {
				return "an address must not have leading zeros: some systems read them as octal"
			}
		}
	}
	return "it is neither an address such as 203.0.113.7 nor a range such as 203.0.113.0/24"
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// Contains says whether the address lies in one of the ranges. An IPv4-mapped IPv6 address is its IPv4 address; the zero
// address ("unknown") lies in none, and neither does any in a nil set: ask only where there is a restriction.
func (n *Networks) Contains(a netip.Addr) bool {
	if n == nil {
		return false
	}
	a = a.Unmap()
	if !a.Is4() {
		for _, p := range n.v6 {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	b := a.As4()
	ip := binary.BigEndian.Uint32(b[:])
	low, high := 0, len(n.v4)
	for low < high {
		if mid := (low + high) / 2; n.v4[mid].start <= ip {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for i := low - 1; i >= 0; i = int(n.v4[i].parent) {
		if n.v4[i].contains(ip) {
			return true
		}
	}
	return false
}

// Len is the number of entries.
func (n *Networks) Len() int {
	if n == nil {
		return 0
	}
	return len(n.v4) + len(n.v6)
}

// Strings is the canonical text: sorted, IPv4 first, a single address without its length. Parsing it gives an equal set.
func (n *Networks) Strings() []string {
	if n == nil {
		return nil
	}
	out := make([]string, 0, n.Len())
	for _, e := range n.v4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], e.start)
		out = append(out, networkText(netip.PrefixFrom(netip.AddrFrom4(b), int(e.bits))))
	}
	for _, p := range n.v6 {
		out = append(out, networkText(p))
	}
	return out
}

func networkText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
