package policy

import (
	"fmt"
	"io"
	"log/slog"
	"strconv"
)

// Token is a credential in clear. Whatever writes it (fmt, JSON, text, slog, zap) gets its mask; only Reveal gives the
// text, so that a reader can find every place where a token leaves.
//
// The text is held by a pointer, because fmt prints the unexported fields of a struct that holds a Token without asking
// the Token: so it finds an address there. Tokens cannot be compared with ==; compare digests.
type Token struct {
	_    [0]func() // not comparable
	text *string
}

// TokenFrom takes a credential as it is, in any spelling. The empty string gives the zero Token.
func TokenFrom(s string) Token {
	if s == "" {
		return Token{}
	}
	return Token{text: &s}
}

// Reveal gives the token in clear.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Digest is the token's SHA-256.
func (t Token) Digest() Digest { return DigestOf(t.Reveal()) }

// IsZero says whether there is no token.
func (t Token) IsZero() bool { return t.text == nil }

// Mask is the token as it may be shown: see [Mask]. The zero Token gives "".
func (t Token) Mask() string {
	if t.text == nil {
		return ""
	}
	return Mask(*t.text)
}

// String gives the mask.
func (t Token) String() string { return t.Mask() }

// GoString gives the mask.
func (t Token) GoString() string { return "policy.Token(" + strconv.Quote(t.Mask()) + ")" }

// Format writes the mask for every verb.
func (t Token) Format(f fmt.State, verb rune) {
	s := t.Mask()
	if verb == 'v' && f.Flag('#') {
		s = t.GoString()
	}
	_, _ = io.WriteString(f, s)
}

// MarshalText gives the mask. There is no way back: a token is read as a string and wrapped by TokenFrom.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.Mask()), nil }

// MarshalJSON gives the mask.
func (t Token) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, t.Mask()), nil }

// LogValue gives the mask.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.Mask()) }
