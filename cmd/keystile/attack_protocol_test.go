package main_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// handshake are the lines of a WebSocket handshake.
var handshake = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// TestG1_Upgrade: an upgrade is decided like any request, before the handshake.
func TestG1_Upgrade(t *testing.T) {
	b := theBed(t)
	b.denied(t, b.any, get("/v1/charges", b.RK.Token, handshake...), notPermitted)
	b.denied(t, b.any, get("/v1/charges", b.OLD.Token, handshake...), expired)
	b.denied(t, b.any, gatetest.Request("GET", "/v1/charges", "", handshake...), missing)
	b.denied(t, b.any, get("/v1/charges", b.SKIP.Token, handshake...), ipNotAllowed)
	b.denied(t, b.sandbox, get("/v1/charges", b.SK.Token, handshake...), modeMismatch)
	b.denied(t, b.any, get("/v1/charges", b.PK.Token, handshake...), secretRequired)
	for _, upgrade := range []string{"h2c", "TLS/1.0", "foo", "websocket, h2c", "connect-udp"} {
		b.denied(t, b.any, get("/v1/charges", b.RK.Token, "Connection: Upgrade", "Upgrade: "+upgrade), notPermitted)
	}
	t.Run("HTTP/2 extended CONNECT", func(t *testing.T) {
		h, err := gatetest.DialH2(b.h2c, source(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		before := b.calls()
		answer, err := h.Do([]gatetest.Field{gatetest.F(":method", "CONNECT"), gatetest.F(":protocol", "websocket"), gatetest.F(":scheme", "http"),
			gatetest.F(":authority", "api.example.com"), gatetest.F(":path", "/v1/charges"), gatetest.F("authorization", "Bearer "+b.RK.Token),
			gatetest.F("sec-websocket-version", "13")}, nil, nil)
		var reset *gatetest.ResetError
		switch {
		case err == nil && answer.Status == 403:
			b.checkDenial(t, answer, notPermitted)
		case err == nil && answer.Status >= 400:
		case errors.As(err, &reset), errors.Is(err, gatetest.ErrClosed): // the server does not offer it
		default:
			t.Errorf("got %+v, %v, want a refusal", answer, err)
		}
		if b.calls() != before {
			t.Error("the backend was asked")
		}
	})
}

// TestG5_HTTP2Targets: paths and authorities that only HTTP/2 can carry.
func TestG5_HTTP2Targets(t *testing.T) {
	b := theBed(t)
	key := gatetest.F("authorization", "Bearer "+b.RK.Token)
	request := func(path string, more ...gatetest.Field) []gatetest.Field {
		return append([]gatetest.Field{gatetest.F(":method", "GET"), gatetest.F(":scheme", "http"),
			gatetest.F(":authority", "api.example.com"), gatetest.F(":path", path), key}, more...)
	}
	tests := []struct {
		name   string
		fields []gatetest.Field
	}{
		{"no leading slash", request("v1/charges")},
		{"asterisk", request("*")},
		{"empty path", request("")},
		{"absolute", request("http://api.example.com/v1/charges")},
		{"dot segments", request("/v1/customers/../charges")},
		{"encoded slash", request("/v1/customers/..%2fcharges")},
		{"double slash", request("//v1/charges")},
		{"blank in the path", request("/v1/charges /v1/customers")},
		{"line break in the path", request("/v1/charges HTTP/1.1\r\nX: y")},
		{"fragment", request("/v1/charges#x")},
		{"NUL", request("/v1/charges\x00")},
		{"other host header", request("/v1/charges", gatetest.F("host", "admin"))},
		{"two paths", request("/v1/customers", gatetest.F(":path", "/v1/charges"))},
		{"two methods", append([]gatetest.Field{gatetest.F(":method", "POST")}, request("/v1/charges")...)},
		{"no path", []gatetest.Field{gatetest.F(":method", "GET"), gatetest.F(":scheme", "http"), gatetest.F(":authority", "h"), key}},
		{"method with a line break", append([]gatetest.Field{gatetest.F(":method", "GET /v1/customers HTTP/1.1\r\nX:"), gatetest.F(":scheme", "http"),
			gatetest.F(":authority", "h"), gatetest.F(":path", "/v1/charges")}, key)},
		{"header value with a line break", request("/v1/charges", gatetest.F("x-a", "b\r\nKeystile-Account: "+b.B))},
		{"header name in upper case", request("/v1/charges", gatetest.F("Keystile-Account", b.B))},
		{"connection header", request("/v1/charges", gatetest.F("connection", "keystile-account"))},
		{"transfer coding", request("/v1/charges", gatetest.F("transfer-encoding", "chunked"))},
		{"unknown pseudo header", request("/v1/charges", gatetest.F(":keystile", "x"))},
		{"pseudo header at the end", append([]gatetest.Field{gatetest.F(":method", "GET"), gatetest.F(":scheme", "http"),
			gatetest.F(":authority", "h"), key}, gatetest.F(":path", "/v1/charges"))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := gatetest.DialH2(b.h2c, source(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			before, faults := b.calls(), len(b.echo.Faults())
			answer, err := h.Do(tt.fields, nil, nil)
			if err == nil && answer.Status != 400 && answer.Status != 403 {
				t.Errorf("got %d, want 400 or 403; body %.200s", answer.Status, answer.Body)
			}
			if got := b.calls() - before; got != 0 {
				t.Errorf("the backend was asked %d times", got)
			}
			if n := len(b.echo.Faults()); n != faults {
				t.Errorf("the backend could not read what it got: %v", b.echo.Faults()[faults:])
			}
		})
	}
	t.Run("different authority and host on an allowed route", func(t *testing.T) {
		h, err := gatetest.DialH2(b.h2c, source(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		before := b.echo.Count()
		answer, err := h.Do(request("/v1/customers", gatetest.F("host", "admin")), nil, nil)
		got := b.echo.Requests(before)
		if err == nil && answer.Status == 200 {
			if len(got) != 1 || len(got[0].Folded("Host")) != 1 {
				t.Errorf("the backend got %+v, want one Host", got)
			}
		} else if len(got) != 0 {
			t.Errorf("got %+v, %v, and the backend was asked", answer, err)
		}
	})
	t.Run("content length that lies", func(t *testing.T) {
		for _, length := range []string{"1", "100", "-1", "x"} {
			h, err := gatetest.DialH2(b.h2c, source(), "")
			if err != nil {
				t.Fatal(err)
			}
			faults := len(b.echo.Faults())
			_, _ = h.Do(gatetest.H2Request("POST", "/v1/customers", b.SK.Token, gatetest.F("content-length", length)),
				[]byte("GET /admin/x HTTP/1.1\r\nHost: h\r\n\r\n"), nil)
			h.Close()
			for _, fault := range b.echo.Faults()[faults:] {
				if !strings.Contains(fault, "reading a body") { // a body cut short with its connection is no confusion
					t.Errorf("length %s: %s", length, fault)
				}
			}
			if answer := b.send(t, b.any, get("/v1/customers", b.RK.Token)); answer.Status != 200 {
				t.Errorf("length %s: the next request got %d", length, answer.Status)
			}
		}
	})
}

// TestTLS: over TLS and HTTP/2 the answers are the same.
func TestTLS(t *testing.T) {
	b := theBed(t)
	h, err := gatetest.DialH2(b.tls, source(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	request := func(path, token string) []gatetest.Field {
		return []gatetest.Field{gatetest.F(":method", "GET"), gatetest.F(":scheme", "https"), gatetest.F(":authority", "localhost"),
			gatetest.F(":path", path), gatetest.F("authorization", "Bearer "+token)}
	}
	answer, err := h.Do(request("/v1/customers", b.RK.Token), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantIdentity(t, answer.Echo(t), ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read"))
	for _, tt := range []struct {
		path, token string
		want        want
	}{
		{"/v1/charges", b.RK.Token, notPermitted},
		{"/v1/customers", b.OLD.Token, expired},
		{"/v1/customers/../charges", b.RK.Token, malformed},
		{"/v1/customers", b.SKIP.Token, ipNotAllowed},
	} {
		answer, err := h.Do(request(tt.path, tt.token), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.checkDenial(t, answer, tt.want)
	}
}
