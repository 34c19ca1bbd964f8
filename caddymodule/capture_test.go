package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// echoBody is a backend that reads the body and answers with it, as the type says.
func echoBody(status int, media string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Set-Cookie", "session=hunter2")
		w.WriteHeader(status)
		_, err = w.Write(body)
		return err
	}
}

func withBody(r *http.Request, media, body string) *http.Request {
	r.Header.Set("Content-Type", media)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return r
}

// TestCapture: headers and bodies are kept where the site asks for them, redacted, and the exchange is not changed.
func TestCapture(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) {
		h.KeyHeader = "X-Site-Key"
		h.Capture = &CaptureConfig{
			RequestHeaders: []string{"*"}, ResponseHeaders: []string{"content-type", "Set-Cookie", "Request-Id"},
			RequestBody: 4096, ResponseBody: 40, RedactFields: []string{"note"}, Query: []string{"limit"},
		}
	})
	g.backend = echoBody(http.StatusPaymentRequired, "application/json")
	body := `{"amount":100,"password":"hunter2","note":"hunter2","text":"` + g.test + `"}`
	r := withBody(request("POST", "/v1/charges?limit=3&x=hunter2", "", "X-Site-Key", g.live, "User-Agent", "curl/8", "Cookie", "hunter2",
		"X-Note", "about "+g.live), "application/json", body)
	_, w := g.wantServed(r)
	if w.Body.String() != body || g.seen.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the exchange was changed: %s", w.Body)
	}
	rec := g.lastRecord()
	wantRequest := `{"Content-Type":"application/json","Cookie":"***","User-Agent":"curl/8","X-Note":"about ` + maskOf(g.live) + `","X-Site-Key":"***"}`
	if rec.RequestHeaders != wantRequest {
		t.Errorf("request headers\n%s\nwant\n%s", rec.RequestHeaders, wantRequest)
	}
	if want := `{"Content-Type":"application/json","Request-Id":"` + rec.ID + `","Set-Cookie":"***"}`; rec.ResponseHeaders != want {
		t.Errorf("response headers %s, want %s", rec.ResponseHeaders, want)
	}
	if want := `{"amount":100,"password":"***","note":"***","text":"` + maskOf(g.test) + `"}`; rec.RequestBody != want {
		t.Errorf("request body %s, want %s", rec.RequestBody, want)
	}
	if want := `{"amount":100,"password":"***"…`; rec.ResponseBody != want {
		t.Errorf("response body %s, want %s", rec.ResponseBody, want)
	}
	if rec.Query != "limit=3&x=" || rec.Target != "/v1/charges?limit=3&x=***" {
		t.Errorf("query %q, target %q", rec.Query, rec.Target)
	}
	if used := g.log.Stats().Captured; used != 0 {
		t.Errorf("%d bytes are counted as on their way after all was stored", used)
	}
}

func maskOf(token string) string { return token[:8] + "****" + token[len(token)-4:] }

// TestCaptureOnlyErrors: of requests that are served, nothing is kept; of those that are refused, the answer and the headers.
func TestCaptureOnlyErrors(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) {
		h.Capture = &CaptureConfig{RequestHeaders: []string{"Accept"}, RequestBody: 100, ResponseBody: 400, Only: "errors"}
	})
	g.backend = echoBody(http.StatusOK, "text/plain")
	g.wantServed(withBody(request("POST", "/v1/charges", g.live, "Accept", "a/b"), "text/plain", "text"))
	if rec := g.lastRecord(); rec.RequestHeaders+rec.RequestBody+rec.ResponseBody != "" {
		t.Errorf("of a served request: %q %q %q", rec.RequestHeaders, rec.RequestBody, rec.ResponseBody)
	}
	g.wantDenied(withBody(request("POST", "/v1/charges", "", "Accept", "a/b"), "text/plain", "text"), 401, "api_key_missing")
	if rec := g.lastRecord(); rec.RequestHeaders != `{"Accept":"a/b"}` || rec.RequestBody != "" || !strings.Contains(rec.ResponseBody, `"api_key_missing"`) {
		t.Errorf("of a refused request: %q %q %q", rec.RequestHeaders, rec.RequestBody, rec.ResponseBody)
	}
	g.backend = func(http.ResponseWriter, *http.Request) error { return caddyhttp.Error(502, errors.New("gone")) }
	_, _ = g.do(request("POST", "/v1/charges", g.live, "Accept", "a/b"))
	if rec := g.lastRecord(); rec.RequestHeaders != `{"Accept":"a/b"}` || rec.Status != 502 {
		t.Errorf("of a failed request: %d %q", rec.Status, rec.RequestHeaders)
	}
	if used := g.log.Stats().Captured; used != 0 {
		t.Errorf("%d bytes are counted as on their way after all was stored", used)
	}
}

// TestCaptureStreams: a streaming answer goes on as it comes, and its beginning is kept. What the backend has not read of
// a body is not there.
func TestCaptureStreams(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.Capture = &CaptureConfig{RequestBody: 100, ResponseBody: 100} })
	g.backend = func(w http.ResponseWriter, r *http.Request) error {
		_, _ = io.ReadFull(r.Body, make([]byte, 5))
		w.Header().Set("Content-Type", "text/plain")
		for i := range 3 {
			_, _ = io.WriteString(w, "piece ")
			if err := http.NewResponseController(w).Flush(); err != nil {
				return err
			}
			_ = i
		}
		_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(strings.Repeat("x", 200)))
		return err
	}
	_, w := g.wantServed(withBody(request("POST", "/v1/charges", g.live), "text/plain", "0123456789"))
	if want := "piece piece piece " + strings.Repeat("x", 200); w.Body.String() != want || !w.Flushed {
		t.Errorf("the client got %q", w.Body)
	}
	rec := g.lastRecord()
	if rec.RequestBody != "01234…" || rec.ResponseBody != "piece piece piece "+strings.Repeat("x", 82)+"…" {
		t.Errorf("request body %q, response body %q", rec.RequestBody, rec.ResponseBody)
	}
}

func TestCaptureValidate(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]*CaptureConfig{
		"nothing is asked for":       {},
		"only: \"x\"":                {RequestBody: 1, Only: "x"},
		"response_body: -1 bytes":    {ResponseBody: -1},
		"redact_header: \"a b\"":     {RequestBody: 1, RedactHeaders: []string{"a b"}},
		"redact_field: the name":     {RequestBody: 1, RedactFields: []string{""}},
		"query: the values of \"\"":  {Query: []string{""}},
		"query: the values of \"x\"": {Query: []string{"x"}, RedactFields: []string{"X"}},
	} {
		h := &Handler{Capture: c}
		if err := h.compile(&settings{headers: testHeaders}); err == nil || !strings.Contains(err.Error(), "capture: "+want) {
			t.Errorf("%+v: error %v, want it to say %q", c, err, want)
		}
	}
}
