package main_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestB_ConnectionHeader is B1 and B2: a Connection header deletes neither identity headers nor the gate's inputs.
func TestB_ConnectionHeader(t *testing.T) {
	b := theBed(t)
	want := ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read")
	for _, lines := range [][]string{
		{"Connection: close, Keystile-Key-Id, Keystile-Account"},
		{"Connection: keystile-key-id"},
		{"connection: KEYSTILE-Account"},
		{"Connection: close", "Connection: keystile-account, Keystile-Mode"},
		{"Connection: keystile_account,keystile.account,Keystile-Request-Id"},
		{"Connection: \"Keystile-Account\""},
		{"Connection: close,,, Keystile-Account ,\tKeystile-Key-Kind\t"},
		{"Proxy-Connection: Keystile-Account"},
		{"Keep-Alive: Keystile-Account", "Connection: keep-alive, Keep-Alive, Keystile-Resource, Keystile-Access"},
		{"Connection: TE, Keystile-Account", "TE: trailers"},
		{"Connection: Authorization, Keystile-Account"},
	} {
		t.Run(strings.Join(lines, "|"), func(t *testing.T) {
			_, got := b.passes(t, b.any, get("/v1/customers", b.RK.Token, lines...))
			wantIdentity(t, got, want)
		})
	}
	t.Run("the context stays an input", func(t *testing.T) {
		_, got := b.passes(t, b.any, get("/v1/customers", b.SK.Token, "Stripe-Account: "+b.D, "Connection: Stripe-Account, Stripe-Context"))
		wantIdentity(t, got, ident(b.SK, "live", b.D, "Resource", "customers", "Access", "read", "Owner", b.A, "Connected", "true"))
	})
	t.Run("the version stays", func(t *testing.T) {
		_, got := b.passes(t, b.any, get("/v1/customers", b.SK.Token, "Stripe-Version: 2026-01-01", "Connection: Stripe-Version"))
		if v := got.Exact("Stripe-Version"); len(v) != 1 || v[0] != "2026-01-01" {
			t.Errorf("the backend got the version %v, want 2026-01-01", v)
		}
	})
	t.Run("two credentials stay two", func(t *testing.T) {
		b.denied(t, b.any, get("/v1/customers", b.SK.Token, gatetest.Bearer(b.OLD.Token), "Connection: Authorization"), invalid)
	})
}

// TestB3_ForwardedForDeleted: naming X-Forwarded-For in Connection does not hide the client's address.
func TestB3_ForwardedForDeleted(t *testing.T) {
	b := theBed(t)
	for _, connection := range []string{"X-Forwarded-For", "x-forwarded-for", "close, X_Forwarded_For, X-Forwarded-For"} {
		b.deniedFrom(t, gatetest.TrustedProxy, b.any,
			get("/v1/customers", b.SKIP.Token, "X-Forwarded-For: 198.51.100.9", "Connection: "+connection), ipNotAllowed)
	}
}

// consistent sends bytes that are framed ambiguously. The contract: 400 or 501 and a closed connection, or one consistent
// request; never the second one that hides in the bytes.
func consistent(t *testing.T, b *bed, name, request string) {
	t.Helper()
	before, faults := b.echo.Count(), len(b.echo.Faults())
	answers, err := gatetest.SendAll(b.any, source(), request, 3)
	if err != nil && !errors.Is(err, gatetest.ErrClosed) {
		t.Errorf("%s: %v", name, err)
		return
	}
	got := b.echo.Requests(before)
	for _, r := range got {
		if strings.Contains(r.Target, "admin") {
			t.Errorf("%s: the hidden request reached the backend: %s %s", name, r.Method, r.Target)
		}
	}
	if len(got) > 1 {
		t.Errorf("%s: %d requests reached the backend, want at most 1", name, len(got))
	}
	if n := len(b.echo.Faults()); n != faults {
		t.Errorf("%s: the backend's connection lost its framing: %v", name, b.echo.Faults()[faults:])
	}
	for i, a := range answers {
		switch {
		case a.Status == 200 && i == 0:
		case a.Status >= 400 && a.Status != 403: // a refusal; 403 would be one of the hidden request
		default:
			t.Errorf("%s: answer %d has status %d", name, i, a.Status)
		}
	}
}

