package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestOwnAnswersDoNotWaitForBodies: who announces a body and does not send it gets an answer at once, whoever gives it, and the
// connection ends; nobody needs a key for any of these. A body that came is no hindrance: the connection goes on.
func TestOwnAnswersDoNotWaitForBodies(t *testing.T) {
	c := newCaddy(t)
	c.mustLoad(c.config("", wireCatalog, `handle /up {
	keystile_health
}
handle {
	route {
		keystile {
			open /healthz /public/*
		}
		respond /healthz healthy
		redir /public/moved https://example.com/
		respond /public/none 204
		error /public/error 418
		reverse_proxy /public/dead `+freeAddress()+`
	}
}`))
	const ask = "Origin: https://shop.example\r\nAccess-Control-Request-Method: POST\r\n"
	for name, test := range map[string]struct {
		line, headers string
		status        int
		closes        bool // also with its whole body
	}{
		"preflight":        {"OPTIONS /v1/charges", ask, 204, false},
		"health":           {"POST /up", "", 200, false},
		"open, answered":   {"POST /healthz", "", 200, false},
		"open, redirected": {"POST /public/moved", "", 302, false},
		"open, no content": {"POST /public/none", "", 204, false},
		"open, no backend": {"POST /public/dead", "", 502, false},
		"open, error":      {"POST /public/error", "", 418, false},
		"open, no handler": {"POST /public/nobody", "", 200, false},
		"no key":           {"POST /v1/charges", "", 401, false},
		"TRACE":            {"TRACE /v1/charges", "", 405, true},
		"malformed":        {"POST /v1//charges", "", 400, false},
	} {
		for framing, body := range map[string]struct {
			text string
			came bool
		}{
			"nothing sent":  {"Content-Length: 1000\r\n\r\n", false},
			"half a chunk":  {"Transfer-Encoding: chunked\r\n\r\n5\r\nhe", false},
			"waits":         {"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", false},
			"large":         {"Content-Length: 10000000\r\n\r\nx", false},
			"whole":         {"Content-Length: 5\r\n\r\nhello", true},
			"whole, chunks": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true},
		} {
			t.Run(name+"/"+framing, func(t *testing.T) {
				t.Parallel()
				conn, err := net.Dial("tcp", c.site)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = io.WriteString(conn, test.line+" HTTP/1.1\r\nHost: "+c.site+"\r\n"+test.headers+body.text)
				in := bufio.NewReader(conn)
				answer, err := http.ReadResponse(in, nil)
				if err != nil || answer.StatusCode != test.status {
					t.Fatalf("got %v, %v, want %d", answer, err, test.status)
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				if body.came && !test.closes {
					_, _ = io.WriteString(conn, "GET /up HTTP/1.1\r\nHost: "+c.site+"\r\nConnection: close\r\n\r\n")
					if answer, err = http.ReadResponse(in, nil); err != nil || answer.StatusCode != 200 {
						t.Errorf("second request: %v, %v", answer, err)
					}
				} else if _, err := in.ReadByte(); err != io.EOF && !isReset(err) {
					t.Errorf("the connection is still open: %v", err)
				}
			})
		}
	}
}

// TestBodyCutByAnErrorEndsTheConnection: a proxy that loses its backend closes the body that it was sending. Where Caddy answers that error, by
// a writer of its own, the rest of the body was read as the next request of the connection.
func TestBodyCutByAnErrorEndsTheConnection(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(conn, make([]byte, 64<<10)) // some of the body, and then it dies
			_ = conn.Close()
		}
	}()
	c := newCaddy(t)
	c.mustLoad(c.config("", wireCatalog, `keystile {
	open    /public/*
	denials handle_errors
}
reverse_proxy `+backend.Addr().String()))
	conn, err := net.Dial("tcp", c.site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { // all the time: a body that stands still keeps the proxy waiting for it
		_, err := io.WriteString(conn, "POST /public/upload HTTP/1.1\r\nHost: "+c.site+"\r\nContent-Length: 100000000\r\n\r\n")
		for more := strings.Repeat("GET /public/smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 100); err == nil; {
			_, err = io.WriteString(conn, more)
		}
	}()
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 502 || !answer.Close {
		t.Errorf("got %d, and the end of the connection announced: %v; want 502, true", answer.StatusCode, answer.Close)
	}
	_, _ = io.CopyN(io.Discard, in, max(0, answer.ContentLength))
	if again, err := http.ReadResponse(in, nil); err == nil {
		t.Errorf("what follows of the body is answered as a request: %d", again.StatusCode)
	}
}
