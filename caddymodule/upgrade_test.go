package caddymodule

import (
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOnlyWebSocketsUpgrade: what asks for another protocol goes on as an ordinary request, on open routes too.
func TestOnlyWebSocketsUpgrade(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	type pairs = []string
	tests := []struct {
		name       string
		method     string
		proto      [2]int
		header     pairs
		upgrade    []string // at the next handler
		connection []string
	}{
		{"websocket", "GET", [2]int{1, 1}, pairs{"Upgrade", "websocket", "Connection", "Upgrade"}, []string{"websocket"}, []string{"Upgrade"}},
		{"any case", "GET", [2]int{1, 1}, pairs{"Upgrade", "WebSocket", "Connection", "keep-alive, Upgrade"}, []string{"WebSocket"}, []string{"keep-alive, Upgrade"}},
		{"h2c", "GET", [2]int{1, 1}, pairs{"Upgrade", "h2c", "Connection", "Upgrade, HTTP2-Settings", "Http2-Settings", "AAMAAABk"}, nil, []string{"HTTP2-Settings"}},
		{"TLS", "GET", [2]int{1, 1}, pairs{"Upgrade", "TLS/1.0", "Connection", "close,upgrade"}, nil, []string{"close"}},
		{"a list", "GET", [2]int{1, 1}, pairs{"Upgrade", "websocket, h2c", "Connection", "Upgrade"}, nil, nil},
		{"two lines", "GET", [2]int{1, 1}, pairs{"Upgrade", "websocket", "Upgrade", "h2c", "Connection", "UPGRADE", "Connection", "x-hop"}, nil, []string{"x-hop"}},
		{"the same twice", "GET", [2]int{1, 1}, pairs{"Upgrade", "websocket", "Upgrade", "websocket", "Connection", "Upgrade"}, nil, nil},
		{"empty", "GET", [2]int{1, 1}, pairs{"Upgrade", "", "Connection", "Upgrade"}, nil, nil},
		{"a version", "GET", [2]int{1, 1}, pairs{"Upgrade", "websocket/13", "Connection", "Upgrade"}, nil, nil},
		{"POST", "POST", [2]int{1, 1}, pairs{"Upgrade", "websocket", "Connection", "Upgrade"}, nil, nil},
		{"HTTP/1.0", "GET", [2]int{1, 0}, pairs{"Upgrade", "websocket", "Connection", "Upgrade"}, nil, nil},
		{"HTTP/2", "GET", [2]int{2, 0}, pairs{"Upgrade", "websocket", "Connection", "Upgrade"}, nil, nil},
		{"settings alone", "GET", [2]int{1, 1}, pairs{"Http2-Settings", "AAMAAABk"}, nil, nil},
	}
	for _, test := range tests {
		for _, open := range []bool{false, true} {
			target, token := "/v1/charges", g.live
			if open {
				target, token = "/public/x", ""
			}
			r := request(test.method, target, token, test.header...)
			r.ProtoMajor, r.ProtoMinor = test.proto[0], test.proto[1]
			seen, _ := g.wantServed(r)
			if got := seen.Header["Upgrade"]; !slices.Equal(got, test.upgrade) {
				t.Errorf("%s, open %v: the next handler gets Upgrade %q, want %q", test.name, open, got, test.upgrade)
			}
			if got := seen.Header["Connection"]; !slices.Equal(got, test.connection) {
				t.Errorf("%s, open %v: the next handler gets Connection %q, want %q", test.name, open, got, test.connection)
			}
			if got := seen.Header["Http2-Settings"]; got != nil {
				t.Errorf("%s, open %v: the next handler gets Http2-Settings %q", test.name, open, got)
			}
		}
	}
}

// eagerBackend switches protocols whenever it is asked to, and keeps all that it is sent.
type eagerBackend struct {
	net.Listener
	mu  sync.Mutex
	got strings.Builder
}

func newEagerBackend(t *testing.T) *eagerBackend {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &eagerBackend{Listener: l}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *eagerBackend) serve(conn net.Conn) {
	defer conn.Close()
	answered := false
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		b.mu.Lock()
		b.got.Write(buffer[:n])
		head, _, whole := strings.Cut(b.got.String(), "\r\n\r\n")
		b.mu.Unlock()
		if err != nil {
			return
		}
		if !whole || answered {
			continue
		}
		answered = true
		if strings.Contains(head, "\r\nUpgrade: ") {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
			continue
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		return
	}
}

// firstAnswer sends what is given on a connection of its own, and answers how the first answer begins. Caddy may close a
// connection unread that comes while it reloads; such a one is tried again.
func firstAnswer(t *testing.T, address, request string) string {
	t.Helper()
	first := make([]byte, len("HTTP/1.1 200"))
	for range 5 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, request)
		n, _ := io.ReadFull(conn, first)
		_ = conn.Close()
		if n > 0 {
			return string(first[:n])
		}
	}
	return ""
}

// TestNoTunnelThroughCaddy: a backend that would switch to anything is not asked, so that nothing which follows the
// request gets through to it unjudged.
func TestNoTunnelThroughCaddy(t *testing.T) {
	g := newWireGateway(t, "", "keystile {\nopen /public/*\n}")
	smuggled := "GET /v1/charges HTTP/1.1\r\nHost: x\r\nKeystile-Account: acct_victim\r\n\r\n"
	for name, head := range map[string]string{
		"open route, h2c":    "GET /public/x HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
		"allowed route, TLS": "GET /v1/customers HTTP/1.1\r\nAuthorization: Bearer " + g.restricted + "\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
		"POST, websocket":    "POST /v1/customers HTTP/1.1\r\nAuthorization: Bearer " + g.secret + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			eager := newEagerBackend(t)
			g.mustLoad(g.config("", wireCatalog, "keystile {\nopen /public/*\n}\nreverse_proxy "+eager.Addr().String()))
			if first := firstAnswer(t, g.site, head+"Host: "+g.site+"\r\n\r\n"+smuggled); first != "HTTP/1.1 200" {
				t.Errorf("answer %q, want an ordinary 200", first)
			}
			eager.mu.Lock()
			defer eager.mu.Unlock()
			if got := eager.got.String(); strings.Contains(got, "acct_victim") || strings.Contains(got, "Upgrade") || strings.Count(got, "HTTP/1.1\r\n") != 1 {
				t.Errorf("the backend got\n%s", got)
			}
		})
	}
}
