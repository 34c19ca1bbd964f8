package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// maxAnswerHead bounds the head of a backend's answer, as Go's transport does.
const maxAnswerHead = 10 << 20

// backend is one address and the idle connections to it.
type backend struct {
	network, address string // to dial
	host             string
	port             uint
	dialTime         time.Duration
	fallbackDelay    time.Duration
	probeInterval    time.Duration
	maxIdle          int
	idleTime         time.Duration

	mu       sync.Mutex
	idle     []*backendConn // by when they were put back, newest last
	sweeping bool           // a timer runs
	closed   bool
}

// backendConn is a connection to a backend. It belongs to one exchange at a time, or to the backend's idle list.
type backendConn struct {
	net.Conn
	raw   syscall.RawConn
	probe func(fd uintptr) bool // made once, so that a probe does not allocate
	quiet bool                  // what the last probe found

	br   *bufio.Reader
	bw   *bufio.Writer
	head int64 // how much may still be read of the head of an answer; negative: what comes is no head
	sent int64 // bytes of the request that went out

	since time.Time // idle from then on
	used  bool      // it has carried a request before
}

var errHeadTooLarge = errors.New("the head of the backend's answer is too large")

// Read keeps the head of an answer within its bound.
func (c *backendConn) Read(p []byte) (int, error) {
	if c.head < 0 {
		return c.Conn.Read(p)
	}
	if c.head == 0 {
		return 0, errHeadTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.head)])
	c.head -= int64(n)
	return n, err
}

func (c *backendConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent += int64(n)
	return n, err
}

// take answers an idle connection on which nothing has come meanwhile, or a new one. A backend that has closed an idle
// connection, or has written something on it that nobody asked for (an answer 408 to its own idleness), must not have that
// taken for the answer to the next request.
func (b *backend) take(ctx context.Context) (*backendConn, error) {
	for {
		b.mu.Lock()
		last := len(b.idle) - 1
		if last < 0 {
			b.mu.Unlock()
			return b.dial(ctx)
		}
		c := b.idle[last]
		b.idle[last] = nil
		b.idle = b.idle[:last]
		b.mu.Unlock()
		if c.silent() {
			return c, nil
		}
		_ = c.Close()
	}
}

// dial makes a connection.
func (b *backend) dial(ctx context.Context) (*backendConn, error) {
	dialer := net.Dialer{
		Timeout: b.dialTime, FallbackDelay: b.fallbackDelay, KeepAlive: b.probeInterval,
		KeepAliveConfig: net.KeepAliveConfig{Enable: b.probeInterval > 0, Interval: b.probeInterval},
	}
	conn, err := dialer.DialContext(ctx, b.network, b.address)
	if err != nil {
		return nil, reverseproxy.NewDialError(err)
	}
	c := &backendConn{Conn: conn, head: -1}
	if c.raw, c.probe, err = prober(c); err != nil {
		_ = conn.Close()
		return nil, reverseproxy.NewDialError(err)
	}
	c.br, c.bw = bufio.NewReader(c), bufio.NewWriter(c)
	return c, nil
}

// placeholder answers the placeholders under which Caddy's proxy tells where a request went.
func (b *backend) placeholder(name string) (any, bool) {
	const prefix = "http.reverse_proxy.upstream."
	if b == nil || len(name) <= len(prefix) || name[:len(prefix)] != prefix {
		return nil, false
	}
	switch name[len(prefix):] {
	case "hostport":
		return b.address, true
	case "address":
		if b.network == "tcp" {
			return b.address, true
		}
		return b.network + "/" + b.address, true
	case "host":
		return b.host, true
	case "port":
		return strconv.FormatUint(uint64(b.port), 10), true
	}
	return nil, false
}

// put keeps a connection for the next request. What is still in its buffers is nobody's: such a connection is closed.
func (b *backend) put(c *backendConn) {
	c.used, c.head = true, -1
	if c.br.Buffered() > 0 || c.bw.Buffered() > 0 {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	b.mu.Lock()
	if b.closed || len(b.idle) >= b.maxIdle {
		b.mu.Unlock()
		_ = c.Close()
		return
	}
	b.idle = append(b.idle, c)
	if !b.sweeping && b.idleTime > 0 {
		b.sweeping = true
		time.AfterFunc(b.idleTime, b.sweep)
	}
	b.mu.Unlock()
}

// sweep closes connections that have been idle for too long. It runs as long as there are any.
func (b *backend) sweep() {
	b.mu.Lock()
	old, oldest := 0, time.Now().Add(-b.idleTime)
	for old < len(b.idle) && b.idle[old].since.Before(oldest) {
		old++
	}
	gone := append([]*backendConn(nil), b.idle[:old]...)
	left := copy(b.idle, b.idle[old:])
	clear(b.idle[left:])
	b.idle = b.idle[:left]
	if b.sweeping = left > 0; b.sweeping {
		time.AfterFunc(max(time.Until(b.idle[0].since.Add(b.idleTime)), time.Second), b.sweep)
	}
	b.mu.Unlock()
	for _, c := range gone {
		_ = c.Close()
	}
}

// close closes what is idle; connections in use are closed as they are put back.
func (b *backend) close() {
	b.mu.Lock()
	idle := b.idle
	b.idle, b.closed = nil, true
	b.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}
