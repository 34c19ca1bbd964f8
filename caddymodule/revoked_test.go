package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
)

// idleWriter does what Caddy's idle timeouts do: it sets a deadline of its own before each piece of an answer, which wipes
// that of a revocation.
type idleWriter struct {
	header http.Header
	status int
	pieces []int64
	before func(piece int) // called before each piece

	mu        sync.Mutex
	deadlines int // in the past, set by the sweep
}

func (w *idleWriter) Header() http.Header               { return w.header }
func (w *idleWriter) WriteHeader(status int)            { w.status = status }
func (w *idleWriter) Write(p []byte) (int, error)       { return len(p), nil }
func (w *idleWriter) Flush()                            {}
func (w *idleWriter) SetReadDeadline(_ time.Time) error { return nil }

func (w *idleWriter) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.Before(time.Now()) {
		w.deadlines++
	}
	return nil
}

func (w *idleWriter) ReadFrom(src io.Reader) (int64, error) {
	if w.before != nil {
		w.before(len(w.pieces))
	}
	n, err := io.Copy(io.Discard, src)
	w.pieces = append(w.pieces, n)
	return n, err
}

// through sends a request with a live key through the handler into this writer.
func (g *testGateway) through(w http.ResponseWriter, r *http.Request, backend caddyhttp.HandlerFunc) error {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
	return g.handler.ServeHTTP(w, r, backend)
}

// sweptByHand replaces the registry of open streams by one whose sweeps the test makes.
func sweptByHand(t *testing.T) {
	t.Helper()
	registry := openStreams
	t.Cleanup(func() { openStreams = registry })
	openStreams = &streamRegistry{interval: time.Hour}
	openStreams.running.Store(true)
}

// TestDownloadsOfRevokedKeysEnd: between two pieces the revocation is seen, however fast they go out, and with the size that
// is left to send still right.
func TestDownloadsOfRevokedKeysEnd(t *testing.T) {
	sweptByHand(t)
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	const size = 10 * maxPiece
	limited := &io.LimitedReader{R: bytes.NewReader(make([]byte, 2*size)), N: size}
	var failure error
	w := &idleWriter{header: make(http.Header), before: func(piece int) {
		if piece != 3 {
			return
		}
		if _, err := g.store.DeleteKey(context.Background(), testActor, key.ID); err != nil {
			t.Error(err)
		}
		if ended := openStreams.sweep(); ended != 1 {
			t.Errorf("the sweep ended %d streams, want 1", ended)
		}
	}}
	err := g.through(w, request("GET", "/v1/customers", token), func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Length", "2621440")
		_, failure = w.(io.ReaderFrom).ReadFrom(limited)
		return nil
	})
	if err != nil || !errors.Is(failure, errRevoked) {
		t.Errorf("handler %v, copying %v; want nothing and errRevoked", err, failure)
	}
	if len(w.pieces) != 4 || limited.N != size-4*maxPiece {
		t.Errorf("%d pieces, %d bytes left; want 4 and %d", len(w.pieces), limited.N, size-4*maxPiece)
	}
}

