package postgres

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestUnansweredCopy: the way to a server dies in the middle of a COPY, so that nobody takes what is sent and nobody says so. The
// connection ends by itself, without a deadline of who writes.
func TestUnansweredCopy(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- conn // who never reads from it
	}()
	conn, err := dialer(time.Second).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	server, ok := <-accepted
	if !ok {
		t.Fatal("nobody has accepted the connection")
	}
	defer server.Close()
	failed := make(chan error, 1)
	go func() {
		for b := make([]byte, 1<<20); ; {
			if _, err := conn.Write(b); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case err := <-failed:
		if !Away(err) {
			t.Errorf("it ends with %v, which does not count as away", err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for the kernel")
	}
	if _, err := conn.Write([]byte("more")); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("writing more: %v", err)
	}
}

// TestAddressDials: what an address is read as dials with these bounds.
func TestAddressDials(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	config, err := Parse("postgres://jenny@" + ln.Addr().String() + "/keys?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := config.ConnConfig.DialFunc(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := unanswered(t, conn); got != unansweredTime {
		t.Errorf("what is unanswered ends a connection after %v, want %v", got, unansweredTime)
	}
}

// unanswered is what the kernel was told of a connection.
func unanswered(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		ms, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return time.Duration(ms) * time.Millisecond
}
