package command

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// output writes to one stream. It knows whether a person watches.
type output struct {
	w        io.Writer
	terminal bool
	colour   bool
}

func newOutput(w io.Writer) *output {
	file, ok := w.(*os.File)
	terminal := ok && term.IsTerminal(int(file.Fd()))
	return &output{
		w:        w,
		terminal: terminal,
		// https://no-color.org: any value but the empty one turns colour off.
		colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// linef writes one line. Its arguments must be clean.
func (o *output) linef(format string, args ...any) {
	fmt.Fprintf(o.w, format+"\n", args...)
}

// raw writes a JSON document as it came, on a line of its own.
func (o *output) raw(doc []byte) error {
	return o.write(bytes.TrimRight(doc, "\n"), []byte{'\n'})
}

// write writes parts of a JSON document as they came. On a terminal, characters that a terminal might obey are written as \u
// escapes, which mean the same in JSON (outside of strings there are none).
func (o *output) write(parts ...[]byte) error {
	for _, part := range parts {
		if o.terminal {
			part = escapeJSON(part)
		}
		if _, err := o.w.Write(part); err != nil {
			return fmt.Errorf("writing the answer: %w", err)
		}
	}
	return nil
}

// escapeJSON replaces unsafe characters of a JSON document, except its white space, by \u escapes.
func escapeJSON(doc []byte) []byte {
	var b bytes.Buffer
	for _, r := range string(doc) {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || !unsafeRune(r):
			b.WriteRune(r)
		case r > 0xffff: // no unsafe character is up there today; a surrogate pair would be wanted
			b.WriteRune(utf8.RuneError)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// unsafeRune says whether a terminal might obey r, or whether r changes the order in which its neighbours are shown.
func unsafeRune(r rune) bool {
	switch {
	case unicode.IsControl(r): // C0, DEL, C1
		return true
	case r == '\u061c' || r == '\u200e' || r == '\u200f': // direction marks
		return true
	case r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069': // direction embeddings, overrides, isolates
		return true
	case r == '\u2028' || r == '\u2029': // line and paragraph separator
		return true
	}
	return false
}

// clean makes a foreign text fit for one line of a terminal: line ends and tabs become blanks, other control characters go.
func clean(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || r == '\u2028' || r == '\u2029':
			return ' '
		case unsafeRune(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// field is one line of a detailed view.
type field struct{ name, value string }

// fields prints a detailed view: names left, values right, empty values left out.
func (o *output) fields(rows ...field) {
	width := 0
	for _, row := range rows {
		if row.value != "" {
			width = max(width, len(row.name))
		}
	}
	for _, row := range rows {
		if row.value == "" {
			continue
		}
		name := fmt.Sprintf("%-*s", width+1, row.name+":")
		o.linef("%s %s", o.paint(dim, name), o.status(clean(row.value)))
	}
}

// table prints rows under a head, in several lots where a list comes in pages. Columns are as wide as what was seen so far.
type table struct {
	out    *output
	head   []string
	width  []int
	headed bool
}

func (o *output) table(head []string, rows ...[]string) *table {
	t := &table{out: o, head: head, width: make([]int, len(head))}
	for i, title := range head {
		t.width[i] = len(title)
	}
	if rows != nil {
		t.add(rows)
	}
	return t
}

// add prints rows. The last column is not padded.
func (t *table) add(rows [][]string) {
	for _, row := range rows {
		for i := range row {
			row[i] = orDash(clean(row[i]))
			t.width[i] = max(t.width[i], utf8.RuneCountInString(row[i]))
		}
	}
	if !t.headed {
		t.headed = true
		t.out.row(t.head, t.width, func(s string) string { return t.out.paint(dim, s) })
	}
	for _, row := range rows {
		t.out.row(row, t.width, t.out.status)
	}
}

// orDash fills what would be a hole in a line.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// row prints one line of a table. Colour comes after padding: its bytes have no width.
func (o *output) row(cells []string, width []int, paint func(string) string) {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(paint(cell))
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	o.linef("%s", b.String())
}

// The few colours, as SGR codes.
const (
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (o *output) paint(code, s string) string {
	if !o.colour || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// statusColours gives the words that say good or bad their colour wherever they stand alone in a cell.
var statusColours = map[string]string{
	"active": green, "allowed": green, "yes": green,
	"expiring": yellow,
	"2xx":      green, "4xx": yellow, "5xx": red,
	"expired": red, "deleted": red, "denied": red, "no": red,
}

func (o *output) status(s string) string {
	if code, ok := statusColours[s]; ok {
		return o.paint(code, s)
	}
	return s
}

// warn prints a note for a person to standard error.
func (c *call) warn(format string, args ...any) {
	c.note.linef("%s", c.note.paint(yellow, clean(fmt.Sprintf(format, args...))))
}

// tokenNotice warns on a terminal that a token was shown for the last time. In a pipe or a file nobody reads it.
func (c *call) tokenNotice(again bool) {
	if again || !c.out.terminal && !c.note.terminal {
		return
	}
	c.warn("Keep the token now: it cannot be shown again.")
}

// text is a text that may be null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// moment is a time as it is printed: RFC 3339, in UTC, to the second. A person compares and copies these.
func moment(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
