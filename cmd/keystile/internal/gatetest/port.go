package gatetest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
)

// The ports handed out lie below the range from which systems take the ports of outgoing connections: otherwise a
// client's connection may sit on the port between its choice and the gateway's start.
const (
	firstPort = 20000
	lastPort  = 32000
)

var ports struct {
	sync.Mutex
	taken map[int]bool
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listens on, and never the same one twice.
func FreePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.taken == nil {
		ports.taken = make(map[int]bool)
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.taken[port] {
			continue
		}
		ln, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		_ = ln.Close()
		ports.taken[port] = true
		return port
	}
	tb.Fatal("no free port found")
	return 0
}

// FreeAddr returns "127.0.0.1:port" with a port from FreePort.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(tb)))
}
