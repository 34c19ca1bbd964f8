package caddymodule

import "testing"

// TestOptionsIsNoData: an OPTIONS request that is no preflight is judged as any other, and answered by the gateway unless
// the catalog has a rule for it.
func TestOptionsIsNoData(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.CORSOrigins = []string{"https://app.example"} })
	before := g.reached.Load()
	for _, test := range []struct{ name, target, token, origin string }{
		{"known path", "/v1/customers", g.live, ""},
		{"from a script", "/v1/customers", g.live, "https://app.example"},
		{"unknown path, unrestricted key", "/v9/unknown", g.live, ""},
		{"open route", "/public/x", "", ""},
		{"open route with a key", "/public/x", g.test, ""},
	} {
		r := request("OPTIONS", test.target, test.token)
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		w, err := g.do(r)
		if err != nil || w.Code != 204 || w.Body.Len() != 0 || w.Header().Get("Allow") != corsMethods || w.Header().Get("Request-Id") == "" {
			t.Errorf("%s: %d %q, headers %v, error %v; want an empty 204 with Allow", test.name, w.Code, w.Body, w.Header(), err)
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != test.origin {
			t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", test.name, got, test.origin)
		}
		want := "allowed"
		if test.token == "" {
			want = "open"
		}
		if rec := g.lastRecord(); rec.Status != 204 || rec.Decision != want || rec.Method != "OPTIONS" || rec.Upstream != 0 {
			t.Errorf("%s: record %d %s %s, upstream %v; want 204 %s without a backend", test.name, rec.Status, rec.Decision, rec.Method, rec.Upstream, want)
		}
	}
	if n := g.reached.Load() - before; n != 0 {
		t.Errorf("the backend was asked %d times", n)
	}
	_, narrow := g.restricted(readCustomers())
	g.wantDenied(request("OPTIONS", "/v1/charges", narrow), 403, "route_unknown")
	g.wantDenied(request("OPTIONS", "/v1/charges", ""), 401, "api_key_missing")
	g.wantDenied(request("OPTIONS", "/v1/charges", g.publ), 403, "secret_key_required")
}
