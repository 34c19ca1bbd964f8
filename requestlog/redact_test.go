package requestlog

import (
	"strings"
	"testing"
	"time"
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

// TestRedactBareQueryKeys: a token of an imported key has any spelling, and without a "=" it stands where a name would.
func TestRedactBareQueryKeys(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"mytok-81fe02c77ab1", "***"},
		{"mytok-81fe02c77ab1&limit=3", "***&limit="},
		{"legacy!key", "***"},
		{"user:password", "***"},
		{"correct-horse-battery-staple", "***"},
		{"7Gh2kPq9xW", "***"},
		{"%6dytok", "***"},
		{"bXl0b2tlbi04MWZlMDI=", "***="},
		{"bXl0b2tlbi04MWZlMDI==", "***="},
		{"a+b/c=", "***="},
		{strings.Repeat("k", 25), "***"},
		{"sk_live_" + body32, "sk_live_****YZ12"},
		{"x-sk_live_" + body32, "***"},
		{"sk%5flive%5f" + body32, "sk_live_****YZ12"},
		// Names stay.
		{"wsdl", "wsdl"},
		{"list-type&no_cache&v2", "list-type&no_cache&v2"},
		{"expand[]&expand%5B%5D&a.b", "expand[]&expand%5B%5D&a.b"},
		{"expand%5B0%5D=", "expand%5B0%5D="},
		{"customer_details[address][line2]=", "customer_details[address][line2]="},
		{"customer_details[address][postal_code]=1", "customer_details[address][postal_code]="},
		{"limit=", "limit="},
		{"=", "="},
	}
	for _, tt := range tests {
		if got := RedactQuery(tt.in); got != tt.want {
			t.Errorf("RedactQuery(%q): got %q, want %q", tt.in, got, tt.want)
		}
	}
	if got, want := RedactTarget("/v1/charges?mytok-81fe02c77ab1"), "/v1/charges?***"; got != want {
		t.Errorf("RedactTarget: got %q, want %q", got, want)
	}
}

func FuzzRedactQuery(f *testing.F) {
	f.Add("a=1&", "&b", 0, 0, uint64(0), false)
	f.Add("", "", 2, 2, ^uint64(0), true)
	f.Add("a%", "=", 8, 1, uint64(3), true)
	f.Add("a%4", "==", 8, 3, uint64(5), false)
	f.Fuzz(func(t *testing.T, before, after string, prefix, depth int, which uint64, upper bool) {
		p := tokenPrefixes[uint(prefix)%uint(len(tokenPrefixes))]
		in := before + encode(p+body32, int(uint(depth)%10), which, upper) + after
		for _, got := range []string{RedactQuery(in), RedactTarget("/v1/charges?" + in), RedactTarget("/v1/" + in)} {
			for left, next := "", got; left != next; {
				if left, next = next, decodeOnce(next); strings.Contains(left, body32) {
					t.Fatalf("token of prefix %s is left in %q of %q", p, got, in)
				}
			}
		}
		if got := RedactQuery(in); len(got) > maxQueryBytes+len("…") {
			t.Fatalf("RedactQuery of %d bytes gives %d", len(in), len(got))
		}
	})
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

// TestQueryKeys: the values of chosen parameters are kept, tokens in them are not.
func TestQueryKeys(t *testing.T) {
	t.Parallel()
	keep := QueryKeys{"limit": true, "expand[]": true}
	for _, tt := range []struct{ in, query, target string }{
		{"limit=3&secret=x", "limit=3&secret=", "limit=3&secret=***"},
		{"expand%5B%5D=a%20b&expand[]=c&Limit=3", "expand%5B%5D=a%20b&expand[]=c&Limit=", "expand%5B%5D=a%20b&expand[]=c&Limit=***"},
		{"limit=sk_live_" + body32, "limit=sk_live_****YZ12", "limit=sk_live_****YZ12"},
		{"limit=sk%5flive%5f" + body32, "limit=sk_live_****YZ12", "limit=sk_live_****YZ12"},
		{"limit&limit=", "limit&limit=", "limit&limit="},
	} {
		if got := keep.Redact(tt.in); got != tt.query {
			t.Errorf("Redact(%q): got %q, want %q", tt.in, got, tt.query)
		}
		if got, want := keep.RedactTarget("/v1/x?"+tt.in), "/v1/x?"+tt.target; got != want {
			t.Errorf("RedactTarget(%q): got %q, want %q", tt.in, got, want)
		}
	}
	if got := keep.Redact("limit=" + strings.Repeat("9", 5000)); len(got) > maxQueryBytes {
		t.Errorf("got %d bytes", len(got))
	}
}

// TestRedactLongTargets: what is not stored is not looked at. A target of a megabyte, made to be dear, costs about as much as
// one of a few kilobytes, before anybody has judged it.
func TestRedactLongTargets(t *testing.T) {
	const size = 1 << 20
	repeat := func(s string, size int) string { return strings.Repeat(s, size/len(s)) }
	for name, make := range map[string]func(size int) string{
		"empty pairs":    func(n int) string { return "/v1/charges?" + repeat("&", n) },
		"pairs":          func(n int) string { return "/v1/charges?" + repeat("=&", n) },
		"padding":        func(n int) string { return "/v1/charges?" + repeat("a", n/2) + repeat("=", n/2) },
		"encoded path":   func(n int) string { return "/" + repeat("%61dm_%2f", n) + "?a=1" },
		"path of masks":  func(n int) string { return "/" + repeat("sk_live_/", n) + "?a=1" },
		"encoded pairs":  func(n int) string { return "/v1/charges?" + repeat("%61dm_%2f&", n) },
		"kept parameter": func(n int) string { return "/v1/charges?" + repeat("%61", n) + "=1&" + repeat("limit=%61dm_&", n) },
	} {
		keep := QueryKeys{"limit": true}
		cost := func(target string) (took time.Duration) {
			_, query, _ := strings.Cut(target, "?")
			for i := range 5 { // the fastest of them: the machine may be busy
				began := time.Now()
				for range 20 {
					keep.RedactTarget(target)
					keep.Redact(query)
				}
				if d := time.Since(began); i == 0 || d < took {
					took = d
				}
			}
			return took
		}
		short, long := make(16<<10), make(size)
		if got := keep.RedactTarget(long); len(got) > maxTarget+maxQueryBytes+2*len(cutMark) || !strings.Contains(got, cutMark) && !strings.Contains(got, redactedValue) {
			t.Errorf("%s: %d bytes are left, want them cut and marked", name, len(got))
		}
		// Sixty-four times as long: linear work would take sixty-four times as much.
		if a, b := cost(short), cost(long); b > 16*a+100*time.Millisecond {
			t.Errorf("%s: 20 targets of 16 KiB take %v, of 1 MiB %v", name, a, b)
		}
	}
}

// TestRedactCutsBehindTokens: the half of a token at the cut is masked like a whole one.
func TestRedactCutsBehindTokens(t *testing.T) {
	t.Parallel()
	token := "sk_live_" + body32
	for before := maxTarget - len(token) - 2; before < maxTarget; before++ {
		got := RedactTarget("/" + strings.Repeat("p", before-2) + "/" + token + strings.Repeat("/x", 100))
		if strings.Contains(got, body32[:3]) || !strings.HasSuffix(got, cutMark) {
			t.Fatalf("behind %d bytes: %q", before, got[maxTarget-100:])
		}
	}
}
