package caddymodule

import (
	"net/http"
	"net/textproto"
	"strings"
)

// settleUpgrade lets a request ask for a WebSocket, and for no other protocol.
//
// After a 101 the connection is a tunnel: whatever the client writes reaches the backend unjudged. With "h2c" or "TLS/1.0"
// that would be further requests, with identity headers of the client's own. A WebSocket's frames are no requests. So an
// upgrade stays if it is the one that RFC 6455 describes; over HTTP/2 and HTTP/3 it comes as an extended CONNECT and
// without this header. Every other request goes on as if it had not asked, which RFC 9110 (section 7.8) lets a server do.
//
// Http2-Settings, the other half of h2c, is removed with the overrides.
func settleUpgrade(r *http.Request) {
	lines, asked := r.Header["Upgrade"]
	if !asked || r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor >= 1 &&
		len(lines) == 1 && strings.EqualFold(lines[0], "websocket") {
		return
	}
	delete(r.Header, "Upgrade")
	dropConnectionToken(r.Header, "upgrade")
}

// dropConnectionToken removes one option from the Connection header.
func dropConnectionToken(h http.Header, name string) {
	var kept []string
	for _, value := range h["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); token != "" && !strings.EqualFold(token, name) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}
