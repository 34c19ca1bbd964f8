package policy

import (
	"strings"
	"unicode/utf8"
)

// CanonicalPath takes the path of a request target as the client sent it (escaped, without query) and answers the decoded
// path to decide on; ok is false for what is malformed or can be read in two ways. Refused are, plain or escaped: a path
// that does not start with a slash, empty segments and dot segments (also once matrix parameters are taken off),
// backslashes, control characters and invalid UTF-8; further escaped slashes, bad escapes, and a plain '?', '#' or space.
// A trailing slash is legal. What is escaped twice stays as it is after decoding once. Without a '%' in it the path is
// returned as it is, without allocation.
//
// Nothing is repaired. A path that is accepted is the same for a backend that decodes it, cleans it, or does neither, so
// that the decision is made on what the backend serves.
func CanonicalPath(escaped string) (path string, ok bool) {
	if isPlain(escaped) {
		return escaped, true
	}
	if strings.ContainsAny(escaped, "?# ") {
		return "", false
	}
	decoded := escaped
	if strings.IndexByte(escaped, '%') >= 0 {
		if decoded, ok = decodePath(escaped); !ok {
			return "", false
		}
	}
	if !isCanonical(decoded) {
		return "", false
	}
	return decoded, true
}

// plainBytes are the bytes of nearly every path: those that need no thought wherever they stand.
var plainBytes = func() (t [256]bool) {
	for c := '!'; c <= '~'; c++ {
		t[c] = !strings.ContainsRune(`%?#\;./`, c)
	}
	return t
}()

// isPlain accepts most canonical paths in one pass; what it does not accept may still be canonical.
func isPlain(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case plainBytes[c]:
		case c == '.' && s[i-1] != '/': // no dot segment starts here, nor ends
		case c == '/' && s[i-1] != '/':
		default:
			return false
		}
	}
	return true
}

// decodePath resolves each escape once. An escaped slash is refused here, while it can be told from a plain one.
func decodePath(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high > 15 || low > 15 {
				return "", false
			}
			if c = high<<4 | low; c == '/' {
				return "", false
			}
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// unhex is the value of a hexadecimal digit, or 0xff.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// isCanonical judges a decoded path.
func isCanonical(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	ascii := true
	start := 1 // of the segment
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '/':
			if !isSegment(s[start:i]) {
				return false
			}
			start = i + 1
		case c < ' ' || c == 0x7f || c == '\\':
			return false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if last := s[start:]; last != "" && !isSegment(last) {
		return false
	}
	return ascii || isText(s)
}

// isSegment says whether a segment stays itself in every reading: not empty and no dot segment, with its matrix parameters
// or without.
func isSegment(s string) bool {
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = s[:i]
	}
	return s != "" && s != "." && s != ".."
}

// isText says whether s is valid UTF-8 without the control characters U+0080 to U+009F.
func isText(s string) bool {
	for i, r := range s {
		if 0x80 <= r && r <= 0x9f {
			return false
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return false
			}
		}
	}
	return true
}

// withoutParameters takes the matrix parameters off every segment: "/v1;a=b/charges;c" gives "/v1/charges".
func withoutParameters(path string) string {
	var b strings.Builder
	b.Grow(len(path))
	parameter := false
	for i := range len(path) {
		switch path[i] {
		case '/':
			parameter = false
		case ';':
			parameter = true
		}
		if !parameter {
			b.WriteByte(path[i])
		}
	}
	return b.String()
}
