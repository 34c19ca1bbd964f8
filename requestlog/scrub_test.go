package requestlog

import (
	"strings"
	"testing"
)

const body32 = "0123456789abcdefghijklmnopqrstuvwxYZ12" // 38 base62 characters

func TestScrubTokens(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""},
		{"/v1/charges", "/v1/charges"},
		{"/v1/payment_intents/pi_123", "/v1/payment_intents/pi_123"},
		{"sk_live_" + body32, "sk_live_****YZ12"},
		{"/x/pk_test_" + body32 + "/y", "/x/pk_test_****YZ12/y"},
		{"rk_test_" + body32 + "&a=sk_org_live_" + body32, "rk_test_****YZ12&a=sk_org_live_****YZ12"},
		{"adm_" + body32 + " rest", "adm_****YZ12 rest"},
		{"sk_test_123", "sk_test_****"},
		{`{"key":"sk_live_` + body32 + `"}`, `{"key":"sk_live_****YZ12"}`},
		{"SK_LIVE_" + body32, "SK_LIVE_****YZ12"},
		{"sk%5Flive%5f" + body32, "sk_live_****YZ12"},
		{"sk%255flive_" + body32, "sk_live_****YZ12"},
		{"s%6b_live_" + body32, "sk_live_****YZ12"},
		{"100%_of", "100%_of"},
		{"xsk_live_" + body32, "xsk_live_****YZ12"},
		{"/v1/task_live_feed", "/v1/task_live_feed"},
		{"Bearer sk_live_****YZ12 refused", "Bearer sk_live_****YZ12 refused"},
		{"sk_live_", "sk_live_"},
		{"sk_live_ x", "sk_live_ x"},
		{"adm_adm_" + body32, "adm_****YZ12"},
	}
	for _, tt := range tests {
		if got := ScrubTokens(tt.in); got != tt.want {
			t.Errorf("ScrubTokens(%q):\n got %q\nwant %q", tt.in, got, tt.want)
		}
	}
}

func TestScrubTokensOfPlainTextAllocatesNothing(t *testing.T) {
	for _, s := range []string{"/v1/payment_intents/pi_1", "Mozilla/5.0 (X11; Linux x86_64)", "key_live"} {
		if n := testing.AllocsPerRun(100, func() { ScrubTokens(s) }); n != 0 {
			t.Errorf("ScrubTokens(%q): got %v allocations, want 0", s, n)
		}
	}
}

func FuzzScrubTokens(f *testing.F) {
	f.Add("/a?", "b", 0)
	f.Add("x ", "&sk_live_1", 3)
	f.Fuzz(func(t *testing.T, before, after string, prefix int) {
		p := tokenPrefixes[uint(prefix)%uint(len(tokenPrefixes))]
		got := ScrubTokens(before + p + body32 + after)
		if strings.Contains(got, body32) {
			t.Errorf("token of prefix %s is left in %q", p, got)
		}
		if again := ScrubTokens(got); strings.Contains(again, body32) {
			t.Errorf("token is back in %q", again)
		}
	})
}

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
