package command

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"plain", "vault: billing", "vault: billing"},
		{"umlaut and emoji", "Schlüssel 🔑", "Schlüssel 🔑"},
		{"colour", "\x1b[31mred\x1b[0m", "[31mred[0m"},
		{"one-byte CSI", "a\u009b31mb", "a31mb"},
		{"bell, backspace, delete", "a\a\bb\x7f", "ab"},
		{"lines", "one\r\ntwo\tthree", "one  two three"},
		{"right-to-left override", "key\u202etxt.exe", "keytxt.exe"},
		{"broken UTF-8", "a\xffb", "a\uFFFDb"},
	}
	for _, test := range tests {
		if got := clean(test.in); got != test.want {
			t.Errorf("%s: clean(%q) is %q, want %q", test.name, test.in, got, test.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]0;title\a")
	f.Add("\u009b\u202e\xff\x00\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) {
			t.Errorf("clean(%q) is not valid UTF-8", s)
		}
		if i := strings.IndexFunc(got, unsafeRune); i >= 0 {
			t.Errorf("clean(%q) has an unsafe character at %d", s, i)
		}
		if again := clean(got); again != got {
			t.Errorf("clean is not stable on %q", s)
		}
	})
}

// TestRawOnTerminal: JSON keeps its meaning and loses what a terminal obeys.
func TestRawOnTerminal(t *testing.T) {
	t.Parallel()
	doc := "{\"note\":\"a\u009b31m\u202eb\x7f\",\"n\":[1,\n2]}\n"
	var b bytes.Buffer
	o := &output{w: &b, terminal: true}
	if err := o.raw([]byte(doc)); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if strings.ContainsAny(got, "\u009b\u202e\x7f") {
		t.Errorf("raw on a terminal printed %q", got)
	}
	var before, after any
	if err := json.Unmarshal([]byte(doc), &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &after); err != nil {
		t.Fatalf("raw on a terminal printed no JSON: %v", err)
	}
	x, _ := json.Marshal(before)
	y, _ := json.Marshal(after)
	if !bytes.Equal(x, y) {
		t.Errorf("raw on a terminal means %s, want %s", y, x)
	}

	b.Reset()
	if err := (&output{w: &b}).raw([]byte(doc)); err != nil {
		t.Fatal(err)
	}
	if b.String() != doc {
		t.Errorf("raw into a pipe printed %q, want it unchanged", b.String())
	}
}

// TestTable: columns line up with characters of more than one byte, with colour, and with empty cells.
func TestTable(t *testing.T) {
	t.Parallel()
	var plain, coloured bytes.Buffer
	rows := func() [][]string {
		return [][]string{{"key_1", "active", "Schlüssel"}, {"key_22", "", "x\x1by"}}
	}
	(&output{w: &plain}).table([]string{"ID", "STATUS", "NAME"}, rows()...)
	want := "ID      STATUS  NAME\nkey_1   active  Schlüssel\nkey_22  -       xy\n"
	if plain.String() != want {
		t.Errorf("table is\n%s\nwant\n%s", plain.String(), want)
	}
	(&output{w: &coloured, terminal: true, colour: true}).table([]string{"ID", "STATUS", "NAME"}, rows()...)
	contains(t, "coloured table", coloured.String(), "\x1b[32mactive\x1b[0m")
	without := strings.NewReplacer("\x1b[2m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(coloured.String())
	if without != want {
		t.Errorf("coloured table without its colours is\n%s\nwant\n%s", without, want)
	}
}

func TestTokenNotice(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		terminal, again bool
		want            bool
	}{
		{"terminal", true, false, true},
		{"pipe", false, false, false},
		{"can be revealed again", true, true, false},
	} {
		var b bytes.Buffer
		c := &call{out: &output{w: &b, terminal: test.terminal}, note: &output{w: &b, terminal: test.terminal}}
		c.tokenNotice(test.again)
		if got := strings.Contains(b.String(), "cannot be shown again"); got != test.want {
			t.Errorf("%s: warned is %v, want %v", test.name, got, test.want)
		}
	}
}
