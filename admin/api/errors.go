package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/requestlog"
)

// ErrorType is the class of an error: whose fault it is.
type ErrorType string

// The types of error that the admin API answers.
const (
	TypeInvalidRequest ErrorType = "invalid_request_error" // 4xx: the caller can do something about it
	TypeAPI            ErrorType = "api_error"             // 5xx: the machine's fault
)

// Error is every error that the admin API answers, as it stands under "error" in the body. It is also a Go error, so that
// Config.Caller can return one and have it answered as it is.
type Error struct {
	// Status is the HTTP status, 400 to 599. It is not part of the body.
	Status int `json:"-"`

	Type      ErrorType `json:"type" enum:"invalid_request_error,api_error" doc:"invalid_request_error for every 4xx, api_error for every 5xx"`
	Code      string    `json:"code" doc:"Machine-readable reason, from a closed set"`
	Message   string    `json:"message" doc:"One sentence for people; never contains a token"`
	RequestID string    `json:"request_id" doc:"The Request-Id header of this answer"`
	Param     string    `json:"param,omitempty" doc:"The field, query parameter or header at fault, such as ip_ranges[2] or keys[3].kind"`
	DocURL    string    `json:"doc_url,omitempty" doc:"A page about this code"`

	Errors []RowError `json:"errors,omitempty" nullable:"false" doc:"Imports: what is wrong with each row, as far as it was looked at; the fields above repeat the first"`
	Users  []KeyUser  `json:"users,omitempty" nullable:"false" doc:"key_in_use: who has used the key within the last hour, the latest first"`
}

