package caddymodule

import (
	"bytes"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// frugalBackend answers every request with the same bytes, and allocates nothing for it: what is counted is the short way's.
func frugalBackend(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	answer := []byte("HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Wed, 25 Nov 2026 15:32:10 GMT\r\nContent-Type: application/json\r\nContent-Length: 13\r\nConnection: keep-alive\r\n\r\n{\"id\":\"ch_1\"}")
	end := []byte("\r\n\r\n")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 8<<10)
				for have := 0; ; {
					n, err := conn.Read(buf[have:])
					if err != nil {
						return
					}
					if have += n; !bytes.HasSuffix(buf[:have], end) {
						continue
					}
					have = 0
					if _, err := conn.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// frugalShortWay is a gateway that sends live requests to that backend.
func frugalShortWay(t testing.TB) *testGateway {
	t.Helper()
	g := newGateway(t, nil)
	upstream := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: frugalBackend(t)}
	b := &backend{network: "tcp", address: upstream.Dial, dialTime: 5 * time.Second, maxIdle: 10, idleTime: time.Minute}
	t.Cleanup(b.close)
	g.handler.Upstreams = &Upstreams{live: &shortWay{
		proxy:    &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{upstream}},
		backends: map[*reverseproxy.Upstream]*backend{upstream: b}, headSize: maxAnswerHead,
	}}
	return g
}

// BenchmarkShortWay is a request through the handler to a backend on this machine and back, without Caddy's server.
func BenchmarkShortWay(b *testing.B) {
	g := frugalShortWay(b)
	_, token := g.restricted(readCustomers())
	w := &benchWriter{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		r := caddyhttp.PrepareRequest(benchRequest("GET", "/v1/customers/cus_123", "Bearer "+token), caddy.NewReplacer(), w, nil)
		if err := g.handler.ServeHTTP(w, r, nothing); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAllocationsOfTheShortWay guards what the benchmark shows. Most of them are net/http's, for the answer.
func TestAllocationsOfTheShortWay(t *testing.T) {
	g := frugalShortWay(t)
	_, token := g.restricted(readCustomers())
	w := &benchWriter{header: make(http.Header)}
	prepare := func() *http.Request {
		clear(w.header)
		return caddyhttp.PrepareRequest(benchRequest("GET", "/v1/customers/cus_123", "Bearer "+token), caddy.NewReplacer(), w, nil)
	}
	through := func() {
		if err := g.handler.ServeHTTP(w, prepare(), nothing); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		through() // the connection, the cache, the pools
	}
	without := testing.AllocsPerRun(500, func() { prepare() })
	with := testing.AllocsPerRun(500, through)
	if raceEnabled {
		t.Logf("under the race detector, where more is allocated: %v", with-without)
		return
	}
	if with-without > shortWayAllocations {
		t.Errorf("%v allocations, want at most %d", with-without, shortWayAllocations)
	}
}

// shortWayAllocations are those of a request on the short way, the whole handler included.
const shortWayAllocations = 23
