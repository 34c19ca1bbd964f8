package caddymodule

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestUnreachableBackendFillsNoLog: while a backend is away, requests are told so one by one, and the operator once in ten
// seconds, with the number of those between. It needs no key on an open route.
func TestUnreachableBackendFillsNoLog(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	core, lines := observer.New(zap.ErrorLevel)
	gate := *g.handler.app.run.gated.Load()
	gate.logger = zap.New(core)
	g.handler.app.run.gated.Store(&gate)
	g.backend = func(http.ResponseWriter, *http.Request) error {
		return &backendFailure{status: 502, err: errors.New("connection refused")}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ask := func(n int) {
		t.Helper()
		at := now // the log's house-keeping reads it, too
		g.now.Store(&at)
		for range n {
			w, err := g.do(request("GET", "/healthz", ""))
			if err != nil || w.Code != 502 {
				t.Fatalf("got %d, %v, want 502", w.Code, err)
			}
		}
	}
	ask(100)
	now = now.Add(logInterval - time.Second)
	ask(100)
	if n := lines.Len(); n != 1 {
		t.Fatalf("200 requests made %d lines, want 1", n)
	}
	now = now.Add(time.Second)
	ask(100)
	now = now.Add(-time.Hour) // a clock that was put back
	ask(1)
	var more []uint64
	for _, line := range lines.All() {
		if line.Message != "backend unavailable" || line.ContextMap()["error"] == nil {
			t.Errorf("the line says %q %v", line.Message, line.ContextMap())
		}
		n, _ := line.ContextMap()["more_since_the_last_line"].(uint64)
		more = append(more, n)
	}
	if len(more) != 3 || more[0] != 0 || more[1] != 199 || more[2] != 99 {
		t.Errorf("the lines tell of %v further requests, want 0, 199, 99", more)
	}
}
