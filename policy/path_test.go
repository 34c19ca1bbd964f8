package policy

import (
	"net/url"
	"path"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestCanonicalPath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{"/", "/"},
		{"/v1/charges", "/v1/charges"},
		{"/v1/charges/", "/v1/charges/"},
		{"/v1/%63harges", "/v1/charges"},
		{"/V1/Charges", "/V1/Charges"},
		{"/v1/a%20b", "/v1/a b"},
		{"/v1/%C3%A9", "/v1/é"},
		{"/v1/é", "/v1/é"},
		{"/v1/%25", "/v1/%"},
		{"/v1/customers/%252e%252e/charges", "/v1/customers/%2e%2e/charges"}, // twice escaped stays literal
		{"/v1/%252f", "/v1/%2f"},
		{"/v1/%3f%23", "/v1/?#"}, // escaped, they are part of the path
		{"/...", "/..."},
		{"/.hidden/..data/a..", "/.hidden/..data/a.."},
		{"/v1;a=b/charges;c", "/v1;a=b/charges;c"}, // Rules.Ambiguous judges the rest
		{"/v1/%EF%BF%BD", "/v1/\ufffd"},            // a real U+FFFD is text
		{"/a:b@c!$&'()*+,=~-_", "/a:b@c!$&'()*+,=~-_"},
	} {
		if got, ok := CanonicalPath(tt.in); !ok || got != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.in, got, ok, tt.want)
		}
	}
	for _, in := range []string{
		"", "*", "v1/charges", "http://h/v1", "//v1/charges", "/v1//charges", "//", "/v1/charges//", "//admin/x",
		"/v1/customers/../charges", "/v1/customers/./charges", "/..", "/.", "/../", "/a/..",
		"/v1/customers/%2e%2e/charges", "/v1/customers/%2E./charges", "/v1/customers/.%2e", "/%2e",
		"/v1/customers/..%2fcharges", "/v1/customers%2Fcharges", "/v1/customers/..%5ccharges", `/v1/customers/..\charges`, `/v1\charges`, "/a%5Cb",
		"/v1/customers//../charges",
		"/a%00b", "/a%0ab", "/a%0D", "/a%7f", "/a\x00", "/a\nb", "/a\x7f", "/a%1f", "/a b", "/a%C2%85", "/a\u0085",
		"/a%ff", "/a\xff", "/a%C0%AF", "/a%ED%A0%80", "/a%C3", "/%F8%88%80%80%80",
		"/a%", "/a%2", "/a%zz", "/a%2g", "/a%-1", "/%u002e",
		"/a?b", "/a#b", "/a%23b#c",
		"/;", "/;a/b", "/a/;x", "/a/;x/b", "/..;a/b", "/a/..;/b", "/.;a/b", "/a/%2e%2e;x/b", "/a/..%3bx/b", "/a/%3Bx/b",
	} {
		if got, ok := CanonicalPath(in); ok || got != "" {
			t.Errorf("%q: got %q, want malformed", in, got)
		}
	}
}

func TestWithoutParameters(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/v1;a=b/charges;c": "/v1/charges", "/a;b;c/d": "/a/d", "/a": "/a", "/a;": "/a", "/a;b/": "/a/",
	} {
		if got := withoutParameters(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// FuzzCanonicalPath: what is accepted means the same to a backend that decodes it, cleans it, or does neither.
func FuzzCanonicalPath(f *testing.F) {
	for _, s := range []string{"/", "/v1/%63harges/", "/a;b/%3bc", "/%252e%252e/", "/%2e", "//", "/é%C3%A9", "/a%2fb", "/..;/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := CanonicalPath(in)
		if !ok {
			return
		}
		decoded, err := url.PathUnescape(in)
		if err != nil || decoded != got {
			t.Fatalf("%q: got %q, and url.PathUnescape %q, %v", in, got, decoded, err)
		}
		cleaned := path.Clean(got)
		if strings.HasSuffix(got, "/") && got != "/" {
			cleaned += "/"
		}
		if cleaned != got {
			t.Errorf("%q: got %q, which is cleaned to %q", in, got, cleaned)
		}
		// A server that drops matrix parameters first must not find another shape of path.
		bare := withoutParameters(got)
		if b, ok := CanonicalPath((&url.URL{Path: bare}).EscapedPath()); !ok || b != bare || strings.Count(bare, "/") != strings.Count(got, "/") {
			t.Errorf("%q: without parameters %q, which is not canonical", in, bare)
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsRune(got, '\\') {
			t.Errorf("%q: got %q with characters that must be refused", in, got)
		}
		// What net/http makes of it and what a proxy writes again must come out the same.
		u, err := url.ParseRequestURI(in)
		if err != nil {
			return // the server refuses it before us
		}
		if again, ok := CanonicalPath(u.EscapedPath()); !ok || again != got || u.Path != got {
			t.Errorf("%q: got %q, and after net/url %q, %v", in, got, again, ok)
		}
		if again, ok := CanonicalPath((&url.URL{Path: got}).EscapedPath()); !ok || again != got {
			t.Errorf("%q: got %q, and escaped anew %q, %v", in, got, again, ok)
		}
	})
}
