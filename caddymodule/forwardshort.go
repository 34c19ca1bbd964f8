package caddymodule

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// shortWay takes ordinary requests to a backend and back in the request's own goroutine: it writes the request to a
// connection that it keeps, reads the answer from there, and hands it on. Caddy's proxy clones the request for each try and
// goes through net/http's transport, which has two more goroutines for each connection; that is half of its cost.
//
// It takes only what it can do in full. The rest, and every request whose backend could not be reached, is the proxy's: so
// failover, health and all options are Caddy's, and there is one behaviour to know.
type shortWay struct {
	proxy       *reverseproxy.Handler
	selection   reverseproxy.Selector
	backends    map[*reverseproxy.Upstream]*backend // constant
	requestOps  *headers.HeaderOps
	responseOps *headers.HeaderOps
	flush       bool          // every piece of an answer at once
	headTime    time.Duration // that a backend has for the head of its answer; 0: no bound
	headSize    int64
}

// maxShortBody is the longest body that the short way carries. It is read whole before the backend has anything of it, so
// that a slow client holds no connection to a backend, and a request can be sent once more.
const maxShortBody = 16 << 10

// newShortWay answers nil if the proxy is set up for something that the short way does not do.
func newShortWay(proxy *reverseproxy.Handler) *shortWay {
	transport, plain := plainTransport(proxy)
	if !plain || !canProbe || !shortWayFits(proxy) {
		return nil
	}
	s := &shortWay{
		proxy: proxy, selection: proxy.LoadBalancing.SelectionPolicy,
		backends: make(map[*reverseproxy.Upstream]*backend, len(proxy.Upstreams)),
		flush:    proxy.FlushInterval < 0, headTime: time.Duration(transport.ResponseHeaderTimeout),
		headSize: transport.MaxResponseHeaderSize,
	}
	if s.headSize <= 0 {
		s.headSize = maxAnswerHead
	}
	if h := proxy.Headers; h != nil {
		s.requestOps = h.Request
		if h.Response != nil {
			s.responseOps = h.Response.HeaderOps
		}
	}
	for _, upstream := range proxy.Upstreams {
		b := newBackend(upstream, transport)
		if b == nil {
			return nil
		}
		s.backends[upstream] = b
	}
	return s
}

// newBackend answers nil if the address is not one that is known before the request, or if it is behind another proxy.
func newBackend(upstream *reverseproxy.Upstream, transport *reverseproxy.HTTPTransport) *backend {
	if strings.Contains(upstream.Dial, "{") || upstream.MaxRequests != 0 {
		return nil
	}
	address, err := caddy.ParseNetworkAddress(upstream.Dial)
	if err != nil || address.PortRangeSize() != 1 {
		return nil
	}
	switch address.Network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil
	}
	b := &backend{
		network: address.Network, address: address.JoinHostPort(0), host: address.Host,
		dialTime: time.Duration(transport.DialTimeout), fallbackDelay: time.Duration(transport.FallbackDelay),
		probeInterval: time.Duration(transport.KeepAlive.ProbeInterval),
		maxIdle:       transport.KeepAlive.MaxIdleConnsPerHost, idleTime: time.Duration(transport.KeepAlive.IdleConnTimeout),
	}
	if address.StartPort != 0 {
		b.port = address.StartPort
	}
	if address.Network == "unix" {
		return b
	}
	through, err := transport.Transport.Proxy(&http.Request{URL: &url.URL{Scheme: "http", Host: b.address}, Header: http.Header{}})
	if err != nil || through != nil {
		return nil
	}
	return b
}

func (s *shortWay) close() {
	for _, b := range s.backends {
		b.close()
	}
}

