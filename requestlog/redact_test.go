package requestlog

import (
	"strings"
	"testing"
)

func TestRedactQuery(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""},
		{"limit=3&starting_after=ch_1", "limit=&starting_after="},
		{"a", "a"},
		{"a&b=&=c&&", "a&b=&="},
		{"expand[]=data.customer", "expand[]="},
		{"sk_live_" + body32 + "=1", "sk_live_****YZ12="},
		{"key=sk_live_" + body32, "key="},
		{"a=b=c;d=e", "a="},
	}
	for _, tt := range tests {
		if got := RedactQuery(tt.in); got != tt.want {
			t.Errorf("RedactQuery(%q): got %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, in := range []string{strings.Repeat("a=1&", 5000), strings.Repeat("k", 5000) + "=1", strings.Repeat(strings.Repeat("k", 100)+"=&", 30)} {
		if got := RedactQuery(in); len(got) > maxQueryBytes+len("…") || !strings.Contains(got, "…") {
			t.Errorf("RedactQuery of %d bytes: got %d bytes, want at most %d and a mark of the cut", len(in), len(got), maxQueryBytes)
		}
	}
}

func TestRedactTarget(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"/v1/charges", "/v1/charges"},
		{"/v1/charges?limit=3&a", "/v1/charges?limit=***&a"},
		{"/v1/charges?", "/v1/charges?"},
		{"/a#secret?x=1", "/a#***"},
		{"http://user:pass@host/p?x=y", "http://***@host/p?x=***"},
		{"user:pass@host:443", "***@host:443"},
		{"/v1/sk_live_" + body32 + "?a=sk_live_" + body32, "/v1/sk_live_****YZ12?a=***"},
		{"*", "*"},
	}
	for _, tt := range tests {
		if got := RedactTarget(tt.in); got != tt.want {
			t.Errorf("RedactTarget(%q): got %q, want %q", tt.in, got, tt.want)
		}
	}
}