// TestPieces: whole bodies go out whole, whatever their size and kind of reader.
func TestPieces(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, size := range []int64{0, 1, maxPiece - 1, maxPiece, maxPiece + 1, 3*maxPiece + 5} {
		for _, limit := range []int64{-1, 0, size / 2, size, size + 1, 10 * size} {
			want := size
			var src io.Reader = bytes.NewReader(make([]byte, size))
			if limit >= 0 {
				src, want = io.LimitReader(src, limit), min(size, limit)
			}
			w := &idleWriter{header: make(http.Header)}
			var n int64
			var failure error
			if err := g.through(w, request("GET", "/v1/charges", g.live), func(w http.ResponseWriter, _ *http.Request) error {
				n, failure = w.(io.ReaderFrom).ReadFrom(src)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			sum := int64(0)
			for _, piece := range w.pieces {
				sum += piece
			}
			if failure != nil || n != want || sum != want {
				t.Errorf("size %d, limit %d: %d copied, %d arrived, error %v; want %d", size, limit, n, sum, failure, want)
			}
		}
	}
}

// TestEndedUntilGone: what ends a stream is done at each sweep, because it may be undone.
func TestEndedUntilGone(t *testing.T) {
	sweptByHand(t)
	g := newGateway(t, nil)
	key, token := g.restricted(readCustomers())
	w := &idleWriter{header: make(http.Header)}
	client, server := net.Pipe()
	defer client.Close()
	err := g.through(hijackable{w, server}, request("GET", "/v1/customers", token), func(rw http.ResponseWriter, _ *http.Request) error {
		_ = http.NewResponseController(rw).Flush() // now it is under watch
		if _, err := g.store.DeleteKey(context.Background(), testActor, key.ID); err != nil {
			t.Error(err)
		}
		for sweep, want := range []int{1, 0, 0} {
			if ended := openStreams.sweep(); ended != want {
				t.Errorf("sweep %d ended %d streams, want %d", sweep, ended, want)
			}
		}
		if w.deadlines != 3 {
			t.Errorf("%d deadlines in the past after three sweeps, want one each", w.deadlines)
		}
		if n, err := rw.Write([]byte("more")); n != 0 || !errors.Is(err, errRevoked) {
			t.Errorf("a write after the end: %d, %v", n, err)
		}
		// it may still leave HTTP in that moment
		if _, _, err := http.NewResponseController(rw).Hijack(); err != nil {
			t.Error(err)
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the connection of an ended stream is open: %v", err)
		}
		return nil
	})
	if err != nil || openStreams.open.Load() != 0 {
		t.Errorf("error %v, %d streams left", err, openStreams.open.Load())
	}
}

// TestUploadsAreWatched: a long body, or one of unknown length, is under watch before the next handler has it; its end is
// an answer that names the key's fault, not the backend's.
func TestUploadsAreWatched(t *testing.T) {
	sweptByHand(t)
	g := newGateway(t, nil)
	for _, test := range []struct {
		length  int64
		watched bool
	}{{0, false}, {1, false}, {largeUpload - 1, false}, {largeUpload, true}, {-1, true}} {
		_, token := g.restricted(map[string]policy.Access{"charges": policy.AccessWrite})
		r := request("POST", "/v1/charges", token)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), test.length
		open := int64(-1)
		if err := g.through(&idleWriter{header: make(http.Header)}, r, func(http.ResponseWriter, *http.Request) error {
			open = openStreams.open.Load()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if (open == 1) != test.watched || openStreams.open.Load() != 0 {
			t.Errorf("length %d: %d under watch, %d afterwards; want watched %v", test.length, open, openStreams.open.Load(), test.watched)
		}
	}

	key, token := g.restricted(map[string]policy.Access{"charges": policy.AccessWrite})
	r := request("POST", "/v1/charges", token)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
	w := &idleWriter{header: make(http.Header)}
	err := g.through(w, r, func(_ http.ResponseWriter, r *http.Request) error {
		if _, err := r.Body.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if _, err := g.store.DeleteKey(context.Background(), testActor, key.ID); err != nil {
			t.Error(err)
		}
		openStreams.sweep()
		if !errors.Is(context.Cause(r.Context()), errRevoked) {
			t.Errorf("the context says %v", context.Cause(r.Context()))
		}
		_, err := r.Body.Read(make([]byte, 5))
		if !errors.Is(err, errRevoked) {
			t.Errorf("the body says %v", err)
		}
		return caddyhttp.HandlerError{StatusCode: 502, Err: err, Trace: "reverseproxy.statusError"}
	})
	if err != nil || w.status != 401 || w.header.Get("Connection") != "close" {
		t.Errorf("status %d, Connection %q, error %v; want 401 and close: the rest of the body is no request", w.status, w.header.Get("Connection"), err)
	}
	if rec := g.lastRecord(); rec.Decision != "api_key_expired" || rec.Status != 401 {
		t.Errorf("record: %d %s, want 401 api_key_expired", rec.Status, rec.Decision)
	}
}

// hijackable is a writer that hands out a connection.
type hijackable struct {
	*idleWriter
	conn net.Conn
}

func (w hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// TestAbandonedBodies: a backend that answers before it has read the body, and one that is gone, leave a rest on the
// connection; the server must not read a request from it.
func TestAbandonedBodies(t *testing.T) {
	g := newWireGateway(t, "", "keystile")
	hasty, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hasty.Close()
	go func() {
		for {
			conn, err := hasty.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			// It lingers, as servers do: closed with bytes unread, the connection would be reset and the answer lost.
			_ = conn.(*net.TCPConn).CloseWrite()
			go func() {
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}()
		}
	}()
	// The second one never reads the body, as a proxy has not that is answered before it begins to.
	for _, next := range []string{"reverse_proxy " + hasty.Addr().String(), "respond 413"} {
		g.anew()
		g.mustLoad(g.config("", wireCatalog, "keystile\n"+next))
		g.answersAndEnds(413)
	}
}

// answersAndEnds sends the heads of requests and the beginnings of their bodies: each must be answered without the rest, and
// the rest must not be taken for a request.
func (g *wireGateway) answersAndEnds(status int) {
	t := g.t
	t.Helper()
	head := "POST /v1/customers HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.secret + "\r\n"
	rest := "GET /v1/customers HTTP/1.1\r\nHost: " + g.site + "\r\nAuthorization: Bearer " + g.secret + "\r\n\r\n"
	for _, framing := range []string{"Content-Length: 500000\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"} {
		conn, err := net.Dial("tcp", g.site)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, head+framing)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil || answer.StatusCode != status || !answer.Close {
			t.Fatalf("answer %v, %v; want %d and the end of the connection", answer, err, status)
		}
		_, _ = io.WriteString(conn, rest)
		if text, err := io.ReadAll(reader); len(text) > 0 {
			t.Errorf("the rest of the body was answered: %q, %v", text, err)
		}
	}
}