// ServeHTTP implements caddyhttp.Handler. w is the exchange's own writer.
func (s *shortWay) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	rw, ok := w.(*responseWriter)
	if !ok || !takesShortWay(r) {
		return s.proxy.ServeHTTP(w, r, nothing)
	}
	var upstream *reverseproxy.Upstream
	if len(s.proxy.Upstreams) == 1 {
		if only := s.proxy.Upstreams[0]; only.Available() {
			upstream = only
		}
	} else {
		upstream = s.selection.Select(s.proxy.Upstreams, r, w)
	}
	b := s.backends[upstream]
	if b == nil {
		return s.proxy.ServeHTTP(w, r, nothing) // it says that none is there, or waits for one
	}
	t := shortTrip{way: s, x: rw.x, backend: b, request: r}
	if r.ContentLength > 0 {
		buf := shortBodies.Get().(*[maxShortBody + 1]byte)
		defer shortBodies.Put(buf)
		var err error
		if t.body, err = readShortBody(r.Body, buf[:r.ContentLength+1]); err != nil {
			return t.failBody(err)
		}
	}
	if again, err := t.run(); !again {
		return err
	}
	// Nothing has come of it, and the request may be sent once more: the proxy's turn, and its word on what went wrong.
	rw.x.verdict.upstream = nil
	if t.body != nil {
		// A copy: the proxy's transport may read on after the proxy has returned, when the room is another request's.
		r.Body = io.NopCloser(bytes.NewReader(bytes.Clone(t.body)))
	}
	return s.proxy.ServeHTTP(w, r, nothing)
}

// takesShortWay says whether a request is an ordinary one: it switches no protocol, its body is short and of known length,
// and nobody expects a word before the answer.
func takesShortWay(r *http.Request) bool {
	switch {
	case r.ContentLength < 0 || r.ContentLength > maxShortBody || r.Method == http.MethodConnect || len(r.Trailer) > 0:
		return false
	case r.TLS != nil && !r.TLS.HandshakeComplete: // the proxy marks it as early data
		return false
	}
	h := r.Header
	for _, name := range [...]string{"Upgrade", "Expect", "Incremental", "Transfer-Encoding", "Trailer"} {
		if _, ok := h[name]; ok {
			return false
		}
	}
	return plainConnection(h["Connection"])
}

// plainConnection says whether a Connection header names no other header.
func plainConnection(lines []string) bool {
	return !slices.ContainsFunc(lines, func(line string) bool {
		return !strings.EqualFold(line, "keep-alive") && !strings.EqualFold(line, "close")
	})
}

// shortBodies lends room for a body and one byte more, so that its end is read too.
var shortBodies = sync.Pool{New: func() any { return new([maxShortBody + 1]byte) }}

// readShortBody reads a body to its end, which is what says that the client's request is over. room has one byte more than
// was announced.
func readShortBody(body io.Reader, room []byte) ([]byte, error) {
	n, err := io.ReadFull(body, room)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) && n == len(room)-1:
		return room[:n], nil
	case err == nil || errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF // longer or shorter than it was said to be
	default:
		return nil, err
	}
}

// repeatable says whether the request may be sent again when it is not known what became of it (RFC 9110, section 9.2.2).
// Go's transport goes by the same signs.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	_, keyed := r.Header["Idempotency-Key"]
	return keyed
}

// backendFailure is the failure of a backend that was reached, as the client is told it.
type backendFailure struct {
	status int
	err    error
}

func (f *backendFailure) Error() string { return f.err.Error() }
func (f *backendFailure) Unwrap() error { return f.err }

// failBody is the error of a request whose body did not come. Nobody has asked the backend, and the client cannot be told.
func (t *shortTrip) failBody(err error) error {
	var own caddyhttp.HandlerError
	if errors.As(err, &own) || t.x.revoked.Load() {
		return t.fail(err)
	}
	t.x.response.WriteHeader(statusClientGone)
	return nil
}

// fail is the error of a request that got no answer. A client that has gone away is no failure of the backend's.
func (t *shortTrip) fail(err error) error {
	if t.request.Context().Err() != nil && !t.x.revoked.Load() {
		t.x.response.WriteHeader(statusClientGone)
		return nil
	}
	var own caddyhttp.HandlerError
	if errors.As(err, &own) {
		return own // of another handler that reads the body, as request_body
	}
	status := http.StatusBadGateway
	if isTimeout(err) {
		status = http.StatusGatewayTimeout
	}
	return &backendFailure{status, err}
}
