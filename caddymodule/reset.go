package caddymodule

import (
	"net/http"
	"time"
)

// HTTP/2 lets a client open streams and reset them at once, as fast as it can write, without ever waiting for an answer (CVE-2023-44487). The
// server bounds how many are worked on at a time; what it does for each is done for nothing all the same. So a connection whose client
// gives up many requests at once is ended (GOAWAY): its other streams are served, and what it opens from then on is dropped
// unread. A client that is not an attacker sends that again by another connection.

// How many requests one peer may give up at once: within resetSoon, and before their answer begins. Who gives up later has waited for a
// slow backend.
const (
	resetRate  = 50 // a second
	resetBurst = 200
	resetSoon  = 100 * time.Millisecond
)

// newResets makes the throttle of requests that are given up.
func newResets() *throttle { return newBuckets(resetRate, resetBurst) }

// reset says whether the client has given up the request. The context of the request that is handed on ends for other reasons too.
func (x *exchange) reset() bool {
	return x.asked.ProtoMajor == 2 && x.asked.Context().Err() != nil
}

// countReset takes note of a request that was given up at once, and ends the connection of a peer that does so
// all the time. The connections of trusted proxies carry other people's requests: they stay.
func (x *exchange) countReset() {
	if x.response.wrote || !x.reset() || trustedPeer(x.asked.Context()) || x.gate.now().Sub(x.start) > resetSoon {
		return
	}
	if x.gate.resets.allow(peerAddress(x.asked.RemoteAddr), x.start) {
		return
	}
	x.gate.metrics.resets.Inc()
	x.response.Header()["Connection"] = []string{"close"} // an order to the server: HTTP/2 has no such header
}

// letGo clears the deadline that Caddy's writer has set on a stream which is closed: the server would hold the stream, with its request, until
// that has passed, a minute later by default.
func (x *exchange) letGo() {
	if !x.response.wrote || !x.reset() {
		return
	}
	c := http.NewResponseController(x.response.ResponseWriter)
	_ = c.Flush() // fails; what Caddy takes for a deadline that is set keeps it from setting another when the handler is done
	_ = c.SetWriteDeadline(time.Time{})
}
