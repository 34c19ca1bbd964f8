package requestlog

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// cleaner makes records fit to be stored: bounded, printable, without tokens, with an id, a time and a node. It runs in the
// writer, off the request path, and before anybody else sees the record. Not safe for concurrent use.
type cleaner struct {
	// passed are, by their place in textColumns, the last short texts that were found to be clean. Most texts of a record are
	// those of the record before.
	passed []string
}

func newCleaner() *cleaner { return &cleaner{passed: make([]string, len(textColumns))} }

// clean is for one record alone.
func clean(r *Record, node string, now time.Time) { new(cleaner).clean(r, node, now) }

func (l *cleaner) clean(r *Record, node string, now time.Time) {
	if r.Time.IsZero() {
		r.Time = now
	}
	for _, c := range timeColumns {
		if t := c.time(r); !t.IsZero() {
			*t = cleanTime(*t)
		}
	}
	if !ValidID(r.ID) {
		r.ID = NewID(r.Time)
	}
	if r.Node == "" {
		r.Node = node
	}
	if r.Capture != nil {
		r.Capture.render(r)
	}
	if r.secret != nil {
		for _, c := range outsideColumns {
			if s := c.text(r); strings.Contains(*s, *r.secret) {
				*s = strings.ReplaceAll(*s, *r.secret, redactedValue)
			}
		}
		r.secret = nil
	}
	if r.Client.Is4In6() || r.Client.Zone() != "" {
		r.Client = r.Client.Unmap().WithZone("") // a zone is free text; and one address has one spelling
	}
	for i, c := range textColumns {
		s := c.text(r)
		if *s == "" || l.passed != nil && *s == l.passed[i] {
			continue
		}
		text := cleanText(*s, c.MaxBytes)
		if l.passed != nil && len(text) <= maxRemembered && text == *s {
			l.passed[i] = text
		}
		*s = text
	}
}

// cleanTime is t in UTC to the millisecond, within the years that the stored form can spell.
func cleanTime(t time.Time) time.Time {
	t = t.UTC()
	if y := t.Year(); y < 1970 || y > 9999 {
		return time.UnixMilli(0).UTC()
	}
	return t.Truncate(time.Millisecond)
}

// cleanText masks tokens, escapes what could fool a terminal or a reader, and cuts. Plain text passes without allocation.
func cleanText(s string, most int) string {
	s = ScrubTokens(s)
	if !isPlain(s) {
		s = escapeControls(s, most)
	}
	return cutText(s, most)
}

// isPlain says whether s is printable ASCII throughout.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// escapeControls spells control characters, invalid UTF-8 and characters that turn or hide text (bidirectional marks, line
// and paragraph separators) as \x1b or \u202e. It stops once the text is longer than most.
func escapeControls(s string, most int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() <= most; {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		case isHidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// isHidden says whether a character turns or hides text.
func isHidden(r rune) bool {
	return r == 0x061c || r >= 0x200e && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// cutMark stands at the end of a text that was cut.
const cutMark = "…"

// cutText cuts s to at most most bytes, at a character, and marks the cut with "…".
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return cutAt(s, most-len(cutMark)) + cutMark
}

// cutAt is at most the first end bytes of s, without the half of a character.
func cutAt(s string, end int) string {
	if len(s) <= end {
		return s
	}
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// boundOutside cuts, before the record is queued, the texts that clients and backends choose, so that the queue's memory is
// bounded too. Some room is left for the cleaning, which sees whole tokens and marks the cut.
func boundOutside(r *Record) {
	for _, c := range outsideColumns {
		if s := c.text(r); len(*s) > c.MaxBytes+boundSlack {
			*s = strings.Clone((*s)[:c.MaxBytes+boundSlack])
		}
	}
}

// Detach copies the texts that clients and backends choose into one piece of memory of the record's own, cut as Append cuts
// them. It is for a record whose texts may be small parts of a large one: the three bytes of a method that were cut out of a
// request line of a megabyte keep all of it alive for as long as the record waits, and nobody counts it.
func (r *Record) Detach() {
	size := 0
	for _, c := range outsideColumns {
		s := c.text(r)
		*s = (*s)[:min(len(*s), c.MaxBytes+boundSlack)]
		size += len(*s)
	}
	var own strings.Builder
	own.Grow(size)
	for _, c := range outsideColumns {
		own.WriteString(*c.text(r))
	}
	rest := own.String()
	for _, c := range outsideColumns {
		s := c.text(r)
		*s, rest = rest[:len(*s)], rest[len(*s):]
	}
}

const boundSlack = 64
