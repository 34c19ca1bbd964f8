package caddymodule

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/keystile/keystile/requestlog"
)

// maxSniffed is how much of an error answer's body is looked at for the record.
const maxSniffed = 2 << 10

// largeAnswer is the announced length from which on an answer is watched like a stream: it may take long.
const largeAnswer = 1 << 20

// responseWriter counts an answer, puts the gateway's headers on it, and lets a stream be ended. It is part of its
// exchange, so that it costs no allocation. Caddy's own response recorder would cost two, and would set no headers.
type responseWriter struct {
	http.ResponseWriter
	x      *exchange
	status int
	bytes  atomic.Int64 // body bytes sent; of a hijacked connection, bytes written to it
	wrote  bool         // the final header is out
	// sniffed holds the beginning of an error answer's JSON body; nil means that it is not wanted.
	sniffed  []byte
	coding   string // Content-Encoding of what is sniffed
	captured bool   // the body is shown to the capture
}

// Unwrap lets http.ResponseController reach deadlines and full-duplex mode. Flush and Hijack are answered here.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader puts the gateway's headers on the final answer.
func (w *responseWriter) WriteHeader(status int) {
	if w.wrote {
		w.ResponseWriter.WriteHeader(status) // the server logs the superfluous call
		return
	}
	if status < 100 || status > 999 {
		status = http.StatusBadGateway // a backend may say "HTTP/1.1 000", and the server would panic over it
	}
	if status == http.StatusContinue {
		if _, expected := w.x.request.Header["Expect"]; !expected {
			return // nobody waits for it: the short way passes over it, too
		}
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

// begin takes note of the final status and completes the headers.
func (w *responseWriter) begin(status int) {
	w.wrote = true
	w.status = status
	h := w.Header()
	w.x.stamp(h)
	if status != http.StatusSwitchingProtocols {
		w.x.settleUnread(h)
	}
	if w.x.body.abandoned() {
		h["Connection"] = []string{"close"}
	}
	if status >= http.StatusBadRequest && !w.x.denied && jsonAnswer(h) {
		w.sniffed = make([]byte, 0, maxSniffed)
		w.coding = coding(h)
	}
	if w.x.capture != nil {
		w.captured = w.x.captureResponse(status, h)
	}
	if long := h["Content-Length"]; len(long) == 1 && len(long[0]) > 6 {
		if n, err := strconv.ParseInt(long[0], 10, 64); err == nil && n >= largeAnswer {
			w.x.watch(nil)
		}
	}
}

// jsonAnswer says whether the body of an answer is JSON, whatever kind of it, and however it is packed.
func jsonAnswer(h http.Header) bool {
	types := h["Content-Type"]
	if len(types) != 1 {
		return false
	}
	kind, _, _ := strings.Cut(types[0], ";")
	return requestlog.IsJSON(strings.ToLower(strings.TrimSpace(kind)))
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.wrote {
		w.begin(http.StatusOK)
	}
	if w.x.revoked.Load() && !w.x.denied {
		return 0, errRevoked
	}
	w.sniff(p)
	n, err := w.ResponseWriter.Write(p)
	w.bytes.Add(int64(n))
	if w.captured {
		w.x.capture.WroteResponse(p[:max(n, 0)])
	}
	return n, err
}

// maxPiece is how much is handed to the server at once: between two pieces a revocation is seen.
const maxPiece = 256 << 10

// ReadFrom keeps the kernel's way of sending files open.
func (w *responseWriter) ReadFrom(src io.Reader) (total int64, err error) {
	if !w.wrote {
		w.begin(http.StatusOK)
	}
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || w.sniffed != nil || w.captured {
		return io.Copy(writerOnly{w}, src)
	}
	// A limited reader around a file is known to the kernel's way, one around another is not.
	piece, rest := io.LimitedReader{R: src}, int64(math.MaxInt64)
	limited, ok := src.(*io.LimitedReader)
	if ok {
		piece.R, rest = limited.R, limited.N
	}
	for rest > 0 {
		if w.x.revoked.Load() {
			return total, errRevoked
		}
		size := min(rest, maxPiece)
		piece.N = size
		n, err := to.ReadFrom(&piece)
		taken := size - piece.N
		total, rest = total+n, rest-taken
		if limited != nil {
			limited.N = rest
		}
		w.bytes.Add(n)
		if err != nil || taken < size {
			return total, err
		}
	}
	return total, nil
}

type writerOnly struct{ io.Writer }

// sniff keeps the beginning of an error answer.
func (w *responseWriter) sniff(p []byte) {
	if room := cap(w.sniffed) - len(w.sniffed); room > 0 {
		w.sniffed = append(w.sniffed, p[:min(room, len(p))]...)
	}
}

// FlushError is what http.ResponseController calls. Whoever flushes before the end is sending a stream, and from then on
// the key is looked at again every second.
func (w *responseWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.x.watch(nil)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush serves handlers that ask for an http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// Push passes on HTTP/2 server push.
func (w *responseWriter) Push(target string, opts *http.PushOptions) error {
	if pusher, ok := w.ResponseWriter.(http.Pusher); ok {
		return pusher.Push(target, opts)
	}
	return http.ErrNotSupported
}

// Hijack hands out the connection, counted and under watch.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	inner, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if release := w.x.handler.app.retain(); release != nil {
		// A server that shuts down does not wait for such connections; the record must still find its log.
		w.x.release = release
	}
	if !w.wrote { // whoever hijacks without a header writes the answer by hand
		w.wrote, w.status = true, http.StatusSwitchingProtocols
	}
	conn := &hijackedConn{Conn: inner, x: w.x}
	buffers.Writer.Reset(conn)
	if waiting := buffers.Reader.Buffered(); waiting > 0 {
		// What the server has read ahead belongs to the new protocol: hand it out first, then the connection.
		ahead, _ := buffers.Reader.Peek(waiting)
		w.x.bytesIn.Add(int64(waiting))
		buffers.Reader.Reset(io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn))
		_, _ = buffers.Reader.Peek(waiting) // makes Buffered answer the truth again
	} else {
		buffers.Reader.Reset(conn)
	}
	w.x.watch(inner)
	return conn, buffers, nil
}

// hijackedConn counts what goes over a connection that has left HTTP.
type hijackedConn struct {
	net.Conn
	x *exchange
}

func (c *hijackedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.x.bytesIn.Add(int64(n))
	return n, err
}

func (c *hijackedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.x.response.bytes.Add(int64(n))
	return n, err
}

// ReadFrom and WriteTo keep the kernel's way of moving bytes between sockets open.
func (c *hijackedConn) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(c.Conn, src)
	c.x.response.bytes.Add(n)
	return n, err
}

// WriteTo is ReadFrom in the other direction.
func (c *hijackedConn) WriteTo(dst io.Writer) (int64, error) {
	n, err := io.Copy(dst, c.Conn)
	c.x.bytesIn.Add(n)
	return n, err
}

// CloseWrite lets a proxy pass on the end of one direction.
func (c *hijackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

var (
	_ http.ResponseWriter = (*responseWriter)(nil)
	_ http.Flusher        = (*responseWriter)(nil)
	_ http.Hijacker       = (*responseWriter)(nil)
	_ http.Pusher         = (*responseWriter)(nil)
	_ io.ReaderFrom       = (*responseWriter)(nil)
)
