package main_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// identityNames are all names that the gateway may send to a backend.
var identityNames = []string{
	"Request-Id", "Key-Id", "Key-Kind", "Mode", "Account", "Sandbox", "Resource", "Access", "Owner", "Connected", "Assertion",
}

// spellings writes a header name in the ways that backends and languages fold into one.
func spellings(name string) []string {
	under := strings.ReplaceAll(name, "-", "_")
	dots := strings.ReplaceAll(name, "-", ".")
	return []string{
		name, strings.ToLower(name), strings.ToUpper(name),
		under, strings.ToLower(under), strings.ToUpper(under),
		dots, strings.ToLower(dots), strings.ToUpper(dots),
		strings.Replace(under, "_", ".", 1), strings.Replace(dots, ".", "-", 1), strings.Replace(name, "-", "_", 1),
		strings.Replace(strings.ToLower(name), "-", "_", 1), "k" + strings.ToUpper(name[1:]),
	}
}

// TestA_SpoofedIdentity is A1 to A4: no spelling of an identity header that a client sends reaches the backend, and the
// gate's own value stands exactly once.
func TestA_SpoofedIdentity(t *testing.T) {
	b := theBed(t)
	want := ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read")
	for _, name := range identityNames {
		t.Run(name, func(t *testing.T) {
			for _, spelling := range spellings("Keystile-" + name) {
				_, got := b.passes(t, b.any, get("/v1/customers", b.RK.Token, spelling+": spoofed"))
				wantIdentity(t, got, want)
			}
		})
	}
	t.Run("all at once, twice, before and after the key", func(t *testing.T) {
		var lines []string
		for _, name := range identityNames {
			for _, spelling := range spellings("Keystile-" + name) {
				lines = append(lines, spelling+": a", spelling+": b")
			}
		}
		request := gatetest.Request("GET", "/v1/customers", "", append(append(append([]string(nil), lines...), gatetest.Bearer(b.RK.Token)), lines...)...)
		_, got := b.passes(t, b.any, request)
		wantIdentity(t, got, want)
	})
	t.Run("open route", func(t *testing.T) {
		for _, spelling := range spellings("Keystile-Account") {
			_, got := b.passes(t, b.any, gatetest.Request("GET", "/public/x", "", spelling+": "+b.B))
			wantIdentity(t, got, map[string]string{"Keystile-Request-Id": "req_…"})
		}
	})
	t.Run("upstreams", func(t *testing.T) {
		for _, spelling := range spellings("Keystile-Account") {
			_, got := b.passes(t, b.routes, get("/v1/customers", b.RK.Token, spelling+": "+b.B))
			wantIdentity(t, got, want)
		}
	})
}

// TestA_FoldedLines: a header smuggled by line folding or by blanks around its name is refused or removed.
func TestA_FoldedLines(t *testing.T) {
	b := theBed(t)
	for _, line := range []string{
		"Keystile-Account : " + b.B,
		" Keystile-Account: " + b.B,
		"\tKeystile-Account: " + b.B,
		"X-A: 1\r\n Keystile-Account: " + b.B,
		"X-A: 1\rKeystile-Account: " + b.B,
		"X-A: 1\nKeystile-Account: " + b.B,
		"Keystile-Account\x00: " + b.B,
		"Keystile\u2010Account: " + b.B,
		"\"Keystile-Account\": " + b.B,
		":Keystile-Account: " + b.B,
		"Keystile-Account\t: " + b.B,
	} {
		before, faults := b.echo.Count(), len(b.echo.Faults())
		answer := b.send(t, b.any, get("/v1/customers", b.RK.Token, line))
		got := b.echo.Requests(before)
		switch {
		case (answer.Status == 400 || answer.Status == 401) && len(got) == 0: // 401: the line before it was the key's
		case answer.Status == 200 && len(got) == 1:
			wantIdentity(t, got[0], ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read"))
		default:
			t.Errorf("%q: got status %d with %d requests at the backend", line, answer.Status, len(got))
		}
		if n := len(b.echo.Faults()); n != faults {
			t.Errorf("%q: the backend could not read what it got: %v", line, b.echo.Faults()[faults:])
		}
	}
}

// TestA5_Trailers: identity headers in trailers, announced or not, over HTTP/1.1 and HTTP/2.
func TestA5_Trailers(t *testing.T) {
	b := theBed(t)
	want := ident(b.SK, "live", b.A, "Resource", "customers", "Access", "write")
	check := func(t *testing.T, before int) {
		t.Helper()
		got := b.echo.Requests(before)
		if len(got) != 1 {
			t.Fatalf("got %d requests at the backend, want 1", len(got))
		}
		wantIdentity(t, got[0], want)
		for _, f := range got[0].Trailer {
			if strings.Contains(f.Value, b.B) {
				t.Errorf("the backend received the trailer %s: %s", f.Name, f.Value)
			}
		}
	}
	for _, name := range append(spellings("Keystile-Account"), "Authorization", "Stripe-Version", "Content-Length", "Transfer-Encoding", "Host", "Connection") {
		for _, announced := range []bool{true, false} {
			lines := []string{gatetest.Bearer(b.SK.Token), "Transfer-Encoding: chunked"}
			if announced {
				lines = append(lines, "Trailer: "+name)
			}
			before := b.echo.Count()
			answer := b.send(t, b.any, gatetest.Request("POST", "/v1/customers", "", lines...)+"3\r\na=b\r\n0\r\n"+name+": "+b.B+"\r\n\r\n")
			if answer.Status == 400 { // names that must never be trailers may be refused
				if n := b.echo.Count(); n != before {
					t.Errorf("HTTP/1.1, %s announced %v: a 400, and the backend was asked", name, announced)
				}
				continue
			}
			if answer.Status != 200 {
				t.Errorf("HTTP/1.1, %s announced %v: got %d", name, announced, answer.Status)
				continue
			}
			check(t, before)
		}
	}
	t.Run("HTTP/2", func(t *testing.T) {
		for _, name := range []string{"keystile-account", "keystile_account", "keystile.account", "keystile-key_id"} {
			for _, announced := range []bool{true, false} {
				h, err := gatetest.DialH2(b.h2c, source(), "")
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				header := gatetest.H2Request("POST", "/v1/customers", b.SK.Token)
				if announced {
					header = append(header, gatetest.F("trailer", name))
				}
				before := b.echo.Count()
				answer, err := h.Do(header, []byte("a=b"), []gatetest.Field{gatetest.F(name, b.B)})
				if err != nil || answer.Status != 200 {
					t.Fatalf("%s announced %v: got %+v, %v", name, announced, answer, err)
				}
				check(t, before)
			}
		}
	})
}

// TestA_HTTP2Spoofing is A1 to A4 over HTTP/2, where names are lower case and cookies may be split.
func TestA_HTTP2Spoofing(t *testing.T) {
	b := theBed(t)
	h, err := gatetest.DialH2(b.h2c, source(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, name := range []string{"keystile-account", "keystile_account", "keystile.account", "keystile-key-id", "keystile_key-id"} {
		answer, err := h.Do(gatetest.H2Request("GET", "/v1/customers", b.RK.Token, gatetest.F(name, b.B), gatetest.F(name, "x")), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		wantIdentity(t, answer.Echo(t), ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read"))
	}
}
