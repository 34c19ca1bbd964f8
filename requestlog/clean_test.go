package requestlog

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestCleanText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		most int
		want string
	}{
		{"plain", 100, "plain"},
		{"ünïcode 漢字", 100, "ünïcode 漢字"},
		{"a\x1b[31mred", 100, `a\x1b[31mred`},
		{"two\r\nlines\x00", 100, `two\x0d\x0alines\x00`},
		{"\x7f\u0085", 100, `\x7f\x85`},
		{"bad \xff utf8", 100, `bad \xff utf8`},
		{"turn\u202eed\u2066\ufeff", 100, `turn\u202eed\u2066\ufeff`},
		{"abcdefghij", 8, "abcde…"},
		{"éééé", 7, "éé…"},
		{"x sk_live_" + body32, 100, "x sk_live_****YZ12"},
		{"x\nsk_live_" + body32, 100, `x\x0ask_live_****YZ12`},
	}
	for _, tt := range tests {
		got := cleanText(tt.in, tt.most)
		if got != tt.want {
			t.Errorf("cleanText(%q, %d): got %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add("a\x1b\u202e\xff", 16)
	f.Add(strings.Repeat("é", 50), 31)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = 16 + most&1023
		got := cleanText(s, most)
		if len(got) > most || !utf8.ValidString(got) {
			t.Fatalf("cleanText(%q, %d): got %q, want valid UTF-8 of at most %d bytes", s, most, got, most)
		}
		for _, r := range got {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e {
				t.Fatalf("cleanText(%q, %d): control character %U is left", s, most, r)
			}
		}
	})
}

func TestCleanBoundsEveryTextAndHidesTokensInAll(t *testing.T) {
	t.Parallel()
	var r Record
	for _, c := range textColumns {
		*c.text(&r) = "\x1b sk_live_" + body32 + " " + strings.Repeat("x", 10<<10)
	}
	r.ID = NewID(time.Now())
	r.Client = netip.MustParseAddr("::ffff:203.0.113.7")
	clean(&r, "node", time.Now())
	for _, c := range textColumns {
		s := *c.text(&r)
		if len(s) > c.MaxBytes || strings.Contains(s, body32) || strings.Contains(s, "\x1b") {
			t.Errorf("%s: got %d bytes %.80q, want at most %d, no token, no control character", c.Name, len(s), s, c.MaxBytes)
		}
	}
	if got, want := r.Client, netip.MustParseAddr("203.0.113.7"); got != want {
		t.Errorf("client: got %v, want %v", got, want)
	}
}

func TestCleanCompletesARecord(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 4, 5, 6, 789123456, time.FixedZone("", 3600))
	r := Record{ID: "something else"}
	clean(&r, "node-1", now)
	if !ValidID(r.ID) || r.Node != "node-1" || !r.Time.Equal(now.Truncate(time.Millisecond)) || r.Time.Location() != time.UTC {
		t.Errorf("got id %q, node %q, time %v", r.ID, r.Node, r.Time)
	}
}

// What is kept of an outside text must not pin the megabyte that a client sent.
func TestBoundOutsideCopiesWhatItCuts(t *testing.T) {
	t.Parallel()
	r := Record{UserAgent: strings.Repeat("x", 1<<20), Path: "/short"}
	boundOutside(&r)
	if got, want := len(r.UserAgent), 512+boundSlack; got != want {
		t.Errorf("user agent: got %d bytes, want %d", got, want)
	}
	if r.Path != "/short" {
		t.Errorf("path: got %q", r.Path)
	}
}

// A credential that was told to a record is not printed with it, and stands in none of its texts when it is stored.
func TestConcealedCredentialIsNeitherPrintedNorStored(t *testing.T) {
	t.Parallel()
	const token = "legacy-81fe02c-key"
	r := &Record{ID: NewID(journalBegin), Time: journalBegin}
	r.Conceal(token)
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(format, r); strings.Contains(text, token) {
			t.Errorf("%s: %s", format, text)
		}
	}
	for _, c := range outsideColumns {
		*c.text(r) = "a " + token + " b"
	}
	clean(r, "node", journalBegin)
	for _, c := range outsideColumns {
		if got := *c.text(r); strings.Contains(got, token) || !strings.HasPrefix(got, "a ***") {
			t.Errorf("%s: got %q", c.Name, got)
		}
	}
	if r.secret != nil {
		t.Error("the record still knows it")
	}
}
