package caddymodule

import (
	"net/http"
	"slices"
	"strings"
)

// headerClass says what a header name means to the gateway, whatever the spelling that it came in.
type headerClass uint8

const (
	// classPlain headers are none of the gateway's business: they pass.
	classPlain headerClass = iota
	// classIdentity headers are written by the gateway only; a client's are removed.
	classIdentity
	// classInput headers are read by the gateway: context, account, version, Origin.
	classInput
	// classCredential headers may carry the key; they are read, then removed.
	classCredential
	// classOverride headers ask a backend to judge another method, path or protocol than the one that was decided on:
	// removed.
	classOverride
	// classForwarded headers say what an earlier proxy saw. Those that rewrite the path or method are removed unless the
	// peer is one of Caddy's trusted proxies.
	classForwarded
	// classAddress headers say who the client is; Caddy's reverse_proxy rewrites those that it knows.
	classAddress
	// classFraming headers say where a message ends or what it is: a Connection header may not remove them.
	classFraming
	// classConnection is the Connection header itself.
	classConnection
)

// Names that every screen knows. Backends and frameworks exist that honour each of the overrides.
var fixedHeaders = map[headerClass][]string{
	classIdentity:   {"Request-Id"}, // of the answer: the gateway's. A client's own would pass for it.
	classInput:      {"Origin"},
	classCredential: {"Authorization"},
	classOverride: {
		"X-Http-Method-Override", "X-Method-Override", "X-Http-Method",
		"X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Rewrite-Url", "X-Envoy-Original-Path",
		"Http2-Settings", // h2c, see settleUpgrade
	},
	classForwarded: {"X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Path", "X-Forwarded-Method"},
	classAddress: {
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
		"X-Forwarded-Ssl", "Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
	},
	classFraming: {
		"Host", "Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding", "Content-Range", "Expect",
		"Cookie", "Idempotency-Key", "Early-Data",
	},
	classConnection: {"Connection"},
}

// maxFolded bounds the names that a screen can know; longer ones can still fall under the identity prefix.
const maxFolded = 64

// headerScreen classifies header names. Names that a CGI-like backend cannot tell apart are the same to it: case is
// ignored, and so is the difference between '-', '_', '.' and every other character that is no letter or digit.
// It is immutable.
type headerScreen struct {
	prefix string // folded identity prefix, "keystile-"
	// known holds the names by their length; there are few of each. firsts holds, for each length, the set of their first
	// letters: nearly every header of a real request is told by it alone.
	known  [maxFolded + 1][]screened
	firsts [maxFolded + 1]uint32
}

// screened is a known name.
type screened struct {
	class     headerClass
	canonical string
	folded    string
}

// newHeaderScreen makes the screen for these names. keyHeader may be empty; addresses are the further headers from
// which Caddy is configured to read the client's address.
func newHeaderScreen(names headerNames, keyHeader string, addresses []string) *headerScreen {
	s := &headerScreen{prefix: foldName(names.prefix)}
	for class, list := range fixedHeaders {
		for _, name := range list {
			s.add(class, name)
		}
	}
	for _, name := range addresses {
		s.add(classAddress, name)
	}
	// Last, so that a configured name wins over a fixed class.
	for _, name := range []string{names.context, names.account, names.version} {
		s.add(classInput, name)
	}
	if keyHeader != "" {
		s.add(classCredential, keyHeader)
	}
	return s
}

func (s *headerScreen) add(class headerClass, name string) {
	folded := foldName(name)
	if folded == "" || len(folded) > maxFolded {
		return
	}
	known := screened{class: class, canonical: http.CanonicalHeaderKey(name), folded: folded}
	list := s.known[len(folded)]
	if i := slices.IndexFunc(list, func(k screened) bool { return k.folded == folded }); i >= 0 {
		list[i] = known
		return
	}
	s.known[len(folded)] = append(list, known)
	s.firsts[len(folded)] |= 1 << (folded[0] & 31)
}

// classify says what the name means. canonical is the one spelling under which the header counts; any other spelling
// is an alias. It does not allocate.
func (s *headerScreen) classify(name string) (class headerClass, canonical string) {
	if name == "" {
		return classPlain, ""
	}
	first := uint32(1) << (name[0] & 31)
	if first == 1<<(s.prefix[0]&31) && s.underPrefix(name) {
		return classIdentity, ""
	}
	if len(name) > maxFolded || s.firsts[len(name)]&first == 0 {
		return classPlain, ""
	}
	list := s.known[len(name)]
	for i := range list {
		if k := &list[i]; k.canonical == name || foldsTo(name, k.folded) {
			return k.class, k.canonical
		}
	}
	return classPlain, ""
}

// foldsTo compares a name with a folded one of the same length.
func foldsTo(name, folded string) bool {
	for i := range len(folded) {
		if fold(name[i]) != folded[i] {
			return false
		}
	}
	return true
}

// underPrefix says whether the name folds to one that starts with the identity prefix. The whole name space is the
// gateway's, also the names that it does not use yet.
func (s *headerScreen) underPrefix(name string) bool {
	if len(name) < len(s.prefix) {
		return false
	}
	for i := range len(s.prefix) {
		if fold(name[i]) != s.prefix[i] {
			return false
		}
	}
	return true
}

// strip removes from a client's headers all that the client has no business to send: identity headers, overrides and
// every alias of a name that the gateway reads. It keeps the canonical spelling of inputs and credentials.
//
// ambiguous says that an input came under two spellings that are the same HTTP header; which of them a backend would
// take is unknown. HTTP servers canonicalise names, so this is never seen from the wire.
func (s *headerScreen) strip(h http.Header, trustedPeer bool) (ambiguous bool) {
	for name := range h {
		class, canonical := s.classify(name)
		switch class {
		case classPlain:
		case classIdentity, classOverride:
			delete(h, name)
		case classForwarded:
			if !trustedPeer || name != canonical {
				delete(h, name)
			}
		default:
			if name == canonical {
				continue
			}
			if class != classAddress && strings.EqualFold(name, canonical) {
				ambiguous = true
			}
			delete(h, name)
		}
	}
	if _, ok := h["Connection"]; ok {
		s.stripConnection(h)
	}
	return ambiguous
}

// fold maps the bytes that CGI-like backends cannot tell apart to one: letters to lower case, and all that is neither
// letter nor digit to '-'.
func fold(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	default:
		return '-'
	}
}

// foldName folds a whole name.
func foldName(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = fold(c)
	}
	return string(b)
}
