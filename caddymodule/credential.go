package caddymodule

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/keystile/keystile/policy"
)

// maxCredential bounds what is looked at of a credential: a token of 512 characters in base64, and a scheme.
const maxCredential = 1024

// presented finds the request's one credential. Exactly one place and one line may carry it; everything else is
// CredentialInvalid, because two parties that read a request in two ways is how one of them is fooled. The query is
// never read. The token is not yet judged: it may be anything without commas and spaces.
//
// The result is CredentialMissing (no token), CredentialInvalid (no token), or CredentialKnown: there is one token.
// Nothing is allocated, save for Basic.
func presented(h http.Header, keyHeader string) (token string, state policy.Credential) {
	lines := h["Authorization"]
	var keys []string
	if keyHeader != "" {
		keys = h[keyHeader]
	}
	switch {
	case len(lines) == 0 && len(keys) == 0:
		return "", policy.CredentialMissing
	case len(lines) == 1 && len(keys) == 0:
		token = schemeToken(lines[0])
	case len(keys) == 1 && len(lines) == 0:
		token = bareToken(keys[0])
	}
	if token == "" {
		return "", policy.CredentialInvalid
	}
	return token, policy.CredentialKnown
}

// schemeToken reads an Authorization line; "" is what it answers on anything but one token of a known scheme.
func schemeToken(line string) string {
	if len(line) > maxCredential {
		return ""
	}
	scheme, rest, found := strings.Cut(line, " ")
	if !found {
		return ""
	}
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return bareToken(rest)
	case strings.EqualFold(scheme, "Basic"):
		return basicToken(rest)
	default:
		return ""
	}
}

// basicToken decodes the user name of Basic credentials. The password must be there and empty: a key with something
// behind it is not the key alone. The user name is everything up to the final colon, since imported keys may have colons
// in them; whatever a client meant by a colon inside, the whole text before the final one must be a key.
func basicToken(encoded string) string {
	var buf [maxCredential * 3 / 4]byte
	if len(encoded) > maxCredential {
		return ""
	}
	n, err := base64.StdEncoding.Strict().Decode(buf[:], []byte(encoded))
	// Decode skips line breaks. Headers cannot hold any, but a base64 text with them is not the text that was checked.
	if err != nil || n < 2 || buf[n-1] != ':' || strings.ContainsAny(encoded, "\r\n") {
		return ""
	}
	return bareToken(string(buf[:n-1]))
}

// bareToken refuses what cannot be one token: lists, and texts with spaces or control characters in them.
func bareToken(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ',' {
			return ""
		}
	}
	return s
}