// RowError is what is wrong with one row of an import.
type RowError struct {
	Param   string `json:"param" example:"keys[3].kind"`
	Line    int    `json:"line,omitempty" doc:"Of the file, where one is imported"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error is the message with its code, for logs and wrapping.
func (e *Error) Error() string {
	if e.Param == "" {
		return e.Code + ": " + e.Message
	}
	return e.Code + ": " + e.Param + ": " + e.Message
}

// ErrorBody is the body of every error answer.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Codes of this package, beside those of keystore.Code.
const (
	codeParameterInvalid    = "parameter_invalid"
	codeParameterMissing    = "parameter_missing"
	codeParameterUnknown    = "parameter_unknown"
	codeBodyInvalid         = "body_invalid"
	codeBodyTooLarge        = "body_too_large"
	codeContentType         = "content_type_unsupported"
	codePathUnknown         = "path_unknown"
	codeMethodNotAllowed    = "method_not_allowed"
	codeUnauthenticated     = "authentication_required"
	codeRevisionMismatch    = "revision_mismatch"
	codeIdempotencyReused   = "idempotency_key_reused"
	codeIdempotencyInUse    = "idempotency_key_in_use"
	codeIdempotencyCapacity = "idempotency_unavailable"
	codeTailEnded           = "tail_unavailable"
	codeExportsBusy         = "export_unavailable"
	codeEmailUnproven       = "email_unproven"
	codeLogUnavailable      = "request_log_unavailable"
	codeInternal            = "internal_error"
)

// statusOf maps the store's codes to HTTP, in this one place. A code that is missing here is a machine's error: fail
// closed with 500 rather than guess.
var statusOf = map[keystore.Code]int{
	keystore.CodeInvalid:         http.StatusBadRequest,
	keystore.CodeMissing:         http.StatusBadRequest,
	keystore.CodeNotFound:        http.StatusNotFound,
	keystore.CodeKeyEnded:        http.StatusConflict,
	keystore.CodeAlreadyRevealed: http.StatusConflict,
	keystore.CodeNotRevealable:   http.StatusConflict,
	keystore.CodeNotDeletable:    http.StatusConflict,
	keystore.CodeConflict:        http.StatusConflict,
	keystore.CodeKeyInUse:        http.StatusConflict,
	keystore.CodeNotRotating:     http.StatusConflict,
	keystore.CodeRevision:        http.StatusPreconditionFailed,
	keystore.CodeUnavailable:     http.StatusServiceUnavailable,

	// What this package finds in a row of an import, and the store lists.
	codeParameterUnknown: http.StatusBadRequest,
	codeBodyInvalid:      http.StatusBadRequest,
	auth.CodeLimit:       http.StatusForbidden,
}

// newError makes an error whose type follows from its status.
func newError(status int, code, param, format string, args ...any) *Error {
	typ := TypeInvalidRequest
	if status >= 500 {
		typ = TypeAPI
	}
	return &Error{Status: status, Type: typ, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
}

// badParam is a 400 about one field, query parameter or header.
func badParam(param, format string, args ...any) *Error {
	return newError(http.StatusBadRequest, codeParameterInvalid, param, format, args...)
}

// notFound is a 404 about one object. The id is the caller's own text: %q keeps it printable, and it is cut, because an
// id is never long.
func notFound(what, id string) *Error {
	if len(id) > 64 {
		id = id[:64]
	}
	return newError(http.StatusNotFound, string(keystore.CodeNotFound), "", "no such %s: %q", what, id)
}

// scrubbed is e without tokens: the store and the log name what was wrong in a value, and a caller may have put a token
// where something else belongs. Defence in depth; our own errors repeat no values.
func scrubbed(e *Error) *Error {
	e.Message, e.Param = requestlog.ScrubTokens(e.Message), requestlog.ScrubTokens(e.Param)
	for i, row := range e.Errors {
		e.Errors[i].Message, e.Errors[i].Param = requestlog.ScrubTokens(row.Message), requestlog.ScrubTokens(row.Param)
	}
	for i, user := range e.Users {
		e.Users[i].UserAgent = requestlog.ScrubTokens(user.UserAgent)
	}
	return e
}

// asError turns any error into the one shape. What is not meant for the caller becomes a bare 500: its text may name
// files, hosts or worse. The second result is the error to log, nil if there is nothing to log.
func asError(err error) (*Error, error) {
	var own *Error
	if errors.As(err, &own) {
		e := *own
		e.Errors = slices.Clone(own.Errors) // the caller of asError changes them
		e.Users = slices.Clone(own.Users)
		return &e, nil
	}
	var rows *keystore.ImportError
	if errors.As(err, &rows) && len(rows.Rows) > 0 {
		first, cause := asError(rows.Rows[0])
		for _, row := range rows.Rows {
			first.Errors = append(first.Errors, RowError{Param: row.Param, Code: string(row.Code), Message: row.Message})
		}
		return first, cause
	}
	var stored *keystore.Error
	if errors.As(err, &stored) {
		if status, ok := statusOf[stored.Code]; ok {
			e := newError(status, string(stored.Code), stored.Param, "%s", stored.Message)
			if status >= 500 {
				return e, err
			}
			return e, nil
		}
	}
	var refused *auth.Refusal
	if errors.As(err, &refused) {
		return newError(refused.Status, refused.Code, refused.Param, "%s", refused.Message), nil
	}
	var filter *requestlog.FilterError
	if errors.As(err, &filter) {
		return badParam(filter.Param, "%s", filter.Reason), nil
	}
	if errors.Is(err, keystore.ErrAway) {
		return newError(http.StatusServiceUnavailable, string(keystore.CodeUnavailable), "", "the key store's database cannot be reached now; try again later"), err
	}
	if errors.Is(err, requestlog.ErrUnavailable) {
		return newError(http.StatusServiceUnavailable, codeLogUnavailable, "",
			"the request log's database cannot be reached now, or answers too slowly; requests are recorded meanwhile; try again later"), err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return newError(http.StatusServiceUnavailable, string(keystore.CodeUnavailable), "",
			"the call was given up before it was done; ask for the object to see whether it happened"), err
	}
	return newError(http.StatusInternalServerError, codeInternal, "",
		"an unexpected error occurred; the server's log has the details under this request id"), err
}
