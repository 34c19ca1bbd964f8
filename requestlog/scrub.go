package requestlog

import (
	"bytes"
	"strings"
)

// tokenPrefixes are the beginnings of our tokens. Tokens of imported keys with another spelling cannot be told from other
// text: for those the redaction of query values helps, and Record.Conceal hides the one that a request presents.
var tokenPrefixes = [...]string{
	"sk_org_live_", "sk_org_test_",
	"sk_live_", "sk_test_", "pk_live_", "pk_test_", "rk_live_", "rk_test_",
	"adm_",
}

// ScrubTokens masks everything in s that looks like one of our tokens, as sk_live_****AbCd: the prefix and, of a body of at
// least twelve characters, the last four. Tokens that are percent-encoded, however often, are found too; the text is then
// returned decoded. Text without a token is returned as it is, and without '%' without allocation.
func ScrubTokens(s string) string {
	if strings.IndexByte(s, '%') >= 0 {
		if scrubbed, found := scrubEncoded(s); found {
			return scrubbed
		}
	}
	if strings.IndexByte(s, '_') >= 0 {
		return scrubPlain(s)
	}
	return s
}

// scrubEncoded decodes s to its end and scrubs that. What shows then is what some backend, some proxy or some reader would
// get out of s, all at once: a token in clear cannot draw attention away from another that is not.
func scrubEncoded(s string) (scrubbed string, found bool) {
	var buf [512]byte
	decoded := percentDecode(buf[:0], s)
	if len(decoded) == len(s) || bytes.IndexByte(decoded, '_') < 0 {
		return "", false // nothing was encoded; or without an underscore, there is no token
	}
	plain := string(decoded)
	scrubbed = scrubPlain(plain)
	return scrubbed, scrubbed != plain
}

// LooksLikeToken says whether s holds what looks like one of our tokens, in clear or percent-encoded. Masks do not, nor
// patterns over masks (sk_live_*), nor the ids of admin tokens, which begin as the tokens do and are shorter. It is for
// texts that must not hold a token, such as what goes into a URL: whatever is in doubt, say no to.
func LooksLikeToken(s string) bool {
	if holdsToken(s) {
		return true
	}
	return strings.IndexByte(s, '%') >= 0 && holdsToken(string(percentDecode(nil, s)))
}

func holdsToken(s string) bool {
	for body, end := nextToken(s, 0); end > 0; body, end = nextToken(s, end) {
		letters := 0
		for i := body; i < end; i++ {
			if digit62(s[i]) >= 0 {
				letters++
			}
		}
		switch {
		case letters == 0:
		case letters < minAdminToken && letters == end-body && s[body-2]|0x20 == 'm': // the id of an admin token
		case letters <= maskedEnd && strings.IndexByte(s[body:end], '*') >= 0: // a search for masks
		default:
			return true
		}
	}
	return false
}

// minAdminToken is more than any id has behind its prefix, and less than a token.
const minAdminToken = 30

func scrubPlain(s string) string {
	body, end := nextToken(s, 0)
	if end == 0 {
		return s
	}
	var b strings.Builder
	copied := 0 // s[:copied] is in b already
	for ; end > 0; body, end = nextToken(s, end) {
		b.WriteString(s[copied:body])
		b.WriteString(maskStars)
		b.WriteString(shownEnd(s[body:end]))
		copied = end
	}
	b.WriteString(s[copied:])
	return b.String()
}

const (
	maskStars = "****"
	// maskedEnd is how many of a token's last characters its mask shows, of a body of at least minShown.
	maskedEnd = 4
	minShown  = 12
)

// shownEnd is what the mask of a token shows of its body.
func shownEnd(body string) string {
	own := 0
	for i := range len(body) {
		if !isJunk(body[i]) {
			own++
		}
	}
	if own < minShown {
		return ""
	}
	last := body[len(body)-maskedEnd:]
	for i := range len(last) {
		if isJunk(last[i]) {
			return ""
		}
	}
	return last
}

// nextToken finds the first token whose prefix ends behind from: where its body begins and ends. The end is 0 if there is
// none.
func nextToken(s string, from int) (body, end int) {
	for i := from; ; {
		underscore := strings.IndexByte(s[i:], '_')
		if underscore < 0 {
			return 0, 0
		}
		i += underscore + 1
		prefix := tokenPrefixBefore(s[:i])
		if prefix == 0 {
			continue
		}
		if n := tokenBodyLen(s[i:]); isToken(s[:i-prefix], s[i:i+n]) {
			return i, i + n
		}
	}
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

// What may stand between a prefix and its body, in bytes, and how long a body must be to count behind such a gap, or behind
// a prefix that may be the end of a word.
const (
	maxTokenGap = 16
	minFarBody  = 16
)

// tokenBodyLen is how far a token reaches behind its prefix: to the next character that separates words in paths, queries,
// headers, JSON. Quotes, accents and invisible characters do not end it if more follows: they get into a token by copying
// it, and the rest of it is no less secret. Where a separator stands right behind the prefix, a body that is long enough to
// be one is still found close behind it.
func tokenBodyLen(s string) int {
	if n := bodyRun(s); n > 0 {
		return n
	}
	for gap := range min(len(s), maxTokenGap+1) {
		if digit62(s[gap]) < 0 {
			continue
		}
		n := gap
		for n < len(s) && digit62(s[n]) >= 0 {
			n++
		}
		if n-gap >= minFarBody {
			return gap + bodyRun(s[gap:])
		}
		return 0
	}
	return 0
}

// bodyRun is the length of the body that s begins with, without the junk at its end.
func bodyRun(s string) int {
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case isSeparator(c):
			return n
		case !isJunk(c):
			n = i + 1
		}
	}
	return n
}

func isSeparator(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', '/', '?', '#', '&', '=', ',', ';', ':', '<', '>', '(', ')', '[', ']', '{', '}', '|', '@':
		return true
	}
	return false
}

// isJunk says whether c belongs to no token, but may have got into one.
func isJunk(c byte) bool {
	return c < ' ' || c >= 0x7f || c == '\'' || c == '"' || c == '`' || c == '\\'
}

// isToken tells a token from its mask (sk_live_****AbCd stays as it is) and from a word that happens to end like a prefix
// (/v1/task_live_feed): after a letter or digit only a body as long as those that we make counts.
func isToken(before, body string) bool {
	if body == "" {
		return false
	}
	if rest, masked := strings.CutPrefix(body, maskStars); masked {
		letters := 0
		for i := range len(rest) {
			if digit62(rest[i]) >= 0 {
				letters++
			}
		}
		if letters <= maskedEnd {
			return false
		}
	}
	if before != "" && digit62(before[len(before)-1]) >= 0 {
		return len(body) >= minFarBody
	}
	return true
}
