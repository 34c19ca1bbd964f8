package caddymodule

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// smallLog gives the gateway a log with room for 64 records, whose writer has taken one and takes no more until finish. What it
// stores is in kept.
type smallLog struct {
	*requestlog.Log
	g     *testGateway
	stuck *stuckStore
	kept  []requestlog.Record // after finish
}

func newSmallLog(t *testing.T, g *testGateway) *smallLog {
	t.Helper()
	l := &smallLog{g: g, stuck: newStuckStore()}
	var err error
	if l.Log, err = requestlog.Open(requestlog.Options{Store: l.stuck, QueueSize: 64}); err != nil {
		t.Fatal(err)
	}
	l.Observe(func(r *requestlog.Record) {
		l.kept = append(l.kept, requestlog.Record{Key: r.Key, Decision: r.Decision, Lost: r.Lost})
	})
	gate := *g.handler.app.run.gated.Load()
	gate.log = l.Log
	g.handler.app.run.gated.Store(&gate)
	l.Append(l.NewRecord())
	<-l.stuck.entered
	return l
}

// flood sends n such requests.
func (l *smallLog) flood(t *testing.T, n int, r func() *http.Request) {
	t.Helper()
	for range n {
		if _, err := l.g.do(r()); err != nil {
			t.Fatal(err)
		}
	}
}

// wantQueued checks how many records wait, beside the one that the writer has in hand.
func (l *smallLog) wantQueued(t *testing.T, what string, want int) {
	t.Helper()
	if s := l.Stats(); s.Queued != want+1 {
		t.Errorf("%s: %d records wait, want %d", what, s.Queued-1, want)
	}
}

// finish lets the writer go on, and checks that every request is in the log or told to be missing.
func (l *smallLog) finish(t *testing.T) {
	t.Helper()
	close(l.stuck.release)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	lost := int64(0)
	for _, r := range l.kept {
		lost += r.Lost
	}
	if s := l.Stats(); s.Gaps == 0 || s.Dropped == 0 || s.Appended != s.Stored+s.Dropped || uint64(lost) != s.Dropped {
		t.Errorf("%+v: want what was given up counted, and told by gap records, which tell of %d", s, lost)
	}
}

// endedKey makes a key and deletes it.
func (g *testGateway) endedKey() (*keystore.Key, string) {
	g.t.Helper()
	k, token := g.key(keystore.KeyParams{Kind: policy.KindSecret})
	if _, err := g.store.DeleteKey(g.t.Context(), testActor, k.ID); err != nil {
		g.t.Fatal(err)
	}
	return k, token
}

// TestStrangersTakeNoPlaceFromGoodKeys: with on_overload deny, whoever has no key cannot switch the API off for those who have
// one by making records: not by refusals, whatever they are answered with, and not by requests that need no key.
func TestStrangersTakeNoPlaceFromGoodKeys(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.OnOverload = "deny" })
	_, ended := g.endedKey()
	l := newSmallLog(t, g)
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", "") })
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", "sk_live_guess") }) // throttled in the end
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1//charges", "") })
	l.flood(t, 100, func() *http.Request {
		return request("OPTIONS", "/v1/charges", "", "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
	})
	l.wantQueued(t, "refused strangers", 32)
	g.wantServed(request("GET", "/healthz", ""))
	l.flood(t, 100, func() *http.Request { return request("GET", "/healthz", "") })
	l.flood(t, 100, func() *http.Request { return request("POST", "/v1/tokens", g.publ) })
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", g.publ) })
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", ended) })
	l.wantQueued(t, "anyone", 40)
	g.wantDenied(request("GET", "/healthz", ""), 503, "gateway_unavailable")
	g.wantDenied(request("GET", "/v1/charges", ended), 503, "gateway_unavailable")
	for range 8 {
		g.wantServed(request("GET", "/v1/charges", g.live))
	}
	g.wantDenied(request("GET", "/v1/charges", g.live), 503, "gateway_unavailable")
	l.finish(t)
}

// TestStrangersTakeNoPlaceInDropMode: with on_overload drop nothing is refused for the log's sake, and a flood of requests that
// anybody can make still leaves room for the records of good keys, whatever each of it is answered with.
func TestStrangersTakeNoPlaceInDropMode(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	_, ended := g.endedKey()
	for name, r := range map[string]func() *http.Request{
		"open":                 func() *http.Request { return request("GET", "/healthz", "") },
		"publishable":          func() *http.Request { return request("POST", "/v1/tokens", g.publ) },
		"publishable, refused": func() *http.Request { return request("GET", "/v1/charges", g.publ) },
		"ended":                func() *http.Request { return request("GET", "/v1/charges", ended) },
		"ended, malformed":     func() *http.Request { return request("GET", "/v1//charges", ended) },
		"ended, preflight": func() *http.Request {
			return request("OPTIONS", "/v1/charges", ended, "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
		},
	} {
		l := newSmallLog(t, g)
		l.flood(t, 100, r)
		l.wantQueued(t, name, 40)
		for range 24 {
			g.wantServed(request("GET", "/v1/charges", g.live))
		}
		l.wantQueued(t, name+" and good keys", 64)
		g.wantServed(request("GET", "/healthz", ""))
		l.finish(t)
	}
}

// TestSlowOpenRequestsEndTogether: requests on an open route that all begin while the queue is empty, and so are let in with
// on_overload deny, and that end all at once do not fill it so far that good keys are refused.
func TestSlowOpenRequestsEndTogether(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.OnOverload = "deny" })
	l := newSmallLog(t, g)
	const n = 200
	begun, end, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	slow := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		begun <- struct{}{}
		<-end
		return nil
	})
	for range n {
		go func() {
			w := httptest.NewRecorder()
			err := g.through(w, request("GET", "/healthz", ""), slow)
			if err == nil && w.Code != http.StatusOK {
				err = fmt.Errorf("status %d", w.Code)
			}
			ended <- err
		}()
	}
	for range n {
		<-begun
	}
	l.wantQueued(t, "before they end", 0)
	close(end)
	for range n {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	l.wantQueued(t, "open requests", 40)
	for range 8 {
		g.wantServed(request("GET", "/v1/charges", g.live))
	}
	l.finish(t)
}

// TestRefusalOfEndedKeyIsRecorded: a record shows the first refused request of a revoked key, also while guesses make more records
// than the log has time for.
func TestRefusalOfEndedKeyIsRecorded(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	revoked, token := g.endedKey()
	l := newSmallLog(t, g)
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", "sk_live_guess") })
	l.flood(t, 100, func() *http.Request { return request("GET", "/v1/charges", "") })
	g.wantDenied(request("GET", "/v1/charges", token), 401, "api_key_expired")
	l.wantQueued(t, "guesses and one ended key", 33)
	l.finish(t)
	found := 0
	for _, r := range l.kept {
		if r.Key == revoked.ID && r.Decision == "api_key_expired" {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d records tell of the revoked key, want 1", found)
	}
}
