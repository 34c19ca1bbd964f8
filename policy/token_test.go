package policy

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// prefixes are all there are.
var prefixes = []struct {
	text string
	kind Kind
	mode Mode
}{
	{"sk_live_", KindSecret, ModeLive},
	{"sk_test_", KindSecret, ModeSandbox},
	{"pk_live_", KindPublishable, ModeLive},
	{"pk_test_", KindPublishable, ModeSandbox},
	{"rk_live_", KindRestricted, ModeLive},
	{"rk_test_", KindRestricted, ModeSandbox},
	{"sk_org_live_", KindOrganization, ModeLive},
	{"sk_org_test_", KindOrganization, ModeSandbox},
}

func mustToken(tb testing.TB, k Kind, m Mode) string {
	tb.Helper()
	token, err := GenerateToken(rand.Reader, k, m)
	if err != nil {
		tb.Fatal(err)
	}
	return token.Reveal()
}

func TestGenerateToken(t *testing.T) {
	t.Parallel()
	for _, p := range prefixes {
		s := mustToken(t, p.kind, p.mode)
		if !strings.HasPrefix(s, p.text) || len(s) != len(p.text)+38 {
			t.Errorf("got %q, want %s and 38 characters", s, p.text)
		}
		if k, m, class := ParseToken(s); k != p.kind || m != p.mode || class != TokenOurs {
			t.Errorf("%q: got %v, %v, class %d, want %v, %v, ours", s, k, m, class, p.kind, p.mode)
		}
		// The checksum by its definition: CRC-32 over all before it, in base62, padded on the left.
		sum := crc32.ChecksumIEEE([]byte(s[:len(s)-6]))
		want := ""
		for range 6 {
			want = string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[sum%62]) + want
			sum /= 62
		}
		if got := s[len(s)-6:]; got != want {
			t.Errorf("%q: got checksum %q, want %q", s, got, want)
		}
	}
	// A checksum must not change between releases: all keys would end.
	zero, err := GenerateToken(bytes.NewReader(make([]byte, 48)), KindSecret, ModeLive)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := zero.Reveal(), "sk_live_"+strings.Repeat("0", 32)+"2UYg5A"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGenerateTokenFails(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]io.Reader{
		"ends early":     bytes.NewReader(make([]byte, 20)),
		"fails":          iotest.ErrReader(errors.New("no entropy")),
		"rejected bytes": strings.NewReader(strings.Repeat("\xff", 4096)),
	} {
		if token, err := GenerateToken(r, KindSecret, ModeLive); err == nil || !token.IsZero() {
			t.Errorf("%s: got %q, %v, want no token and an error", name, token.Reveal(), err)
		}
	}
	for _, tt := range []struct {
		k Kind
		m Mode
	}{{0, ModeLive}, {KindSecret, 0}, {9, ModeLive}, {KindSecret, 9}} {
		if _, err := GenerateToken(rand.Reader, tt.k, tt.m); err == nil {
			t.Errorf("kind %d, mode %d: got a token, want an error", tt.k, tt.m)
		}
	}
}

// Every character is as likely as another: a modulo without rejection makes the first eight of them 25 % likelier.
func TestGenerateTokenUniform(t *testing.T) {
	t.Parallel()
	const n = 8000
	var count [256]int
	for range n {
		s := mustToken(t, KindSecret, ModeLive)
		for _, c := range []byte(s[8:40]) {
			count[c]++
		}
	}
	mean := float64(n*32) / 62
	var chi float64
	for _, c := range []byte(base62) {
		d := float64(count[c]) - mean
		chi += d * d / mean
	}
	// 61 degrees of freedom: more than 130 comes once in a million runs; the bias would give about 1700.
	if chi > 130 {
		t.Errorf("got chi-square %.0f for 61 degrees of freedom, want below 130", chi)
	}
}

