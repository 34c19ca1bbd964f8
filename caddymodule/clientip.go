package caddymodule

import (
	"context"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxHops bounds how far back a chain of proxies is followed. A longer list is not believed: the client is unknown.
const maxHops = 32

// trustedPeer says whether the connection comes from one of Caddy's trusted proxies.
func trustedPeer(ctx context.Context) bool {
	trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// clientAddress answers who sent the request: the peer, or, where the peer is one of Caddy's trusted proxies, the
// right-most address of the forwarding header that is no trusted proxy. Each proxy appends the address that it saw, so
// everything further left was written by whoever sits there.
//
// Caddy's own client_ip is not used: unless trusted_proxies_strict is set it takes the left-most address, which the
// client chooses, and in either setting it passes over what it cannot parse. Here an address that cannot be parsed makes
// the client unknown, the zero Addr, which no range contains (fail closed).
//
// v4-mapped addresses are unmapped and zones are dropped.
func clientAddress(r *http.Request, server *caddyhttp.Server, trusted bool) netip.Addr {
	peer := peerAddress(r.RemoteAddr)
	if !trusted || server == nil {
		return peer
	}
	for _, name := range server.ClientIPHeaders {
		// All lines of the header in order: a second line is the continuation of the first.
		if values := r.Header[http.CanonicalHeaderKey(name)]; len(values) > 0 {
			return rightmostUntrusted(r, server, values)
		}
	}
	return peer
}

// peerAddress parses the address of the other end of the connection. Unix sockets have none.
func peerAddress(remote string) netip.Addr {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return plainAddr(ap.Addr())
	}
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Addr{}
	}
	return plainAddr(addr)
}

// rightmostUntrusted walks the list from its end. If every hop is a trusted proxy, the first of them sent the request
// itself and is the client.
func rightmostUntrusted(r *http.Request, server *caddyhttp.Server, values []string) netip.Addr {
	var client netip.Addr
	hops := 0
	for i := len(values) - 1; i >= 0; i-- {
		rest := values[i]
		for more := true; more; {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				hop, rest = rest[comma+1:], rest[:comma]
			} else {
				hop, more = rest, false
			}
			addr := hopAddress(hop)
			if hops++; !addr.IsValid() || hops > maxHops {
				return netip.Addr{} // fail closed
			}
			if client = addr; !trustedHop(r, server, addr) {
				return client
			}
		}
	}
	return client
}

// hopAddress parses one entry of a forwarding header: an address, or an address with a port.
func hopAddress(hop string) netip.Addr {
	hop = strings.TrimSpace(hop)
	if addr, err := netip.ParseAddr(hop); err == nil {
		return plainAddr(addr)
	}
	if ap, err := netip.ParseAddrPort(hop); err == nil {
		return plainAddr(ap.Addr())
	}
	if inner, ok := strings.CutPrefix(hop, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok && strings.Contains(inner, ":") {
			if addr, err := netip.ParseAddr(inner); err == nil {
				return plainAddr(addr)
			}
		}
	}
	return netip.Addr{}
}

// plainAddr drops the zone and the v4-in-v6 form, so that one host has one address.
func plainAddr(addr netip.Addr) netip.Addr {
	return addr.Unmap().WithZone("")
}

// trustedHop asks Caddy whether a connection from this address would be one of a trusted proxy. Caddy keeps its source of
// trusted ranges to itself, and the source may be dynamic, so it is asked in the way that it is asked for a real
// request. This costs about a microsecond, and only on requests that come through a trusted proxy.
func trustedHop(r *http.Request, server *caddyhttp.Server, addr netip.Addr) bool {
	probe := &http.Request{
		Method:     http.MethodGet,
		URL:        r.URL,
		Header:     http.Header{},
		RemoteAddr: netip.AddrPortFrom(addr, 1).String(),
	}
	// Caddy's own range sources need no request; foreign ones may look for the replacer in the context.
	prepared := caddyhttp.PrepareRequest(probe, caddy.NewEmptyReplacer(), nil, server)
	return trustedPeer(prepared.Context())
}
