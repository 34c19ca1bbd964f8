package gatetest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Field is one header or trailer line exactly as it arrived.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Received is one request as a backend received it, byte by byte.
type Received struct {
	Method   string  `json:"method"`
	Target   string  `json:"target"`
	Protocol string  `json:"protocol"`
	Header   []Field `json:"header"`
	Trailer  []Field `json:"trailer"`
	Body     string  `json:"body"`
	Conn     int     `json:"conn"` // number of the connection, from 1
}

// Exact returns the values of all header lines with exactly this name.
func (r *Received) Exact(name string) []string {
	var values []string
	for _, f := range r.Header {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// Folded returns the header and trailer lines whose name is the same once case, "_", "." and "-" are taken as one.
func (r *Received) Folded(name string) []Field {
	var fields []Field
	for _, f := range append(append([]Field(nil), r.Header...), r.Trailer...) {
		if fold(f.Name) == fold(name) {
			fields = append(fields, f)
		}
	}
	return fields
}

// WithPrefix returns the header and trailer lines whose folded name begins with the folded prefix.
func (r *Received) WithPrefix(prefix string) []Field {
	var fields []Field
	for _, f := range append(append([]Field(nil), r.Header...), r.Trailer...) {
		if strings.HasPrefix(fold(f.Name), fold(prefix)) {
			fields = append(fields, f)
		}
	}
	return fields
}

func fold(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(name))
}

// Backend is an HTTP/1.1 server on a raw socket: it keeps each request exactly as it came, where net/http would tidy it
// first, and answers with it as JSON. Anything that it cannot read as exactly one request is kept as a fault.
type Backend struct {
	Addr string
	Name string // answered in X-Backend

	// Answer, if set before the first request, makes the whole answer for a request; "" takes the usual one.
	Answer func(r *Received) string

	ln     net.Listener
	mu     sync.Mutex
	got    []*Received
	faults []string
	conns  map[net.Conn]bool
	count  int
	wg     sync.WaitGroup
}

// NewBackend starts a backend for the time of the test.
func NewBackend(tb testing.TB, name string) *Backend {
	tb.Helper()
	b := newBackend(tb, name)
	tb.Cleanup(b.Close)
	return b
}

// NewSharedBackend starts a backend that lives as long as the test process.
func NewSharedBackend(tb testing.TB, name string) *Backend {
	tb.Helper()
	return newBackend(tb, name)
}

func newBackend(tb testing.TB, name string) *Backend {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b := &Backend{Addr: ln.Addr().String(), Name: name, ln: ln, conns: make(map[net.Conn]bool)}
	b.wg.Add(1)
	go b.accept()
	return b
}

// Close stops the backend and cuts its connections.
func (b *Backend) Close() {
	_ = b.ln.Close()
	b.CutConnections()
	b.wg.Wait()
}

// CutConnections closes every open connection.
func (b *Backend) CutConnections() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.Close()
	}
}

func (b *Backend) accept() {
	defer b.wg.Done()
	for n := 1; ; n++ {
		conn, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[conn] = true
		b.mu.Unlock()
		b.wg.Add(1)
		go b.serve(conn, n)
	}
}

func (b *Backend) serve(conn net.Conn, n int) {
	defer b.wg.Done()
	defer func() {
		b.mu.Lock()
		delete(b.conns, conn)
		b.mu.Unlock()
		_ = conn.Close()
	}()
	in := bufio.NewReader(conn)
	for {
		r, err := readRequest(in, func() { _, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n") })
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				b.note(fmt.Sprintf("connection %d: %v", n, err))
			}
			return
		}
		r.Conn = n
		b.mu.Lock()
		b.got = append(b.got, r)
		b.count++
		if len(b.got) > 20000 { // bounded: load tests need the count only
			b.got = append([]*Received(nil), b.got[10000:]...)
		}
		b.mu.Unlock()
		if _, err := io.WriteString(conn, b.answer(r)); err != nil {
			return
		}
	}
}

func (b *Backend) note(fault string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fault)
}

func (b *Backend) answer(r *Received) string {
	if b.Answer != nil {
		if text := b.Answer(r); text != "" {
			return text
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		b.note(err.Error())
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Backend: %s\r\nDate: %s\r\nContent-Length: %d\r\n\r\n",
		b.Name, time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"), len(body))
	if r.Method == "HEAD" {
		return head
	}
	return head + string(body)
}

// Count is the number of requests that arrived so far.
func (b *Backend) Count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// Requests returns the requests received since the count was n, oldest first.
func (b *Backend) Requests(n int) []*Received {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.count - n
	if fresh <= 0 {
		return nil
	}
	return append([]*Received(nil), b.got[max(0, len(b.got)-fresh):]...)
}

// Faults returns what arrived and was no request: a desynchronised connection shows here.
func (b *Backend) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.faults...)
}
