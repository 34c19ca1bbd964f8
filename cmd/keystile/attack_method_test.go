package main_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// overrides are headers by which frameworks let a client change the method.
var overrides = []string{
	"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "x-http-method-override", "X_HTTP_METHOD_OVERRIDE",
	"X-Http-Method.Override", "X_Method_Override", "x.http.method",
}

// TestD1_OverrideToRead: a POST stays a POST, whatever header, query or body says.
func TestD1_OverrideToRead(t *testing.T) {
	b := theBed(t)
	for _, name := range overrides {
		b.denied(t, b.any, post("/v1/customers", b.RK.Token, name+": GET"), notPermitted)
	}
	b.denied(t, b.any, post("/v1/customers?_method=GET", b.RK.Token), notPermitted)
	b.denied(t, b.any, gatetest.Request("POST", "/v1/customers", "_method=GET", gatetest.Bearer(b.RK.Token),
		"Content-Type: application/x-www-form-urlencoded"), notPermitted)
}

// TestD2_OverrideToWrite: a header that would make a GET a DELETE does not reach the backend.
func TestD2_OverrideToWrite(t *testing.T) {
	b := theBed(t)
	for _, name := range overrides {
		for _, target := range []string{"/v1/customers", "/public/x"} {
			_, got := b.passes(t, b.any, get(target, b.RK.Token, name+": DELETE", name+": POST"))
			for _, alias := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
				if lines := got.Folded(alias); len(lines) > 0 {
					t.Errorf("%s on %s: the backend received %v", name, target, lines)
				}
			}
			if got.Method != "GET" {
				t.Errorf("%s: the backend received the method %s", name, got.Method)
			}
		}
	}
	t.Run("in trailers", func(t *testing.T) {
		answer := b.send(t, b.any, gatetest.Request("POST", "/v1/customers", "", gatetest.Bearer(b.SK.Token),
			"Transfer-Encoding: chunked", "Trailer: X-HTTP-Method-Override")+"1\r\na\r\n0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n")
		if lines := answer.Echo(t).Folded("X-HTTP-Method-Override"); len(lines) > 0 {
			t.Errorf("the backend received %v", lines)
		}
	})
}

// TestD_Methods: who may do what with methods other than GET and POST.
func TestD_Methods(t *testing.T) {
	b := theBed(t)
	bare := func(method, target, token string) string {
		if token == "" {
			return gatetest.Request(method, target, "")
		}
		return gatetest.Request(method, target, "", gatetest.Bearer(token))
	}
	tests := []struct {
		name, request string
		want          want
	}{
		{"OPTIONS without a key", bare("OPTIONS", "/v1/customers", ""), missing},
		{"OPTIONS of the server", bare("OPTIONS", "*", ""), want{}},
		{"HEAD of another resource", bare("HEAD", "/v1/charges", b.RK.Token), want{status: 403}},
		{"lower case get of another resource", bare("get", "/v1/charges", b.RK.Token), want{}},
		{"unknown method", bare("FROBNICATE", "/v1/customers", b.RK.Token), want{}},
		{"DELETE with a read key", bare("DELETE", "/v1/customers/cus_1", b.RK.Token), notPermitted},
		{"PUT with a read key", bare("PUT", "/v1/customers/cus_1", b.RK.Token), want{}},
		{"PATCH with a read key", bare("PATCH", "/v1/customers/cus_1", b.RK.Token), want{}},
		{"PRI", bare("PRI", "/v1/charges", b.RK.Token), want{}},
		{"TRACK", bare("TRACK", "/v1/charges", b.RK.Token), want{}},
		{"DEBUG", bare("DEBUG", "/v1/charges", b.RK.Token), want{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.code != "" {
				b.denied(t, b.any, tt.request, tt.want)
				return
			}
			before := b.calls()
			answer, err := gatetest.Send(b.any, source(), tt.request)
			if err != nil && !errors.Is(err, gatetest.ErrClosed) {
				t.Fatal(err)
			}
			if answer != nil && (answer.Status < 400 || answer.Status >= 500) && !strings.Contains(tt.name, "OPTIONS of") {
				t.Errorf("got %d, want a refusal", answer.Status)
			}
			if got := b.calls() - before; got != 0 {
				t.Errorf("the backend was asked %d times", got)
			}
		})
	}
	t.Run("OPTIONS with a restricted key is no data", func(t *testing.T) {
		before := b.calls()
		answer := b.send(t, b.any, bare("OPTIONS", "/v1/charges", b.RK.Token))
		if answer.Status < 400 || b.calls() != before {
			t.Errorf("got %d with %d requests at the backend", answer.Status, b.calls()-before)
		}
	})
}

