package caddymodule

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestManyInterimAnswers: a backend that says 103 or 102 many times before its answer was given up by the short way after five of them, and
// served by Caddy's proxy. FuzzBackendAnswer found it. A backend that says nothing else is given up by size.
func TestManyInterimAnswers(t *testing.T) {
	const early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
	endless := false
	backend := newScriptedBackend(t, func(_ int, _ *http.Request, conn net.Conn) (string, bool) {
		for endless {
			if _, err := io.WriteString(conn, early); err != nil {
				return "", false
			}
		}
		return strings.Repeat(early, 20) + fine, false
	})
	g := newShortGateway(t, "", "transport http {\nmax_response_header 8KiB\n}", backend.Addr().String())
	if _, is := liveUpstream(t).(*shortWay); !is {
		t.Fatal("it does not go the short way")
	}
	got := g.once("GET", "")
	res, err := finalAnswer(got, "GET")
	if err != nil || res.StatusCode != http.StatusOK || strings.Count(got, "HTTP/1.1 103 ") != 20 {
		t.Fatalf("after twenty 103: %v\n%s", err, got)
	}
	res.Body.Close()
	endless = true
	if res, err = finalAnswer(g.once("GET", ""), "GET"); err != nil || res.StatusCode != http.StatusBadGateway {
		t.Fatalf("after 103 without end: %v, %v, want 502", res, err)
	}
	res.Body.Close()
}

// TestAnswerWithoutStatus: a backend that answers "000" made the server panic, and the client had no answer, by both ways. FuzzBackendAnswer
// found it.
func TestAnswerWithoutStatus(t *testing.T) {
	for _, status := range []string{"000", "001", "099"} {
		w := newTwoWays(t, func() string { return "HTTP/1.1 " + status + " Nothing\r\nContent-Length: 4\r\n\r\nfine" })
		for _, site := range w.sites {
			if got := w.ask(t, site, status); got.status != http.StatusBadGateway || got.broken {
				t.Errorf("status %s: got %+v, want 502", status, got)
			}
		}
	}
}

// TestUnaskedByTheProxy: what Caddy's proxy makes of a 101 that nobody has asked for was an empty 200 to the client, and it handed on a
// 100 that nobody waits for. Both are as by the short way, also where reverse_proxy stands after the directive.
func TestUnaskedByTheProxy(t *testing.T) {
	answers := map[string]int{
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n": http.StatusBadGateway,
		"HTTP/1.1 101 Switching Protocols\r\n\r\n":                                        http.StatusBadGateway,
		"HTTP/1.1 100 Continue\r\n\r\n" + fine:                                            http.StatusOK,
	}
	var answer atomic.Pointer[string]
	w := newTwoWays(t, func() string { return *answer.Load() })
	for text, want := range answers {
		answer.Store(&text)
		for _, site := range w.sites {
			raw := exchangeRaw(t, site, "GET /v1/charges HTTP/1.1\r\nHost: "+site+"\r\nAuthorization: Bearer "+w.token+"\r\nIncremental: ?0\r\nConnection: close\r\n\r\n")
			if !strings.HasPrefix(raw, fmt.Sprintf("HTTP/1.1 %d ", want)) || want == http.StatusBadGateway && !strings.Contains(raw, "upstream_unavailable") {
				t.Errorf("%q at %s: want %d\n%s", text, site, want, raw)
			}
		}
	}
}
