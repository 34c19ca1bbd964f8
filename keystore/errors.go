package keystore

import (
	"errors"
	"fmt"
)

// Error is every error that a caller can do something about. Any other error of this package is the machine's.
type Error struct {
	Code    Code   // closed set, see the constants
	Param   string // the field at fault, "ip_ranges[2]"; "" if no field is
	Message string // one sentence that names what would be right; never holds a token
}

// Error is the message, with the field in front where there is one.
func (e *Error) Error() string {
	if e.Param == "" {
		return e.Message
	}
	return e.Param + ": " + e.Message
}

// Code is what kind of error it is, in the words of the admin API. Each stands for one HTTP status.
type Code string

// The codes, with the HTTP status that each stands for.
const (
	CodeInvalid         Code = "parameter_invalid" // 400
	CodeMissing         Code = "parameter_missing" // 400
	CodeNotFound        Code = "resource_missing"  // 404
	CodeKeyEnded        Code = "key_ended"         // 409
	CodeAlreadyRevealed Code = "already_revealed"  // 409
	CodeNotRevealable   Code = "not_revealable"    // 409
	CodeNotDeletable    Code = "not_deletable"     // 409: a publishable key, the default sandbox
	CodeConflict        Code = "conflict"          // 409: duplicate token, account already connected, …
	CodeKeyInUse        Code = "key_in_use"        // 409: an overlap would end under its users; force does it
	CodeNotRotating     Code = "not_rotating"      // 409: there is no overlap to end
	CodeRevision        Code = "revision_mismatch" // 412
	CodeUnavailable     Code = "store_unavailable" // 503: the backend refused or cannot say
)

// CodeOf is the code of the first [*Error] in err's chain, "" if there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func invalid(param, format string, args ...any) *Error {
	return &Error{Code: CodeInvalid, Param: param, Message: fmt.Sprintf(format, args...)}
}

func missing(param, format string, args ...any) *Error {
	return &Error{Code: CodeMissing, Param: param, Message: fmt.Sprintf(format, args...)}
}

func notFound(param, noun, id string) *Error {
	return &Error{Code: CodeNotFound, Param: param, Message: fmt.Sprintf("no such %s: %s", noun, quoteID(id))}
}

func conflict(param, format string, args ...any) *Error {
	return &Error{Code: CodeConflict, Param: param, Message: fmt.Sprintf(format, args...)}
}

// quoteID shows an id that a caller gave. A caller who pastes a token where an id belongs must not find it in a log:
// anything that does not look like one of our ids is not repeated.
func quoteID(id string) string {
	if !plausibleID(id) {
		return "the id given is not one of this store"
	}
	return "'" + id + "'"
}

func plausibleID(id string) bool {
	_, body, found := cutIDPrefix(id)
	return found && len(body) <= 40 && isBase62(body)
}