// TestD6_ConnectAndTrace: neither is served, over HTTP/1.1 or HTTP/2, with or without a body, and the backend's
// connection stays in step.
func TestD6_ConnectAndTrace(t *testing.T) {
	b := theBed(t)
	hidden := "GET /admin/x HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, request := range []string{
		gatetest.Request("CONNECT", "/v1/customers", "", gatetest.Bearer(b.SK.Token)),
		gatetest.Request("CONNECT", "api.example.com:443", "", gatetest.Bearer(b.SK.Token)),
		gatetest.Request("CONNECT", "api.example.com:443", ""),
		gatetest.Request("CONNECT", "/v1/customers", hidden, gatetest.Bearer(b.SK.Token)),
		gatetest.Request("TRACE", "/v1/customers", hidden, gatetest.Bearer(b.SK.Token)),
		gatetest.Request("TRACE", "/public/x", ""),
		gatetest.Request("CONNECT", "/public/x", hidden),
		gatetest.Request("CONNECT", "/v1/customers", "", gatetest.Bearer(b.SK.Token), "Upgrade: websocket", "Connection: Upgrade"),
	} {
		before := b.calls()
		answer, err := gatetest.Send(b.any, source(), request)
		if err != nil && !errors.Is(err, gatetest.ErrClosed) {
			t.Errorf("%.60q: %v", request, err)
			continue
		}
		if answer != nil && answer.Status != 405 && answer.Status != 501 && answer.Status != 400 {
			t.Errorf("%.60q: got %d, want 405 or 501", request, answer.Status)
		}
		if got := b.calls() - before; got != 0 {
			t.Errorf("%.60q: the backend was asked %d times", request, got)
		}
	}
	b.denied(t, b.any, gatetest.Request("TRACE", "/v1/customers", "", gatetest.Bearer(b.SK.Token), "Max-Forwards: 0"), badMethod)

	t.Run("HTTP/2", func(t *testing.T) {
		key := gatetest.F("authorization", "Bearer "+b.SK.Token)
		tests := []struct {
			name   string
			fields []gatetest.Field
		}{
			{"CONNECT as the RFC has it", []gatetest.Field{gatetest.F(":method", "CONNECT"), gatetest.F(":authority", "api.example.com:443"), key}},
			{"CONNECT with a path", append([]gatetest.Field{gatetest.F(":method", "CONNECT"), gatetest.F(":scheme", "http"),
				gatetest.F(":authority", "api.example.com"), gatetest.F(":path", "/v1/customers")}, key)},
			{"extended CONNECT of another protocol", []gatetest.Field{gatetest.F(":method", "CONNECT"), gatetest.F(":protocol", "connect-udp"),
				gatetest.F(":scheme", "http"), gatetest.F(":authority", "api.example.com"), gatetest.F(":path", "/v1/customers"), key}},
			{"TRACE", append([]gatetest.Field{gatetest.F(":method", "TRACE"), gatetest.F(":scheme", "http"),
				gatetest.F(":authority", "api.example.com"), gatetest.F(":path", "/v1/customers")}, key)},
		}
		for _, tt := range tests {
			for _, body := range [][]byte{nil, []byte(hidden)} {
				h, err := gatetest.DialH2(b.h2c, source(), "")
				if err != nil {
					t.Fatal(err)
				}
				before, faults := b.calls(), len(b.echo.Faults())
				answer, err := h.Do(tt.fields, body, nil)
				var reset *gatetest.ResetError
				if err != nil && !errors.As(err, &reset) && !errors.Is(err, gatetest.ErrClosed) {
					t.Errorf("%s: %v", tt.name, err)
				}
				if err == nil && answer.Status != 405 && answer.Status != 501 && answer.Status != 400 {
					t.Errorf("%s with a body of %d: got %d, want 405", tt.name, len(body), answer.Status)
				}
				if got := b.calls() - before; got != 0 {
					t.Errorf("%s with a body of %d: the backend was asked %d times", tt.name, len(body), got)
				}
				h.Close()
				if answer := b.send(t, b.any, get("/v1/customers", b.RK.Token)); answer.Status != 200 {
					t.Errorf("%s: the next request got %d", tt.name, answer.Status)
				}
				if n := len(b.echo.Faults()); n != faults {
					t.Errorf("%s: the backend's connection lost its framing: %v", tt.name, b.echo.Faults()[faults:])
				}
			}
		}
	})
}
