package caddymodule

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keystile/keystile/policy"
)

// errRevoked ends a stream whose key no longer allows it.
var errRevoked = errors.New("the API key of this stream is no longer accepted")

// streamSweep is how often the keys of open streams are looked at again; the contract promises five seconds.
const streamSweep = time.Second

// openStreams are the upgraded connections and streams of this process. They outlive a reload of the configuration, so
// their registry does too. Its goroutine runs only while there are any.
var openStreams = &streamRegistry{interval: streamSweep}

// streamRegistry is the set of streams under watch. Entering and leaving cost a lock and a few pointers; an ordinary
// request does neither.
type streamRegistry struct {
	interval time.Duration
	shards   [16]streamShard
	next     atomic.Uint32 // shard for the next stream
	open     atomic.Int64
	running  atomic.Bool // there is a sweeper
}

type streamShard struct {
	mu   sync.Mutex
	head *stream
}

// stream is one exchange under watch; it is part of it. All fields are the shard's lock's.
type stream struct {
	shard      *streamShard // nil: not under watch, or no longer
	prev, next *stream
	x          *exchange
	conn       net.Conn // of a hijacked connection
}

// add puts the stream under watch.
func (g *streamRegistry) add(s *stream) {
	shard := &g.shards[g.next.Add(1)%uint32(len(g.shards))]
	shard.mu.Lock()
	s.shard = shard
	s.next = shard.head
	if s.next != nil {
		s.next.prev = s
	}
	shard.head = s
	shard.mu.Unlock()
	g.open.Add(1)
	if g.running.CompareAndSwap(false, true) {
		go g.run()
	}
}

// remove must be called before the handler returns: afterwards the response writer may no longer be touched.
func (g *streamRegistry) remove(s *stream) {
	shard := s.shard
	shard.mu.Lock()
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		shard.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.shard = nil, nil, nil
	shard.mu.Unlock()
	g.open.Add(-1)
}

// run sweeps until no stream is left. A stream that comes in the last moment either is counted before the last look or
// finds no sweeper and starts the next.
func (g *streamRegistry) run() {
	ticker := time.NewTicker(g.interval)
	defer ticker.Stop()
	for range ticker.C {
		if g.open.Load() == 0 {
			g.running.Store(false)
			if g.open.Load() == 0 || !g.running.CompareAndSwap(false, true) {
				return
			}
		}
		g.sweep()
	}
}

// sweep judges every stream again and ends those that would be refused now. Judging is done without the lock, ending
// with it, so that no stream is touched after its handler has returned. Those that were ended are ended again until they
// are gone: Caddy's idle timeouts set the connection's deadlines anew before each piece of a body.
func (g *streamRegistry) sweep() (ended int) {
	var batch []*stream
	for i := range g.shards {
		shard := &g.shards[i]
		batch = batch[:0]
		shard.mu.Lock()
		for s := shard.head; s != nil; s = s.next {
			batch = append(batch, s)
		}
		shard.mu.Unlock()
		for _, s := range batch {
			again := s.x.revoked.Load()
			var now policy.Decision
			if !again {
				if now = s.x.judgeAgain(); now.Allowed() {
					continue
				}
			}
			shard.mu.Lock()
			if s.shard != nil {
				if !again {
					refusal := now // so that only those that end cost an allocation
					s.x.refusal = &refusal
					ended++
				}
				s.end()
			}
			shard.mu.Unlock()
		}
	}
	return ended
}

// end breaks the stream off in both directions, with the shard's lock held. Which of the ways has an effect depends on
// the protocol and on what the next handler is waiting for, so all are taken.
func (s *stream) end() {
	s.x.revoked.Store(true)
	if s.x.cancel != nil {
		s.x.cancel(errRevoked) // a proxy drops its side of the connection
	}
	if s.conn != nil {
		_ = s.conn.Close()
		return
	}
	// Over HTTP/2 and HTTP/3 a deadline in the past resets the stream. Over HTTP/1.1 it makes the server's background
	// read fail, which cancels the request. Write deadlines are given to the server's own writer, which takes them from any
	// goroutine: Caddy's wrappers keep them in plain fields. Caddy's wrapper for read deadlines has a lock, and keeps ours in
	// mind when it would set one of its own.
	past := time.Unix(1, 0)
	_ = http.NewResponseController(innermost(s.x.response.ResponseWriter)).SetWriteDeadline(past)
	_ = http.NewResponseController(s.x.response.ResponseWriter).SetReadDeadline(past)
}

// innermost answers the server's own response writer.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// judgeAgain judges the stream's request with what the store knows of the key now.
func (x *exchange) judgeAgain() policy.Decision {
	v := &x.verdict
	if v.key == nil {
		return policy.Decision{Reason: policy.ReasonOpen}
	}
	if x.gate.store.Closed() {
		// A reload has changed over to another store: that a key has ended would be heard of there and not here. Fail closed.
		return policy.Decision{Reason: policy.ReasonGatewayUnavailable}
	}
	key, _ := x.gate.store.Lookup(&v.key.Digest)
	if key == nil {
		return policy.Decision{Reason: policy.ReasonAPIKeyInvalid}
	}
	now := x.gate.now()
	if x.outdated(now) {
		return policy.Decision{Reason: policy.ReasonGatewayUnavailable}
	}
	at := x.gate.store.JudgedAt(key, now)
	return x.handler.rules.Decide(&key.Principal, &x.question, x.gate.store.Directory(), at)
}

// watch puts the exchange under watch, once. conn is the connection, if it was hijacked.
func (x *exchange) watch(conn net.Conn) {
	if x.verdict.key == nil {
		return
	}
	if !x.watched.CompareAndSwap(false, true) {
		if conn != nil {
			shard := x.stream.shard
			shard.mu.Lock()
			x.stream.conn = conn
			if x.revoked.Load() {
				_ = conn.Close() // ended while it was on its way out of HTTP
			}
			shard.mu.Unlock()
		}
		return
	}
	x.stream.x, x.stream.conn = x, conn
	openStreams.add(&x.stream)
}

// unwatch ends the watch; it is called once the next handler has returned.
func (x *exchange) unwatch() {
	if x.watched.Load() {
		openStreams.remove(&x.stream)
	}
}

// largeUpload is the announced length from which on a request's body is watched; see largeAnswer.
const largeUpload = 1 << 20

// watchFromStart puts a request under watch that may take long, before the next handler has it: one that asks for a
// stream, and one with a long body, or with one of unknown length. It also gives it a context that a revocation can cancel.
// Other requests keep the one that they have: it costs four allocations.
func (x *exchange) watchFromStart(r *http.Request) *http.Request {
	if x.verdict.key == nil || !asksForStream(r) && r.ContentLength >= 0 && r.ContentLength < largeUpload {
		return r
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	x.cancel = cancel
	return r.WithContext(ctx)
}

// asksForStream knows upgrades, WebSockets over HTTP/2, server-sent events and gRPC by their headers.
func asksForStream(r *http.Request) bool {
	if len(r.Header["Upgrade"]) > 0 || r.Method == http.MethodConnect {
		return true
	}
	if accept := r.Header["Accept"]; len(accept) > 0 && strings.Contains(accept[0], "text/event-stream") {
		return true
	}
	kind := r.Header["Content-Type"]
	return len(kind) > 0 && strings.HasPrefix(kind[0], "application/grpc")
}
