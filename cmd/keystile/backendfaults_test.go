package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// badBackend misbehaves as the path of the request says.
type badBackend struct {
	addr string
	stop chan struct{}
	held sync.WaitGroup
}

// misdeeds are what a backend can do wrong, and what the client gets: a status, or an answer that visibly breaks off.
var misdeeds = []struct {
	name   string
	do     func(b *badBackend, conn net.Conn)
	status int
	broken bool
}{
	{"closes", func(*badBackend, net.Conn) {}, 502, false},
	{"resets", func(_ *badBackend, conn net.Conn) { reset(conn) }, 502, false},
	{"resets in the head", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
		reset(conn)
	}, 502, false},
	{"resets in the body", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 5000))
		time.Sleep(100 * time.Millisecond) // what is in the buffers of the connection would be reset with it
		reset(conn)
	}, 200, true},
	{"garbage", func(_ *badBackend, conn net.Conn) { _, _ = io.WriteString(conn, "\x16\x03\x01\x00nonsense\r\n\r\n") }, 502, false},
	{"short body", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
	}, 200, true},
	{"short chunk", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n")
	}, 200, true},
	{"long body", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfineHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
	}, 200, false},
	{"two lengths", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!")
	}, 502, false},
	{"huge header", func(_ *badBackend, conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Big: "+strings.Repeat("x", 12<<20)+"\r\nContent-Length: 4\r\n\r\nfine")
	}, 502, false},
	{"endless header", func(b *badBackend, conn net.Conn) {
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Big: "); err != nil {
			return
		}
		for chunk := strings.Repeat("x", 1<<16); ; {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}, 502, false},
	{"endless headers", func(b *badBackend, conn net.Conn) {
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n"); err != nil {
			return
		}
		for chunk := strings.Repeat("A: b\r\n", 10_000); ; {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}, 502, false},
	{"slow head", func(b *badBackend, _ net.Conn) { <-b.stop }, 504, false},
	{"trickled body", func(_ *badBackend, conn net.Conn) {
		// Longer than response_header_timeout: that is over once the head is there.
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n")
		for range 25 {
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}, 200, false},
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// newBadBackend starts it for the time of the test.
func newBadBackend(t *testing.T) *badBackend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &badBackend{addr: ln.Addr().String(), stop: make(chan struct{})}
	b.held.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.held.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		close(b.stop)
		_ = ln.Close()
		b.held.Wait()
	})
	return b
}

func (b *badBackend) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if name, bad := strings.CutPrefix(r.URL.Path, "/v1/customers/"); bad {
			for _, m := range misdeeds {
				if strings.ReplaceAll(m.name, " ", "-") == name {
					m.do(b, conn)
					return
				}
			}
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"); err != nil {
			return
		}
	}
}

// TestBackendFaults: whatever a backend does, by both ways the client gets one answer with its Request-Id, the backend's or the gateway's, or
// sees that it broke off; the record says so; and the next request is served, by a connection that nothing is left on.
func TestBackendFaults(t *testing.T) {
	t.Parallel()
	backend := newBadBackend(t)
	g := gatetest.New(t)
	ways := map[string]string{}
	var sites strings.Builder
	const options = " {\n\t\t\ttransport http {\n\t\t\t\tresponse_header_timeout 2s\n\t\t\t}\n\t\t}\n"
	for way, block := range map[string]string{
		"upstreams":     "keystile {\n\t\tupstreams {\n\t\t\tlive " + backend.addr + options + "\t\t}\n\t}\n",
		"reverse_proxy": "keystile\n\treverse_proxy " + backend.addr + options,
	} {
		port := gatetest.FreePort(t)
		ways[way] = fmt.Sprintf("127.0.0.1:%d", port)
		fmt.Fprintf(&sites, "http://:%d {\n\tbind 127.0.0.1\n\t%s}\n", port, block)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: sites.String()}.Text(g))
	g.Start(t)
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	for way, site := range ways {
		for _, m := range misdeeds {
			for _, method := range []string{"GET", "POST"} {
				t.Run(way+"/"+m.name+"/"+method, func(t *testing.T) {
					t.Parallel()
					target := "/v1/customers/" + strings.ReplaceAll(m.name, " ", "-")
					body := ""
					if method == "POST" {
						body = "name=x"
					}
					status, id, broken := tornAnswer(t, site, gatetest.Request(method, target, body, gatetest.Bearer(key.Token), "Connection: close"))
					want := m.status
					if status == 504 && (strings.HasPrefix(m.name, "endless") || m.name == "huge header") {
						want = 504 // on a machine that needs longer than response_header_timeout to read 10 MiB
					}
					if status != want || broken != m.broken {
						t.Errorf("got status %d, broken off %v, want %d, %v", status, broken, want, m.broken)
					}
					record := g.Admin.AwaitRecord(t, id)
					if number(record["status"]) != want {
						t.Errorf("the record says %v", record)
					}
					if m.status >= 500 && record["decision"] != "upstream_unavailable" {
						t.Errorf("the record's decision is %v", record["decision"])
					}
					answer, err := gatetest.Send(site, "", get("/v1/charges", key.Token))
					if err != nil || answer.Status != 200 || string(answer.Body) != "fine" {
						t.Errorf("the next request: %+v, %v", answer, err)
					}
				})
			}
		}
	}
}

// tornAnswer sends a request and reads what comes, which may break off.
func tornAnswer(t *testing.T, site, request string) (status int, id string, broken bool) {
	t.Helper()
	conn, err := gatetest.DialFrom("", site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatalf("the client gets no answer: %v", err)
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil {
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Errorf("behind the answer comes %.100q", rest)
		}
	}
	return res.StatusCode, res.Header.Get("Request-Id"), err != nil
}
