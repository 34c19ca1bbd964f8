package main_test

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// confusions are targets that some server reads as /v1/charges, /admin/x or another place outside of /v1/customers.
var confusions = []struct{ name, target string }{
	{"C1", "/v1/customers/../charges"},
	{"C1 at the end", "/v1/customers/.."},
	{"C1 deep", "/v1/customers/a/b/../../../charges"},
	{"C1 from the root", "/../v1/charges"},
	{"C1 single dot", "/v1/./charges"},
	{"C1 single dot at the end", "/v1/customers/."},
	{"C2", "/v1/customers/%2e%2e/charges"},
	{"C2 mixed", "/v1/customers/%2E./charges"},
	{"C2 mixed the other way", "/v1/customers/.%2e/charges"},
	{"C2 single", "/v1/customers/%2e/x"},
	{"C4 encoded slash", "/v1/customers/..%2fcharges"},
	{"C4 encoded slash, upper case", "/v1/customers/..%2Fcharges"},
	{"C4 encoded backslash", "/v1/customers/..%5ccharges"},
	{"C4 backslash", `/v1/customers/..\charges`},
	{"C4 backslashes only", `/v1\customers\..\charges`},
	{"C4 all encoded", "/v1/customers/%2e%2e%2fcharges"},
	{"C4 slash in front", "/v1/customers%2f..%2fcharges"},
	{"C4 encoded slash alone", "/v1/customers%2fx"},
	{"C4 encoded slash at the end", "/v1/customers/%2f"},
	{"C4 encoded slash between", "/v1%2fcharges"},
	{"C4 three backslashes", "/v1/customers/a%5c..%5c..%5ccharges"},
	{"C5", "//v1/charges"},
	{"C5 inside", "/v1//charges"},
	{"C5 and dots", "/v1/customers//../charges"},
	{"C5 at the end", "/v1/customers//"},
	{"C5 three", "///v1/charges"},
	{"C6", "//admin/x"},
	{"C6 with a port", "//admin:80/x"},
	{"C6 with a user", "//user@admin/x"},
	{"C6 backslash", `/\admin/x`},
	{"C7 admin", "/ADMIN/x"},
	{"C7 charges", "/V1/Charges"},
	{"C7 encoded letter", "/v1/%63harges"},
	{"C7 trailing slash", "/v1/charges/"},
	{"C10", "/v1/charges?path=/v1/customers"},
	{"C10 open", "/admin/x?/public/"},
	{"C10 question mark encoded", "/v1/charges%3f/v1/customers"},
	{"C10 fragment", "/v1/charges#/v1/customers"},
	{"C10 fragment behind", "/v1/customers#/../charges"},
	{"C10 encoded fragment", "/v1/customers%23/../charges"},
	{"matrix parameter", "/v1/customers;x=1/../charges"},
	{"matrix dots", "/v1/customers/..;/charges"},
	{"matrix dots with a value", "/v1/customers/..;a=b/charges"},
	{"matrix encoded", "/v1/customers/..%3b/charges"},
	{"matrix on the resource", "/v1/charges;v1/customers"},
	{"NUL", "/v1/customers/%00/../charges"},
	{"NUL in dots", "/v1/customers/.%00./charges"},
	{"NUL at the end", "/v1/customers%00"},
	{"control character", "/v1/customers/%07"},
	{"tab", "/v1/customers/%09"},
	{"line break", "/v1/customers/%0d%0aX-Evil:%201"},
	{"line feed", "/v1/customers/%0a"},
	{"delete character", "/v1/customers/%7f"},
	{"next line", "/v1/customers/%c2%85"},
	{"overlong dots", "/v1/customers/%c0%ae%c0%ae/charges"},
	{"overlong slash", "/v1/customers/..%c0%af../charges"},
	{"invalid UTF-8", "/v1/customers/%ff"},
	{"surrogate", "/v1/customers/%ed%a0%80"},
	{"cut off UTF-8", "/v1/customers/%e2%82"},
	{"raw invalid UTF-8", "/v1/customers/\xff\xfe"},
	{"IIS encoding", "/v1/customers/%u002e%u002e/charges"},
	{"half an escape", "/v1/customers/%2"},
	{"no escape", "/v1/customers/%zz"},
	{"absolute form", "http://api.example.com/v1/charges"},
	{"absolute form with dots", "http://api.example.com/v1/customers/../charges"},
	{"absolute form of another host", "http://admin/v1/charges"},
	{"absolute form, no path", "http://api.example.com"},
	{"no leading slash", "v1/charges"},
	{"asterisk", "*"},
	{"empty authority", "http:///v1/charges"},
	{"opaque", "mailto:/v1/charges"},
	{"only slash", "/"},
	{"long", "/v1/charges/" + strings.Repeat("a/", 3000)},
}

