package gatetest

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"time"
)

// pingback waits for the sign of life that Caddy gives to `caddy start`: once it serves, it connects to an address and
// repeats the secret that it read from its stdin. It is exact, where polling a port is not.
type pingback struct {
	listener net.Listener
	secret   string
	arrived  chan struct{}
}

func newPingback() (*pingback, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the ready sign: %w", err)
	}
	p := &pingback{listener: ln, secret: rand.Text(), arrived: make(chan struct{})}
	go p.wait()
	return p, nil
}

func (p *pingback) addr() string { return p.listener.Addr().String() }

func (p *pingback) close() { _ = p.listener.Close() }

// wait accepts until somebody knows the secret or the listener is closed.
func (p *pingback) wait() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		got, _ := io.ReadAll(io.LimitReader(conn, 256))
		_ = conn.Close()
		if bytes.Equal(got, []byte(p.secret)) {
			close(p.arrived)
			return
		}
	}
}
