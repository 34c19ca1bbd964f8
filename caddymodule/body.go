package caddymodule

import (
	"io"
	"net/http"
)

// requestBody counts what the next handler reads, and cleans the trailers in the moment in which they arrive. It is part
// of its exchange.
type requestBody struct {
	io.ReadCloser
	x *exchange
}

// Read hands out the body. The server fills in the trailers, announced or not, in the call that answers io.EOF; a proxy
// reads them right after it.
func (b *requestBody) Read(p []byte) (int, error) {
	if b.x.revoked.Load() {
		return 0, errRevoked
	}
	n, err := b.ReadCloser.Read(p)
	b.x.bytesIn.Add(int64(n))
	if err == io.EOF {
		b.x.handler.screen.stripTrailers(b.x.request.Trailer)
	}
	return n, err
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
