package requestlog

import (
	"strings"
)

// Bounds of what is kept of a query string.
const (
	maxQueryBytes = 1024
	maxQueryKeys  = 64
	maxQueryKey   = 128
)

// redactedValue stands where a query value was.
const redactedValue = "***"

// RedactQuery keeps the keys of a raw query string and nothing of the values: "limit=&starting_after=". Anything that looks
// like a token is masked, also in a key. What passes 64 keys or 1 KiB is cut and ends with "…".
func RedactQuery(rawQuery string) string { return redactQuery(rawQuery, "") }

// RedactTarget keeps the path and the query keys of a raw request target: "/v1/charges?limit=***". The user information of
// an absolute target is redacted, and so is everything behind a "#".
func RedactTarget(target string) string {
	target, _, fragment := strings.Cut(target, "#")
	path, query, hasQuery := strings.Cut(target, "?")
	if len(path) > 0 && path[0] != '/' {
		path = redactUserinfo(path)
	}
	path = ScrubTokens(path)
	if hasQuery {
		path += "?" + redactQuery(query, redactedValue)
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

func redactQuery(raw, value string) string {
	if raw == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(min(len(raw)+1, maxQueryBytes) + len(value))
	for keys := 0; raw != ""; {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, _, hasValue := strings.Cut(pair, "=")
		key = ScrubTokens(cutText(key, maxQueryKey))
		if keys++; keys > maxQueryKeys || b.Len()+len(key)+len(value)+2 > maxQueryBytes {
			b.WriteString("…")
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