// TestC_PathConfusion sends each target with RK: refused with no backend asked, or at the backend inside /v1/customers.
func TestC_PathConfusion(t *testing.T) {
	b := theBed(t)
	for _, tt := range confusions {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				before, faults := b.echo.Count(), len(b.echo.Faults())
				answer, err := gatetest.Send(b.any, source(), gatetest.Request(method, tt.target, "", gatetest.Bearer(b.RK.Token), "Connection: close"))
				got := b.echo.Requests(before)
				if err != nil {
					if !errors.Is(err, gatetest.ErrClosed) || len(got) > 0 {
						t.Fatalf("%s: %v, with %d requests at the backend", method, err, len(got))
					}
					continue
				}
				switch {
				case (answer.Status == 400 || answer.Status == 403) && len(got) == 0:
				case answer.Status == 200 && len(got) == 1:
					wantInside(t, got[0].Target, "/v1/customers")
				default:
					t.Errorf("%s: got status %d with %d requests at the backend; body %.200s", method, answer.Status, len(got), answer.Body)
				}
				if n := len(b.echo.Faults()); n != faults {
					t.Errorf("%s: the backend could not read what it got: %v", method, b.echo.Faults()[faults:])
				}
			}
		})
	}
}

// wantInside wants that a target lies at or below a place, however often and in whichever way a backend decodes it.
func wantInside(t *testing.T, target, place string) {
	t.Helper()
	text, _, _ := strings.Cut(target, "?")
	for range 2 { // as it stands, and decoded once: a backend decodes once
		clean := path.Clean("/" + strings.ReplaceAll(text, `\`, "/"))
		if clean != place && !strings.HasPrefix(clean, place+"/") {
			t.Errorf("the backend received %q, which is read as %q, outside of %s", target, clean, place)
		}
		for _, segment := range strings.Split(text, "/") {
			if plain, _, _ := strings.Cut(segment, ";"); plain == "." || plain == ".." {
				t.Errorf("the backend received %q with a dot segment", target)
			}
		}
		decoded, err := url.PathUnescape(text)
		if err != nil {
			t.Errorf("the backend received %q: %v", target, err)
			return
		}
		text = decoded
	}
}

// TestC3_DoubleEncoding: text that is encoded twice stays what it is, byte for byte.
func TestC3_DoubleEncoding(t *testing.T) {
	b := theBed(t)
	for _, target := range []string{
		"/v1/customers/%252e%252e/charges",
		"/v1/customers/%252e%252e%252fcharges",
		"/v1/customers/..%252fcharges",
		"/v1/customers/%25%32%65",
		"/v1/customers/a%20b",
		"/v1/customers/caf%C3%A9",
		"/v1/customers/caf%c3%a9",
		"/v1/customers/...",
		"/v1/customers/..a",
		"/v1/customers/a..b/c.d",
		"/v1/customers/cus_1?expand[]=a&x=%2e%2e/%2f",
		"/v1/customers/a+b@c:d,e$f!g'h(i)*",
		"/v1/customers?path=/v1/charges/../x",
		"/v1/customers?",
	} {
		before := b.echo.Count()
		answer := b.send(t, b.any, get(target, b.RK.Token))
		got := b.echo.Requests(before)
		if answer.Status != 200 || len(got) != 1 {
			t.Errorf("%s: got status %d with %d requests at the backend, want 200 and 1; body: %.300s", target, answer.Status, len(got), answer.Body)
			continue
		}
		if got[0].Target != target {
			t.Errorf("the backend received %q, want %q unchanged", got[0].Target, target)
		}
	}
}

// TestC_OpenRoutes: no spelling reaches a closed place as if it were open.
func TestC_OpenRoutes(t *testing.T) {
	b := theBed(t)
	for _, target := range []string{
		"/public/../v1/charges", "/public/%2e%2e/admin/x", "/public/..%2fadmin/x", "/public/..;/admin/x",
		"/public//../admin/x", "/public/..%5cadmin", `/public/..\admin`, "/public;/../admin/x", "//public/x",
		"/public", "/publicx/y", "/PUBLIC/x", "/Public/x", "/public%2fx", "/healthz/", "/healthz/x", "/healthzx", "/HEALTHZ",
		"/admin/x?/public/x", "/v1/charges#/public/x", "/public/%00", "/%70ublic/../admin/x",
		"http://api.example.com/admin/x", "/healthz%00", "/healthz;x", "/./public/x",
	} {
		before := b.echo.Count()
		answer, err := gatetest.Send(b.any, source(), gatetest.Request("GET", target, "", "Connection: close"))
		if err != nil && !errors.Is(err, gatetest.ErrClosed) {
			t.Errorf("%s: %v", target, err)
			continue
		}
		got := b.echo.Requests(before)
		switch {
		case len(got) == 0 && (answer == nil || answer.Status == 400 || answer.Status == 401):
		case len(got) == 1 && answer.Status == 200 && (strings.HasPrefix(target, "/healthz;") || strings.HasPrefix(target, "http")):
			t.Errorf("%s: passed without a key as %q", target, got[0].Target)
		case len(got) == 1 && answer.Status == 200:
			wantInside(t, got[0].Target, "/public")
		default:
			t.Errorf("%s: got status %d with %d requests at the backend", target, answer.Status, len(got))
		}
	}
	for _, target := range []string{"/public/", "/public/x", "/public/x/y?z", "/healthz", "/healthz?full"} {
		if answer := b.send(t, b.any, gatetest.Request("GET", target, "")); answer.Status != 200 {
			t.Errorf("%s: got %d, want the open route to pass", target, answer.Status)
		}
	}
	t.Run("a bad key is refused on an open route", func(t *testing.T) {
		b.denied(t, b.any, get("/public/x", b.OLD.Token), expired)
		b.denied(t, b.any, get("/healthz", "nonsense"), invalid)
		b.denied(t, b.any, get("/public/x", b.SKIP.Token), ipNotAllowed)
	})
}

// TestC17_RewriteHeaders: headers that name another path are no part of the decision.
func TestC17_RewriteHeaders(t *testing.T) {
	b := theBed(t)
	for _, name := range []string{
		"X-Forwarded-Uri", "X-Original-URL", "X-Original-Uri", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path",
		"X-Envoy-Original-Path", "X-Original-Method", "X-Forwarded-Method", "X-Forwarded-Host", "Forwarded",
	} {
		for _, from := range []string{source(), gatetest.TrustedProxy} {
			_, got := func() (*gatetest.Answer, *gatetest.Received) {
				answer := b.sendFrom(t, from, b.any, get("/v1/customers", b.RK.Token, name+": /public/x"))
				return answer, answer.Echo(t)
			}()
			wantIdentity(t, got, ident(b.RK, "live", b.A, "Resource", "customers", "Access", "read"))
			b.deniedFrom(t, from, b.any, get("/v1/charges", b.RK.Token, name+": /v1/customers"), notPermitted)
			b.deniedFrom(t, from, b.any, gatetest.Request("GET", "/v1/charges", "", name+": /public/x"), missing)
		}
	}
}
