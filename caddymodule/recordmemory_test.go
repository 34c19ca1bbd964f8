package caddymodule

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// TestQueuedRecordsHoldNoRequestLine: over HTTP/1 method, protocol and path are parts of the request line, and a record that
// waits must not keep a line of a megabyte alive for the three bytes of a method. Nobody needs a key to try.
func TestQueuedRecordsHoldNoRequestLine(t *testing.T) {
	long := strings.Repeat("a", 950_000)
	for name, line := range map[string]string{
		"query":         "GET /v1/charges?a=" + long + " HTTP/1.1",
		"path":          "GET /v1/" + long + " HTTP/1.1",
		"method":        long + " /v1/charges HTTP/1.1",
		"fragment":      "GET /v1/charges#" + long + " HTTP/1.1",
		"absolute form": "GET http://api.example.com/v1/charges?" + long + " HTTP/1.1",
		"preflight":     "OPTIONS /v1/charges?a=" + long + " HTTP/1.1",
		"open":          "GET /public/x?a=" + long + " HTTP/1.1",
	} {
		t.Run(name, func(t *testing.T) {
			store := newStuckStore()
			log, err := requestlog.Open(requestlog.Options{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			g := newGateway(t, nil)
			run := g.handler.app.run
			run.gated.Store(&gate{settings: run.settings, store: g.store, log: log})
			before := liveHeap()
			const n = 60
			for range n {
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + "\r\nHost: api.example.com\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n")))
				if err != nil {
					t.Fatal(err)
				}
				r.RemoteAddr = "198.51.100.9:4711"
				if _, err := g.do(r); err != nil {
					t.Fatal(err)
				}
				g.seen = nil
			}
			if after := liveHeap(); after > before+8<<20 {
				t.Errorf("%d waiting records hold %d bytes", n, after-before)
			}
			if s := log.Stats(); s.Queued != n {
				t.Errorf("%d records wait, want %d", s.Queued, n)
			}
			close(store.release)
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRewrittenTargetsAreNotHeld: what an earlier handler has made of a target can be as long as what the client sent.
func TestRewrittenTargetsAreNotHeld(t *testing.T) {
	g := newGateway(t, nil)
	x := &exchange{handler: g.handler, gate: g.handler.app.gate(), start: time.Now()}
	r := request("GET", "/v1/charges", g.live)
	if x.beginRecord(r); x.longLine {
		t.Error("a short line counts as long")
	}
	r.RequestURI = "/v1/charges?" + strings.Repeat("a", maxLine)
	if x.beginRecord(r); !x.longLine {
		t.Error("a target that was made long is not seen")
	}
}