// TestB4_Framing: request smuggling in the forms that gateways fell for.
func TestB4_Framing(t *testing.T) {
	b := theBed(t)
	hidden := "GET /admin/x HTTP/1.1\r\nHost: h\r\n" + gatetest.Bearer(b.RK.Token) + "\r\n\r\n"
	key := gatetest.Bearer(b.SK.Token)
	head := "POST /v1/customers HTTP/1.1\r\nHost: h\r\n" + key + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(hidden))
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	tests := []struct{ name, request string }{
		{"length named in Connection", head + "Connection: Content-Length\r\n" + length + "\r\n" + hidden},
		{"length named in Connection, lower case", head + "Connection: content-length\r\n" + length + "\r\n" + hidden},
		{"coding named in Connection", head + "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
		{"host named in Connection", head + "Connection: Host, Content-Length\r\n" + length + "\r\n" + hidden},
		{"length and chunked", head + length + "Transfer-Encoding: chunked\r\n\r\n" + chunks},
		{"chunked and a short length", head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
		{"two lengths", head + "Content-Length: 4\r\n" + length + "\r\n" + hidden},
		{"length list", head + "Content-Length: 4, 4\r\n\r\nabcd"},
		{"length with a sign", head + "Content-Length: +4\r\n\r\nabcd" + hidden},
		{"length with a blank", head + "Content-Length : 4\r\n\r\nabcd" + hidden},
		{"negative length", head + "Content-Length: -4\r\n\r\n" + hidden},
		{"hexadecimal length", head + "Content-Length: 0x4\r\n\r\nabcd" + hidden},
		{"chunked twice", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
		{"chunked and identity", head + "Transfer-Encoding: chunked, identity\r\n\r\n" + chunks},
		{"identity", head + "Transfer-Encoding: identity\r\n" + length + "\r\n" + hidden},
		{"unknown coding", head + "Transfer-Encoding: xchunked\r\n" + length + "\r\n" + hidden},
		{"coding with a vertical tab", head + "Transfer-Encoding:\x0bchunked\r\n" + length + "\r\n" + hidden},
		{"coding with underscores", head + "Transfer_Encoding: chunked\r\n" + length + "\r\n" + hidden},
		{"chunk size too large", head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + hidden},
		{"chunk extension with a line feed", head + "Transfer-Encoding: chunked\r\n\r\n1;\n" + hidden + "\r\na\r\n0\r\n\r\n"},
		{"bare line feed in the head", "GET /v1/customers HTTP/1.1\nHost: h\n" + key + "\n\n"},
		{"HTTP/1.0 with a coding", "POST /v1/customers HTTP/1.0\r\nHost: h\r\n" + key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
		{"body on a GET", "GET /v1/customers HTTP/1.1\r\nHost: h\r\n" + key + "\r\n" + length + "\r\n" + hidden},
		{"body on a HEAD", "HEAD /v1/customers HTTP/1.1\r\nHost: h\r\n" + key + "\r\n" + length + "\r\n" + hidden},
		{"body on a DELETE", "DELETE /v1/customers/1 HTTP/1.1\r\nHost: h\r\n" + key + "\r\n" + length + "\r\n" + hidden},
		{"expect without a body", head + "Expect: 100-continue\r\n" + length + "\r\n" + hidden},
		{"unknown expectation", head + "Expect: 200-ok\r\n" + length + "\r\n" + hidden},
		{"upgrade to h2c", "GET /v1/customers HTTP/1.1\r\nHost: h\r\n" + key + "\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"},
		{"two hosts", "GET /v1/customers HTTP/1.1\r\nHost: h\r\nHost: admin\r\n" + key + "\r\n\r\n"},
		{"no host", "GET /v1/customers HTTP/1.1\r\n" + key + "\r\n\r\n"},
		{"host with a path", "GET /v1/customers HTTP/1.1\r\nHost: h/admin\r\n" + key + "\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { consistent(t, b, tt.name, tt.request) })
	}
	t.Run("the body arrives as a body", func(t *testing.T) {
		_, got := b.passes(t, b.any, head+length+"\r\n"+hidden)
		if got.Body != hidden {
			t.Errorf("the backend got the body %q", got.Body)
		}
	})
}

// TestB_Pipelining: two requests in one write are two decisions, each with its own key.
func TestB_Pipelining(t *testing.T) {
	b := theBed(t)
	before := b.calls()
	answers, err := gatetest.SendAll(b.any, source(), get("/v1/customers", b.SK.Token)+get("/v1/charges", b.RK.Token)+get("/v1/customers", b.OLD.Token), 3)
	if err != nil || len(answers) != 3 {
		t.Fatalf("got %d answers, %v, want 3", len(answers), err)
	}
	if answers[0].Status != 200 {
		t.Errorf("first: got %d, want 200", answers[0].Status)
	}
	b.checkDenial(t, answers[1], notPermitted)
	b.checkDenial(t, answers[2], expired)
	if got := b.calls() - before; got != 1 {
		t.Errorf("the backend was asked %d times, want 1", got)
	}
}
