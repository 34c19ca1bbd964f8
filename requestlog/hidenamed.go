package requestlog

import (
	"net/url"
	"strings"
)

// hideNamed hides the values of sensitive names in free text: forms and addresses within other texts, settings, header lines.
// A name stands before "=" or ":", its value reaches to the next character that ends words.
func (r *CaptureRules) hideNamed(s string) string {
	if !strings.ContainsAny(s, "=:") {
		return s
	}
	var b strings.Builder
	copied := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '=' && s[i] != ':' {
			continue
		}
		if !r.sensitiveBefore(s[copied:i]) {
			continue
		}
		begin := i + 1
		for begin < len(s) && isBeforeValue(s[begin]) {
			begin++
		}
		end := valueEnd(s, begin)
		if end == begin {
			continue
		}
		b.WriteString(s[copied:begin])
		b.WriteString(redactedValue)
		copied, i = end, end-1
	}
	if copied == 0 {
		return s
	}
	b.WriteString(s[copied:])
	return b.String()
}

// sensitiveBefore says whether a text ends with a sensitive name, perhaps quoted.
func (r *CaptureRules) sensitiveBefore(s string) bool {
	s = strings.TrimRight(s, " \t\"'`\\")
	begin := len(s)
	for begin > 0 && len(s)-begin < maxFieldName && isNameByte(s[begin-1]) {
		begin--
	}
	name := s[begin:]
	if name == "" {
		return false
	}
	if strings.IndexByte(name, '%') >= 0 {
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
	}
	return r.SensitiveField(name)
}

func isNameByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '[' || c == ']' || c == '%'
}

func isBeforeValue(c byte) bool {
	return c == ' ' || c == '\t' || c == '"' || c == '\'' || c == '`' || c == '\\'
}

// valueEnd is where the value that begins at a position ends: at the quote that it is in, or at the end of the word. A
// credential of HTTP is two words.
func valueEnd(s string, begin int) int {
	if quote := s[begin-1]; quote == '"' || quote == '\'' || quote == '`' {
		if n := strings.IndexByte(s[begin:], quote); n >= 0 {
			return begin + n
		}
		return len(s)
	}
	end := begin
	for end < len(s) && !endsValue(s[end]) {
		end++
	}
	if end < len(s) && s[end] == ' ' && isCredential(s[begin:end]+" x") {
		end++
		for end < len(s) && !endsValue(s[end]) {
			end++
		}
	}
	return end
}

func endsValue(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', '&', ';', ',', '"', '\'', '`', '<', '>', '\\':
		return true
	}
	return false
}
