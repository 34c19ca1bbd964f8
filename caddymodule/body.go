package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// requestBody counts what the next handler reads, and cleans the trailers in the moment in which they arrive. It is part
// of its exchange.
type requestBody struct {
	io.ReadCloser
	x     *exchange
	begun atomic.Bool // somebody reads it
	ended atomic.Bool // it has been read to its end
}

// serverDrains is how much of a body that nobody has read the server reads before it sends the answer, to keep the connection.
const serverDrains = 256 << 10

// abandoned says whether the answer comes while the body is still on its way. A proxy closes such a body, and what follows
// of it must not be taken for the next request of an HTTP/1 connection. The server does not see to that itself: it knows
// only bodies of its own kind, and Caddy puts another around each.
//
// A body of unknown or great length counts as well if nobody has begun to read it. The server would wait for it before it sends
// an answer that may have come from the backend before the proxy got around to reading.
func (b *requestBody) abandoned() bool {
	if b.x == nil || b.ended.Load() { // nobody is handed the body of a request that is denied: see settleBody
		return false
	}
	r := b.x.request
	return r.ProtoMajor == 1 && (b.begun.Load() || r.ContentLength < 0 || r.ContentLength > serverDrains)
}

// Read hands out the body. The server fills in the trailers, announced or not, in the call that answers io.EOF; a proxy
// reads them right after it.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.x.revoked.Load() {
		return 0, errRevoked
	}
	if !b.begun.Load() {
		b.begun.Store(true)
	}
	n, err := b.ReadCloser.Read(p)
	b.x.bytesIn.Add(int64(n))
	b.x.capture.ReadRequest(p[:max(n, 0)])
	if errors.Is(err, io.EOF) {
		b.ended.Store(true)
		b.x.handler.screen.stripTrailers(b.x.request.Trailer)
	}
	return n, err
}

// How much of a denied request's body is read, and for how long, to keep its connection.
const (
	maxDrained = 64 << 10
	drainTime  = 200 * time.Millisecond
)

// settleBody deals with the body of an HTTP/1 request that is denied before anybody has read it. The server would read it
// before it sends the answer, for as long as its read timeout allows, so that a client which announces a body and does
// not send it holds the connection for a minute. A body that is there already is read, so that the connection can be used
// again; else the connection ends with the answer. Other protocols have streams of their own.
func (x *exchange) settleBody(h http.Header) {
	r := x.request
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 || h["Connection"] != nil {
		return
	}
	if r.ContentLength <= maxDrained && len(r.Header["Expect"]) == 0 && x.drain() {
		return
	}
	h["Connection"] = []string{"close"}
	// The server closes the body once more after the answer, by reading on: not now.
	_ = http.NewResponseController(x.response.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
}

// drain says whether the whole body could be read at once. What has been read of it is gone either way.
func (x *exchange) drain() bool {
	control := http.NewResponseController(x.response.ResponseWriter)
	// The server's clock, not the gateway's: it is the kernel that waits.
	if control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return true // no such thing as waiting here
	}
	n, err := io.CopyN(io.Discard, x.request.Body, maxDrained+1)
	x.bytesIn.Add(n)
	if !errors.Is(err, io.EOF) {
		return false
	}
	return control.SetReadDeadline(time.Time{}) == nil
}

// stripTrailers removes every trailer whose name means something to the gateway. None of them may come at the end of a
// body: the decision has been made long before, and a backend that merges trailers into headers would take them for
// the gateway's.
func (s *headerScreen) stripTrailers(trailer http.Header) {
	for name := range trailer {
		if class, _ := s.classify(name); class != classPlain {
			delete(trailer, name)
		}
	}
}
