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
	gone  bool        // nobody wanted it, and the connection does not wait for it any more
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
	if b.x == nil || b.gone || b.ended.Load() { // nobody is handed the body of a request that is denied: see settleBody
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

// patience is how much of a body that nobody wants is read, and for how long, to keep its connection.
type patience struct {
	length int64
	time   time.Duration
}

var (
	withDenied = patience{64 << 10, 200 * time.Millisecond}
	// Who was let in may be on a slow line, and a connection that ends while the body is on its way takes the answer with it.
	withAllowed = patience{serverDrains, 2 * time.Second}
)

// settleBody deals with the body of a request that the gateway answers itself, before anybody has read it.
func (x *exchange) settleBody(h http.Header) {
	n, _ := settleBody(x.response.ResponseWriter, x.request, x.request.Body, h, withDenied)
	x.bytesIn.Add(n)
}

// settleUnread is settleBody for an answer of the next handler that comes, with these headers, before anybody has begun to read
// the body: it is the answer of one that does not want it, as respond, or the 502 of a proxy that reached nobody. A
// server that is told to do both at once (enable_full_duplex) leaves the body alone by itself.
func (x *exchange) settleUnread(h http.Header) {
	b := &x.body
	if b.x == nil || b.gone || b.begun.Load() || x.handler.server != nil && x.handler.server.EnableFullDuplex {
		return
	}
	n, whole := settleBody(x.response.ResponseWriter, x.request, b.ReadCloser, h, withAllowed)
	x.bytesIn.Add(n)
	b.gone = whole
}

// settleUnanswered deals with the body where the next handler has written nothing. If it returned an error, Caddy answers, by a writer of its
// own; the site's error routes may read a body that nobody has begun to read.
func (x *exchange) settleUnanswered(err error) {
	h := x.response.Header()
	if err == nil || !x.handler.errorRoutes() {
		x.settleUnread(h)
	}
	if x.body.abandoned() {
		h["Connection"] = []string{"close"}
	}
}

// errorRoutes says whether the site answers errors by routes (handle_errors).
func (h *Handler) errorRoutes() bool {
	return h.server != nil && h.server.Errors != nil && len(h.server.Errors.Routes) > 0
}

// settleBody deals with the body of an HTTP/1 request that is about to be answered with these headers, and that nobody has read
// or will read. The server would read it before it sends the answer, for as long as its read timeouts allow:
// a client that announces a body and does not send it would get no answer and hold the connection. A body that is
// there already is read, so that the connection can be used again; else the connection ends with the answer. Other protocols
// have streams of their own. It answers how much was read, and whether that was all.
func settleBody(w http.ResponseWriter, r *http.Request, body io.Reader, h http.Header, p patience) (n int64, whole bool) {
	if r.ProtoMajor != 1 || body == nil || body == http.NoBody || r.ContentLength == 0 {
		return 0, true
	}
	if h["Connection"] == nil && r.ContentLength <= p.length && len(r.Header["Expect"]) == 0 {
		if n, whole = p.drain(w, body); whole {
			return n, true
		}
	}
	h["Connection"] = []string{"close"}
	// The server closes the body once more after the answer, by reading on: not now.
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	return n, false
}

// drain says whether the whole body could be read at once. What has been read of it is gone either way.
func (p patience) drain(w http.ResponseWriter, body io.Reader) (n int64, whole bool) {
	control := http.NewResponseController(w)
	// The server's clock, not the gateway's: it is the kernel that waits.
	if control.SetReadDeadline(time.Now().Add(p.time)) != nil {
		return 0, false // a writer that hides the connection: it might wait for ever
	}
	n, err := io.CopyN(io.Discard, body, p.length+1)
	return n, errors.Is(err, io.EOF) && control.SetReadDeadline(time.Time{}) == nil
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
