package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
)

// target answers the canonical path that the request is judged by, and whether the request's target is one that every
// backend reads in the same way.
//
// The decision is made on r.URL as it stands when the directive runs, because that is what the next handler sends on: an
// earlier rewrite is the operator's word on where the request goes. What the client wrote is checked as well, so that no
// ambiguous target gets through by being rewritten.
func target(r *http.Request) (path string, ok bool) {
	u := r.URL
	// Only origin-form is served. In absolute-form the target names a host of its own, "//admin/x" looks like one, and
	// "*" is no resource.
	if u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || u.Fragment != "" || u.RawFragment != "" {
		return "", false
	}
	escaped := u.EscapedPath()
	path, ok = policy.CanonicalPath(escaped)
	if !ok || !plainQuery(u.RawQuery) {
		return "", false
	}
	raw := rawTarget(r)
	if raw == "" { // made inside of Caddy, not received
		return path, true
	}
	rawPath, query, _ := strings.Cut(raw, "?")
	if query != u.RawQuery && !plainQuery(query) {
		return "", false
	}
	if rawPath != escaped {
		if _, ok = policy.CanonicalPath(rawPath); !ok {
			return "", false
		}
	}
	return path, true
}

// rawTarget is the target as the client sent it, before any rewrite.
func rawTarget(r *http.Request) string {
	_, target := received(r)
	return target
}

// received are method and target as the client sent them, before any rewrite.
func received(r *http.Request) (method, target string) {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.Method, original.RequestURI
	}
	return r.Method, r.RequestURI
}

// plainQuery refuses what has no place in a query and is read in several ways: fragments, spaces, control characters.
// The query takes no part in any decision.
func plainQuery(query string) bool {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// judgedMethod answers the method that the request is judged by, and whether it is one that is never served.
//
// CONNECT opens a tunnel and TRACE echoes headers, credentials included. The one CONNECT that is served is that of a
// WebSocket over HTTP/2 or HTTP/3 (RFC 8441, RFC 9220): Caddy turns it into a GET with Upgrade, and so it is judged.
func judgedMethod(r *http.Request) (method string, refused bool) {
	switch r.Method {
	case http.MethodTrace:
		return r.Method, true
	case http.MethodConnect:
		if extendedConnect(r) {
			return http.MethodGet, false
		}
		return r.Method, true
	case "":
		return http.MethodGet, false
	default:
		return r.Method, false
	}
}

// extendedConnect says whether a CONNECT is the handshake of a WebSocket, by the same signs that Caddy goes by.
func extendedConnect(r *http.Request) bool {
	switch r.ProtoMajor {
	case 2:
		return r.Header.Get(":protocol") == "websocket"
	case 3:
		return r.Proto == "websocket"
	default:
		return false
	}
}

// hostAgrees says whether the request names one host only. Over HTTP/2 a Host header may stand beside :authority, and
// Go routes by the latter and keeps the former.
func hostAgrees(r *http.Request) bool {
	lines, ok := r.Header["Host"]
	if !ok {
		return true
	}
	return len(lines) == 1 && strings.EqualFold(lines[0], r.Host)
}

// earlyData says whether the request may be a replay: it came before the handshake was complete, or an earlier proxy
// says so (RFC 8470).
func earlyData(r *http.Request) bool {
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return true
	}
	_, marked := r.Header["Early-Data"]
	return marked
}
