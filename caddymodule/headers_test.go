package caddymodule

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	screen := newHeaderScreen(testHeaders, "X-Api-Key", []string{"X-Forwarded-For", "Fastly-Client-IP"})
	tests := []struct {
		name      string
		class     headerClass
		canonical string
	}{
		{"Keystile-Account", classIdentity, ""},
		{"keystile_account", classIdentity, ""},
		{"KEYSTILE.", classIdentity, ""},
		{"Keystile-" + strings.Repeat("x", 200), classIdentity, ""},
		{"Keystile", classPlain, ""},
		{"X-Keystile-Account", classPlain, ""},
		{"Stripe-Context", classInput, "Stripe-Context"},
		{"stripe_context", classInput, "Stripe-Context"},
		{"Origin", classInput, "Origin"},
		{"AUTHORIZATION", classCredential, "Authorization"},
		{"x.api_key", classCredential, "X-Api-Key"},
		{"X-HTTP-Method-Override", classOverride, "X-Http-Method-Override"},
		{"fastly_client-ip", classAddress, "Fastly-Client-Ip"},
		{"content_length", classFraming, "Content-Length"},
		{"connection", classConnection, "Connection"},
		{"Accept", classPlain, ""},
		{"", classPlain, ""},
		{strings.Repeat("k", 300), classPlain, ""},
	}
	for _, test := range tests {
		class, canonical := screen.classify(test.name)
		if class != test.class || canonical != test.canonical {
			t.Errorf("%q: class %d %q, want %d %q", test.name, class, canonical, test.class, test.canonical)
		}
	}
}

// TestForwardedPathsOfTrustedProxies: what an untrusted peer says of the path goes; a trusted proxy may say it.
func TestForwardedPathsOfTrustedProxies(t *testing.T) {
	t.Parallel()
	screen := newHeaderScreen(testHeaders, "", nil)
	for _, trusted := range []bool{false, true} {
		h := http.Header{"X-Forwarded-Prefix": {"/api"}, "X_Forwarded_Prefix": {"/x"}, "X-Forwarded-For": {"192.0.2.1"}}
		screen.strip(h, trusted)
		_, prefix := h["X-Forwarded-Prefix"]
		_, alias := h["X_Forwarded_Prefix"]
		_, address := h["X-Forwarded-For"]
		if prefix != trusted || alias || !address {
			t.Errorf("trusted %v: %v", trusted, h)
		}
	}
}

func FuzzStrip(f *testing.F) {
	for _, name := range []string{"Keystile-Account", "keystile_account", "Stripe.Context", "X-Http-Method_Override", "Accept", "Connection"} {
		f.Add(name, "x", "close, Keystile-Mode")
	}
	screen := newHeaderScreen(testHeaders, "X-Api-Key", []string{"X-Forwarded-For"})
	read := []string{"Authorization", "X-Api-Key", "Stripe-Context", "Stripe-Account", "Stripe-Version", "Origin"}
	f.Fuzz(func(t *testing.T, name, value, connection string) {
		h := http.Header{"Accept": {"*/*"}, "X-Plain": {"1"}}
		h[name] = []string{value}
		h["Connection"] = []string{connection}
		screen.strip(h, false)
		for have := range h {
			folded := foldName(have)
			if strings.HasPrefix(folded, "keystile-") || strings.Contains(folded, "-override") && folded == "x-http-method-override" {
				t.Fatalf("%q is still there", have)
			}
			for _, r := range read {
				if folded == foldName(r) && have != r {
					t.Fatalf("alias %q of %s is still there", have, r)
				}
			}
		}
		// what a proxy does with the Connection header next must not touch anything that is protected
		h["Keystile-Account"] = []string{"acct"}
		h["Stripe-Context"] = []string{"acct"}
		h["X-Forwarded-For"] = []string{"192.0.2.1"}
		before := h.Clone()
		for _, line := range h["Connection"] {
			for token := range strings.SplitSeq(line, ",") {
				if token = textproto.TrimString(token); token != "" {
					h.Del(token)
				}
			}
		}
		for _, kept := range []string{"Keystile-Account", "Stripe-Context", "X-Forwarded-For"} {
			if !slices.Equal(h[kept], before[kept]) {
				t.Fatalf("Connection %q deleted %s", connection, kept)
			}
		}
	})
}

func FuzzConnection(f *testing.F) {
	for _, s := range []string{"close", "keep-alive, X-Hop", "keystile-mode", "Content-Length,,", "upgrade , \tKEYSTILE_x"} {
		f.Add(s, "")
	}
	screen := newHeaderScreen(testHeaders, "", nil)
	f.Fuzz(func(t *testing.T, first, second string) {
		h := http.Header{"Connection": {first, second}}
		var want []string
		for _, line := range []string{first, second} {
			for token := range strings.SplitSeq(line, ",") {
				if token = textproto.TrimString(token); token != "" && !screen.protected(token) {
					want = append(want, token)
				}
			}
		}
		screen.strip(h, false)
		var got []string
		for _, line := range h["Connection"] {
			for token := range strings.SplitSeq(line, ",") {
				if token = textproto.TrimString(token); token != "" {
					got = append(got, token)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("Connection %q, %q: tokens %q left, want %q", first, second, got, want)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/v1/charges", "/v1/../x", "/%2e%2e/x", "//x", "/a%2fb", "/a?b#c", "*", "http://h/p", "/a;b/c", "/%25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := raw(t, "GET", s)
		if r == nil {
			return
		}
		path, ok := target(r)
		if !ok {
			return
		}
		// what is accepted is what a backend decodes, cleans, or does neither with
		if r.URL.Path != path || path == "" || path[0] != '/' || strings.Contains(path, "//") || strings.ContainsAny(path, "\\\x00\x7f") {
			t.Fatalf("target %q gives %q, the URL has %q", s, path, r.URL.Path)
		}
		for segment := range strings.SplitSeq(path, "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("target %q gives %q", s, path)
			}
		}
		if strings.ContainsRune(s, '#') {
			t.Fatalf("target %q has a fragment", s)
		}
	})
}
