package caddymodule

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzBackendAnswer has any bytes as a backend's answer, which then closes. By both ways the client gets one whole answer, the backend's or
// the gateway's own, or one that visibly breaks off; never two, never one that lacks its Request-Id; and by both ways the same status and body.
func FuzzBackendAnswer(f *testing.F) {
	var answer atomic.Pointer[string]
	w := newTwoWays(f, func() string { return *answer.Load() })
	for _, s := range []string{
		fine, "", "\r\n", "nonsense", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nlonger",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nKeystile-Mode: x\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 600 x\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end", "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\n broken: x\r\n\r\n", "HTTP/1.1 200 OK\r\nA\x00: x\r\n\r\n", "HTTP/1.1 200 OK\r\nRequest-Id: theirs\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: Request-Id\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 8) + fine, fine + fine, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: 1\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		if switchesProtocol(text) {
			return // unasked: the short way says that the backend failed, Caddy's proxy sends an empty 200
		}
		answer.Store(&text)
		var got [2]clientAnswer
		for i, site := range w.sites {
			got[i] = w.ask(t, site, text)
		}
		if got[0] != got[1] {
			t.Fatalf("%q: the short way gives %+v, Caddy's proxy %+v", text, got[0], got[1])
		}
	})
}

// clientAnswer is what a client has of an answer.
type clientAnswer struct {
	status int
	body   string // of the gateway's own answers only the code
	broken bool
}

func (w *twoWays) ask(t *testing.T, site, text string) clientAnswer {
	t.Helper()
	conn, err := net.Dial("tcp", site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, "GET /v1/charges HTTP/1.1\r\nHost: "+w.site+"\r\nConnection: close\r\nAuthorization: Bearer "+w.token+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	var res *http.Response
	for res == nil || res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		if res, err = http.ReadResponse(in, &http.Request{Method: "GET", URL: &url.URL{Path: "/"}}); err != nil {
			t.Fatalf("%q: the client gets no answer: %v", text, err)
		}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	got := clientAnswer{status: res.StatusCode, body: string(body), broken: err != nil}
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		t.Fatalf("%q: the client gets %v", text, err)
	}
	if ids := res.Header.Values("Request-Id"); len(ids) != 1 || !strings.HasPrefix(ids[0], "req_") {
		t.Fatalf("%q: the client gets Request-Id %q", text, ids)
	}
	if err == nil {
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Fatalf("%q: behind the answer the client gets %q", text, rest)
		}
	}
	if slices.Contains([]int{502, 504}, got.status) && strings.Contains(got.body, `"upstream_unavailable"`) {
		got.body = "upstream_unavailable"
	}
	return got
}

func switchesProtocol(answer string) bool {
	for in := bufioReader(answer); ; {
		res, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			return false
		}
		res.Body.Close()
		if res.StatusCode >= 200 {
			return false
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			return true
		}
	}
}
