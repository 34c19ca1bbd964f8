package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
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