func TestParseToken(t *testing.T) {
	t.Parallel()
	good := mustToken(t, KindRestricted, ModeSandbox)
	flip := func(s string, i int) string {
		c := byte('a')
		if s[i] == c {
			c = 'b'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	for _, tt := range []struct {
		name  string
		token string
		kind  Kind
		mode  Mode
		class TokenClass
	}{
		{"good", good, KindRestricted, ModeSandbox, TokenOurs},
		{"a random character changed", flip(good, 12), KindRestricted, ModeSandbox, TokenBadChecksum},
		{"a checksum character changed", flip(good, len(good)-1), KindRestricted, ModeSandbox, TokenBadChecksum},
		{"other mode", "rk_live_" + good[8:], KindRestricted, ModeLive, TokenBadChecksum},
		{"other kind", "sk_test_" + good[8:], KindSecret, ModeSandbox, TokenBadChecksum},
		{"checksum above 32 bits", "sk_live_" + strings.Repeat("0", 32) + "zzzzzz", KindSecret, ModeLive, TokenBadChecksum},
		{"cut", good[:len(good)-1], KindRestricted, ModeSandbox, TokenForeign},
		{"longer", good + "0", KindRestricted, ModeSandbox, TokenForeign},
		{"no base62", good[:20] + "-" + good[21:], KindRestricted, ModeSandbox, TokenForeign},
		{"capitals in the prefix", strings.ToUpper(good[:8]) + good[8:], 0, 0, TokenForeign},
		{"a known short one", "sk_test_123", KindSecret, ModeSandbox, TokenForeign},
		{"prefix alone", "sk_live_", KindSecret, ModeLive, TokenForeign},
		{"organization prefix alone", "sk_org_live_", KindOrganization, ModeLive, TokenForeign},
		{"organization cut", "sk_org_live", 0, 0, TokenForeign},
		{"restricted organization: no such prefix", "rk_org_live_abc", 0, 0, TokenForeign},
		{"anything visible", "hunter2!~", 0, 0, TokenForeign},
		{"512", strings.Repeat("x", 512), 0, 0, TokenForeign},
		{"513", strings.Repeat("x", 513), 0, 0, TokenInvalid},
		{"empty", "", 0, 0, TokenInvalid},
		{"space", "sk_test_1 2", KindSecret, ModeSandbox, TokenInvalid},
		{"trailing line end", good + "\n", KindRestricted, ModeSandbox, TokenInvalid},
		{"NUL", "a\x00b", 0, 0, TokenInvalid},
		{"DEL", "a\x7fb", 0, 0, TokenInvalid},
		{"not ASCII", "schlüssel", 0, 0, TokenInvalid},
	} {
		if k, m, class := ParseToken(tt.token); k != tt.kind || m != tt.mode || class != tt.class {
			t.Errorf("%s: got %v, %v, class %d, want %v, %v, class %d", tt.name, k, m, class, tt.kind, tt.mode, tt.class)
		}
	}
}

// A token with one wrong character, or two neighbours exchanged, has a wrong checksum: always, not nearly always.
func TestChecksumCatchesTyping(t *testing.T) {
	t.Parallel()
	good := mustToken(t, KindSecret, ModeLive)
	for i := 8; i < len(good); i++ {
		for _, c := range []byte(base62) {
			if c == good[i] {
				continue
			}
			if _, _, class := ParseToken(good[:i] + string(c) + good[i+1:]); class != TokenBadChecksum {
				t.Fatalf("character %d as %c: got class %d, want bad checksum", i, c, class)
			}
		}
		if i+1 < len(good) && good[i] != good[i+1] {
			if _, _, class := ParseToken(good[:i] + string(good[i+1]) + string(good[i]) + good[i+2:]); class != TokenBadChecksum {
				t.Fatalf("characters %d and %d exchanged: got class %d, want bad checksum", i, i+1, class)
			}
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                     "****",
		"hunter2hunter2hunter2":                "****",
		"sk_live":                              "****",
		"sk_live_":                             "sk_live_****",
		"sk_test_123":                          "sk_test_****",
		"sk_live_abcdefghijk":                  "sk_live_****",
		"sk_live_abcdefghijkl":                 "sk_live_****ijkl",
		"sk_org_live_abcdefghijkl":             "sk_org_live_****ijkl",
		"sk_org_live_abcdefghijk":              "sk_org_live_****",
		"sk_org_test_":                         "sk_org_test_****",
		"rk_test_" + strings.Repeat("é", 20):   "rk_test_****",
		"rk_test_aaaaaaaaaaaaaaaa\x1b[2J":      "rk_test_****",
		"pk_live_" + strings.Repeat("a", 1000): "pk_live_****aaaa",
	} {
		got := Mask(in)
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if !isVisible(got) {
			t.Errorf("%q: the mask %q is not visible ASCII", in, got)
		}
	}
}

func TestDigestOf(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "sk_test_123", strings.Repeat("x", 5000)} {
		if got, want := DigestOf(s), Digest(sha256.Sum256([]byte(s))); got != want {
			t.Errorf("%d bytes: got %x, want %x", len(s), got, want)
		}
	}
	if DigestOf("").IsZero() || !(Digest{}).IsZero() {
		t.Error("only the digest that is not set is zero")
	}
}

func FuzzParseToken(f *testing.F) {
	for _, p := range prefixes {
		f.Add(mustToken(f, p.kind, p.mode))
		f.Add(p.text)
	}
	f.Add("sk_test_123")
	f.Fuzz(func(t *testing.T, s string) {
		kind, mode, class := ParseToken(s)
		prefix := prefixOf(kind, mode)
		if (kind == 0) != (mode == 0) || kind != 0 && !strings.HasPrefix(s, prefix) {
			t.Errorf("%q: got kind %v and mode %v, which is not its prefix", s, kind, mode)
		}
		if class == TokenOurs || class == TokenBadChecksum {
			body := s[:len(s)-6]
			remade := string(appendChecksum([]byte(body), checksum(body)))
			if len(s) != len(prefix)+38 || (remade == s) != (class == TokenOurs) {
				t.Errorf("%q: got class %d, and the right spelling is %q", s, class, remade)
			}
		}
		if class != TokenInvalid && (len(s) > 512 || !isVisible(s)) {
			t.Errorf("%q: got class %d, want invalid", s, class)
		}
		mask := Mask(s)
		if !isVisible(mask) || len(mask) > len("sk_org_live_****abcd") {
			t.Errorf("%q: bad mask %q", s, mask)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s %q %x %d", TokenFrom(s), TokenFrom(s), TokenFrom(s), TokenFrom(s), TokenFrom(s), TokenFrom(s), TokenFrom(s)); len(s) > 25 && strings.Contains(shown, s) {
			t.Errorf("%q is shown in %q", s, shown)
		}
	})
}
