package requestlog

import (
	"strings"
)

// tokenPrefixes are the beginnings of our tokens. Tokens of imported keys with another spelling cannot be told from other
// text: for those only the redaction of query values helps.
var tokenPrefixes = [...]string{
	"sk_org_live_", "sk_org_test_",
	"sk_live_", "sk_test_", "pk_live_", "pk_test_", "rk_live_", "rk_test_",
	"adm_",
}

// ScrubTokens masks everything in s that looks like one of our tokens, as sk_live_****AbCd: the prefix and, of a body of at
// least twelve characters, the last four. Percent-encoded tokens are found too; the text is then returned decoded. Text
// without a token is returned as it is, without allocation.
func ScrubTokens(s string) string {
	if strings.IndexByte(s, '_') >= 0 {
		s = scrubPlain(s)
	}
	// A token may hide behind percent-encoding, also a double one that some backend would undo.
	for decoded, rounds := s, 0; rounds < 3 && strings.IndexByte(decoded, '%') >= 0; rounds++ {
		decoded = percentDecode(decoded)
		if scrubbed := scrubPlain(decoded); scrubbed != decoded {
			return scrubbed
		}
	}
	return s
}

func scrubPlain(s string) string {
	var b strings.Builder
	copied := 0 // s[:copied] is in b already
	for i := 0; ; {
		underscore := strings.IndexByte(s[i:], '_')
		if underscore < 0 {
			break
		}
		i += underscore + 1
		prefix := tokenPrefixBefore(s[:i])
		if prefix == 0 {
			continue
		}
		body := tokenBodyLen(s[i:])
		if !isToken(s[:i-prefix], s[i:i+body]) {
			continue
		}
		b.WriteString(s[copied:i])
		b.WriteString("****")
		if body >= 12 {
			b.WriteString(s[i+body-4 : i+body])
		}
		i += body
		copied = i
	}
	if copied == 0 {
		return s
	}
	b.WriteString(s[copied:])
	return b.String()
}

// tokenPrefixBefore is the length of the token prefix that s ends with, 0 for none. Case does not count: a lower-cased host
// or an upper-cased header still gives most of a token away.
func tokenPrefixBefore(s string) int {
	if len(s) < 4 {
		return 0
	}
	switch s[len(s)-2] | 0x20 { // the letter before the underscore: live_, test_, adm_
	case 'e', 't', 'm':
	default:
		return 0
	}
	for _, p := range tokenPrefixes {
		if len(s) >= len(p) && strings.EqualFold(s[len(s)-len(p):], p) {
			return len(p)
		}
	}
	return 0
}

// tokenBodyLen is how far a token may reach: to the next character that separates words in paths, queries, headers, JSON.
func tokenBodyLen(s string) int {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("/?#&=,;:\"'<>()[]{}|\\@`", c) >= 0 {
			return i
		}
	}
	return len(s)
}

// isToken tells a token from its mask (sk_live_****AbCd stays as it is) and from a word that happens to end like a prefix
// (/v1/task_live_feed): after a letter or digit only a body as long as those that we make counts.
func isToken(before, body string) bool {
	if body == "" {
		return false
	}
	if rest, masked := strings.CutPrefix(body, "****"); masked && len(rest) <= 4 {
		return false
	}
	if before != "" && digit62(before[len(before)-1]) >= 0 {
		return len(body) >= 16
	}
	return true
}

// percentDecode undoes %XX where it is well-formed and leaves everything else.
func percentDecode(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2]); hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
