package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyHeaderInErrorLog: what Caddy logs of a request that fails is the copy that it made before any handler ran. So it
// is not told of failures; the site's error routes, statuses and entries are as if it were.
func TestKeyHeaderInErrorLog(t *testing.T) {
	for _, accessLog := range []string{"", "log\n"} {
		file := filepath.Join(t.TempDir(), "caddy.log")
		log := "debug\nlog {\noutput file " + file + "\n}"
		g := newWireGateway(t, log, accessLog+"keystile {\nkey_header X-Api-Key\n}")
		dead := freeAddress()
		send := func(path, token string) string {
			return exchangeRaw(t, g.site, "GET "+path+" HTTP/1.1\r\nHost: "+g.site+"\r\nX-Api-Key: "+token+"\r\nConnection: close\r\n\r\n")
		}
		check := func(path, token, wantStatus, wantBody string) {
			t.Helper()
			answer := send(path, token)
			if !strings.HasPrefix(answer, "HTTP/1.1 "+wantStatus) || !strings.HasSuffix(answer, wantBody) || strings.Count(answer, "Request-Id: req_") != 1 {
				t.Errorf("%s: got\n%s\nwant status %s, a request id, and the body %q", path, answer, wantStatus, wantBody)
			}
		}
		directive := "keystile {\nkey_header X-Api-Key\ndenials handle_errors\n}\nerror /boom \"on purpose\" 500\nreverse_proxy " + dead + "\n"

		g.anew()
		g.mustLoad(g.config(log, wireCatalog, accessLog+directive))
		check("/v1/charges", g.restricted, "403", "\r\n\r\n")
		check("/v1/customers", g.secret, "502", "\r\n\r\n")
		check("/boom", g.secret, "500", "\r\n\r\n")

		routes := "handle_errors {\nrespond \"{err.status_code} {keystile.decision} {path}\"\n}"
		g.anew()
		g.mustLoad(g.config(log, wireCatalog, accessLog+directive+routes))
		check("/v1/charges", g.restricted, "403", "403 permission_denied /v1/charges")
		check("/v1/customers", g.secret, "502", "502 upstream_unavailable /v1/customers")
		check("/boom", g.secret, "500", "500 allowed /boom")

		// error routes that fail in their turn, and some that do not want this error
		g.anew()
		g.mustLoad(g.config(log, wireCatalog, accessLog+directive+"handle_errors 502 {\nerror \"again\" 507\n}\nhandle_errors 403 {\nreverse_proxy "+g.backend.Listener.Addr().String()+"\n}"))
		check("/v1/customers", g.secret, "502", "\r\n\r\n")
		check("/boom", g.secret, "500", "\r\n\r\n")
		g.backend.taken()
		send("/v1/charges", g.restricted)
		if count, wire, _ := g.backend.taken(); count != 1 || strings.Contains(wire, g.restricted) {
			t.Errorf("the backend of the error routes was asked %d times and got\n%s", count, wire)
		}

		// the store is gone: no request is judged, but each is cleaned
		app, err := activeApp()
		if err != nil {
			t.Fatal(err)
		}
		gate := app.run.gated.Swap(nil)
		app.run.opening.Lock()
		app.run.done = true
		app.run.opening.Unlock()
		g.mustDeny(t, send("/v1/charges", g.secret))
		app.run.opening.Lock()
		app.run.done = false
		app.run.opening.Unlock()
		app.run.gated.Store(gate)
		stopCaddy(t)

		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), g.secret) || strings.Contains(string(text), g.restricted) {
			t.Errorf("a log shows a key:\n%s", text)
		}
		failures := map[string]int{} // entries of the error log by level and status
		for line := range strings.Lines(string(text)) {
			var e struct {
				Level, Logger string
				Status        int
				Request       struct{ URI string }
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(e.Logger, "http.log.error") {
				failures[e.Level+" "+http.StatusText(e.Status)]++
				if e.Request.URI == "" {
					t.Errorf("entry without its request: %s", line)
				}
			}
		}
		for what, want := range map[string]int{
			"debug Forbidden": 3, "debug Bad Gateway": 1, "error Bad Gateway": 2, "debug Internal Server Error": 2, "error Internal Server Error": 1,
			"error Service Unavailable": 0, "debug Service Unavailable": 1,
		} {
			if failures[what] != want {
				t.Errorf("access log %q: %d entries %q in the error log, want %d: %v", accessLog, failures[what], what, want, failures)
			}
		}
	}
}

// mustDeny wants the answer of a gateway without a store.
func (g *wireGateway) mustDeny(t *testing.T, answer string) {
	t.Helper()
	if !strings.HasPrefix(answer, "HTTP/1.1 503") {
		t.Errorf("got\n%s\nwant 503", answer)
	}
}

// TestUnavailableIsCleaned: also without a store nothing of the client's own identity, and no credential, gets to the
// routes that deal with the error.
func TestUnavailableIsCleaned(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.Denials, h.KeyHeader = "handle_errors", "X-Api-Key" })
	g.handler.app.run.gated.Store(nil)
	g.handler.app.run.done = true
	r := request("GET", "/v1/charges", g.live, "Keystile-Account", g.b.ID, "keystile_mode", "live", "X-Api-Key", g.live,
		"Upgrade", "h2c", "Connection", "Upgrade", "X-Http-Method-Override", "DELETE")
	w, err := g.do(r)
	if status, ok := handlerStatus(err); !ok || status != 503 {
		t.Fatalf("error %v, want one with status 503", err)
	}
	if len(r.Header) != 0 {
		t.Errorf("the error routes get %v, want nothing of it", r.Header)
	}
	if w.Header().Get("Request-Id") == "" {
		t.Error("no Request-Id")
	}
	if errors.Is(err, errClosed) {
		t.Errorf("the error shows the inside: %v", err)
	}
}
