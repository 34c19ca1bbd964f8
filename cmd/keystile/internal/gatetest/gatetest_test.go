package gatetest

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
)

// A harness that cannot fail proves nothing: these tests show that it sees what it is there to see.

func TestBackendKeepsWhatArrived(t *testing.T) {
	t.Parallel()
	b := NewBackend(t, "echo")
	answer, err := Send(b.Addr, "", "POST /v1//a%2Fb?x=1 HTTP/1.1\r\nHost: h\r\nx-LOWER_case: 1\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"3\r\nabc\r\n0\r\nX-Trail: t\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	got := answer.Echo(t)
	if got.Target != "/v1//a%2Fb?x=1" || got.Body != "abc" {
		t.Errorf("got target %q body %q", got.Target, got.Body)
	}
	if want := []Field{F("X-Trail", "t")}; !reflect.DeepEqual(got.Trailer, want) {
		t.Errorf("got trailers %v, want %v", got.Trailer, want)
	}
	if got.Exact("x-LOWER_case") == nil || len(got.Folded("X-Lower-Case")) != 1 {
		t.Errorf("the header's own spelling is lost: %v", got.Header)
	}
	if b.Count() != 1 || len(b.Requests(0)) != 1 || len(b.Requests(1)) != 0 {
		t.Errorf("got count %d, want 1", b.Count())
	}
}

func TestBackendNotesBrokenFraming(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, request string }{
		{"bare line feed", "GET / HTTP/1.1\nHost: h\n\n"},
		{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na"},
		{"length and chunked", "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"no request", "0\r\n\r\n"},
	}
	for _, tt := range tests {
		b := NewBackend(t, "echo")
		if answer, err := Send(b.Addr, "", tt.request); err == nil {
			t.Errorf("%s: got status %d, want no answer", tt.name, answer.Status)
		}
		if b.Count() != 0 || len(b.Faults()) != 1 {
			t.Errorf("%s: got count %d faults %v, want 0 and one", tt.name, b.Count(), b.Faults())
		}
	}
}

func TestFindTokens(t *testing.T) {
	t.Parallel()
	token := "sk_live_" + strings.Repeat("a", 38)
	var known tokens
	known.addJSON([]byte(`{"data":[{"token":"sk_test_123","id":"key_1"},{"token":"pk_live_x"}]}`))
	tests := []struct {
		name, text string
		leak       bool
	}{
		{"masked", `{"token_masked":"sk_live_****aaaa"}`, false},
		{"a key that nobody handed out", "GET /?key=" + token, true},
		{"organization key", "sk_org_" + "live_" + strings.Repeat("b", 38), true},
		{"imported spelling", "… sk_test_123 …", true},
		{"imported spelling, as a Basic credential", "Basic c2tfdGVzdF8xMjM6", true},
		{"publishable", "pk_live_x", false},
		{"hex", "at 736b5f746573745f313233 in", true},
		{"percent", "/?q=%73%6B%5F%74%65%73%74%5F%31%32%33", true},
		{"turned around", "/321_tset_ks/", true},
		{"JSON escapes", `"\u0073\u006b\u005f\u0074\u0065\u0073\u0074\u005f\u0031\u0032\u0033"`, true},
		{"base64 of more, beginning elsewhere", base64.StdEncoding.EncodeToString([]byte("u:sk_test_123 and more")), true},
		{"base64 of more, beginning elsewhere again", base64.URLEncoding.EncodeToString([]byte("k=v sk_test_123 and more")), true},
	}
	for _, tt := range tests {
		err := findTokens("here", []byte(tt.text), known.list())
		if (err != nil) != tt.leak {
			t.Errorf("%s: got %v, want leak %v", tt.name, err, tt.leak)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error repeats the token", tt.name)
		}
	}
}

func TestWelcomeIsTheOnlyPlaceForAToken(t *testing.T) {
	t.Parallel()
	token := "sk_test_" + strings.Repeat("c", 38)
	welcome := "Sandbox key: " + token + "\n  curl -H 'Authorization: Bearer " + token + "' http://x\n"
	if left := withoutWelcome(welcome); strings.Contains(left, token) {
		t.Errorf("the welcome keeps its token: %q", left)
	}
	for _, line := range []string{`{"msg":"` + token + `"}`, "2026/01/02 03:04:05 INFO " + token} {
		if left := withoutWelcome(welcome + line); !strings.Contains(left, token) {
			t.Errorf("a token in a log line is passed over: %q", line)
		}
	}
}
