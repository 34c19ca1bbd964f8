package caddymodule

import (
	"net/http"
	"net/textproto"
	"strings"
)

// stripConnection takes from the Connection header every token that names a header which must reach the next handler.
//
// A proxy removes the headers that a Connection header names, after the gateway has written its own: so a client could
// delete Keystile-Account, or the X-Forwarded-For that its address is read from, or unframe a body. Only names that
// are nobody's but the client's may be given there; those and the real options (close, keep-alive, upgrade, TE) stay.
func (s *headerScreen) stripConnection(h http.Header) {
	values := h["Connection"]
	if !s.connectionNeedsWork(values) {
		return
	}
	kept := make([]string, 0, len(values))
	for _, value := range values {
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); token != "" && !s.protected(token) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

// connectionNeedsWork says whether any token must go. It does not allocate: nearly all Connection headers are plain.
func (s *headerScreen) connectionNeedsWork(values []string) bool {
	for _, value := range values {
		for value != "" {
			token, rest, _ := strings.Cut(value, ",")
			if token = textproto.TrimString(token); token != "" && s.protected(token) {
				return true
			}
			value = rest
		}
	}
	return false
}

// protected says whether a Connection header may not name this header.
func (s *headerScreen) protected(name string) bool {
	switch class, _ := s.classify(name); class {
	case classPlain, classConnection:
		return false
	case classOverride:
		return false // removed anyway
	default:
		return true
	}
}
