package requestlog

import (
	"net/url"
	"strings"
)

// Bounds of what is kept of a query string.
const (
	maxQueryBytes = 1024
	maxQueryKeys  = 64
	maxQueryKey   = 128
	maxQueryValue = 256 // of those that are kept
	maxBareKey    = 24  // without "=": names are short, tokens are not
	maxNameDigits = 2

	// What is looked at: more is not stored, and a target of a megabyte must not cost its reader more than one of a kilobyte.
	maxQueryPairs = 4 * maxQueryKeys // empty ones included
	maxPadding    = 64               // "=" at the end of a value without a name
	maxTarget     = 4096             // path of a target; 2,048 are stored
)

// redactedValue stands where a query value was.
const redactedValue = "***"

// RedactQuery keeps the keys of a raw query string and nothing of the values: "limit=&starting_after=". Anything that looks
// like a token is masked, also in a key. A text without a value that could be a token of another spelling is taken for a
// value ("?mytok-81fe02c" is "***"). What passes 64 keys or 1 KiB is cut and ends with "…".
func RedactQuery(rawQuery string) string { return redactQuery(rawQuery, "", nil) }

// QueryKeys are the names of query parameters whose values may be kept, as they are when decoded. Tokens in them are masked
// all the same.
type QueryKeys map[string]bool

// Redact is RedactQuery, with the values of these parameters.
func (k QueryKeys) Redact(rawQuery string) string { return redactQuery(rawQuery, "", k) }

// RedactTarget is the function of that name, with the values of these parameters.
func (k QueryKeys) RedactTarget(target string) string { return redactTarget(target, k) }

// keeps says whether the value of a raw key is kept.
func (k QueryKeys) keeps(raw string) bool {
	if len(k) == 0 || len(raw) > maxQueryBytes {
		return false
	}
	if k[raw] {
		return true
	}
	name, err := url.QueryUnescape(raw)
	return err == nil && k[name]
}

// RedactTarget keeps the path and the query keys of a raw request target: "/v1/charges?limit=***". The user information of
// an absolute target is redacted, and so is everything behind a "#". A path of more than 4 KiB is cut and ends with "…".
func RedactTarget(target string) string { return redactTarget(target, nil) }

func redactTarget(target string, keep QueryKeys) string {
	target, _, fragment := strings.Cut(target, "#")
	path, query, hasQuery := strings.Cut(target, "?")
	if len(path) > 0 && path[0] != '/' {
		path = redactUserinfo(path)
	}
	if len(path) > maxTarget {
		return ScrubTokens(cutAt(path, maxTarget)) + cutMark // in this order, so that the half of a token is masked too
	}
	path = ScrubTokens(path)
	if hasQuery {
		path += "?" + redactQuery(query, redactedValue, keep)
	}
	if fragment {
		path += "#" + redactedValue
	}
	return path
}

// redactUserinfo hides user and password of "http://user:password@host/path".
func redactUserinfo(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else {
		scheme += "://"
	}
	end := strings.IndexByte(rest, '/')
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndexByte(rest[:end], '@')
	if at < 0 {
		return s
	}
	return scheme + redactedValue + rest[at:]
}

func redactQuery(raw, standIn string, keep QueryKeys) string {
	if raw == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(min(len(raw)+1, maxQueryBytes) + len(standIn))
	keys := 0
	for pairs := 1; raw != ""; pairs++ {
		if pairs > maxQueryPairs {
			b.WriteString(cutMark)
			break
		}
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, text, hasValue := strings.Cut(pair, "=")
		value := standIn
		if hasValue && keep.keeps(key) {
			value = ScrubTokens(cutText(text, maxQueryValue))
		}
		padding := strings.Trim(text[:min(len(text), maxPadding)], "=") == ""
		bare := !hasValue && !isName(key, maxBareKey) || hasValue && padding && !isName(key, maxQueryKey)
		if key = ScrubTokens(cutText(key, maxQueryKey)); bare && !isMask(key) {
			key = redactedValue
		}
		if keys++; keys > maxQueryKeys || b.Len()+len(key)+len(value)+2 > maxQueryBytes {
			b.WriteString(cutMark)
			break
		}
		if keys > 1 {
			b.WriteByte('&')
		}
		b.WriteString(key)
		if hasValue {
			b.WriteByte('=')
			b.WriteString(value)
		}
	}
	return b.String()
}

// isName says whether a query key without a value is a name, as in "?wsdl" or "?expand[]", rather than a value without a
// name: at most so many bytes of letters, with few digits and what joins words in between. Brackets may be percent-encoded,
// as most clients send them; nothing else needs to be.
func isName(key string, most int) bool {
	if len(key) > most {
		return false
	}
	digits := 0
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
		case c >= '0' && c <= '9':
			if digits++; digits > maxNameDigits {
				return false
			}
		case c == '_' || c == '-' || c == '.' || c == '[' || c == ']':
		case c == '%' && i+2 < len(key) && key[i+1] == '5' && (key[i+2]|0x20 == 'b' || key[i+2]|0x20 == 'd'):
			i += 2
		default:
			return false
		}
	}
	return true
}

// isMask says whether s is the mask of a token and nothing else.
func isMask(s string) bool {
	prefix, end, found := strings.Cut(s, maskStars)
	return found && len(end) <= maskedEnd && prefix != "" && tokenPrefixBefore(prefix) == len(prefix)
}
