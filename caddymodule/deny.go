package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
)

// realm names the space of protection in WWW-Authenticate.
const realm = `Bearer realm="Keystile"`

// errorBody is the body of every answer that the gateway gives in the backend's place (contract section 3.2).
type errorBody struct {
	Error errorObject `json:"error"`
}

type errorObject struct {
	Type               string `json:"type"`
	Code               string `json:"code"`
	Message            string `json:"message"`
	RequestID          string `json:"request_id"`
	DocURL             string `json:"doc_url,omitempty"`
	Param              string `json:"param,omitempty"`
	RequiredPermission string `json:"required_permission,omitempty"`
}

// deny answers the request in the backend's place, or returns the error for Caddy's handle_errors, if the site wants
// that. The decision is in the verdict.
func (x *exchange) deny() error {
	d := &x.verdict.decision
	x.denied = true
	reason := d.Reason
	status := cmp.Or(x.status, reason.Status())
	message := policy.Message(d, x.mask)
	if x.record != nil {
		x.record.ErrorType, x.record.ErrorCode, x.record.ErrorMessage = reason.Type(), reason.Code(), message
	}
	h := x.response.Header()
	x.denialHeaders(h, reason, status)
	if x.called.IsZero() {
		x.settleBody(h)
	}
	if x.handler.denialsByCaddy() {
		x.stamp(h)
		x.response.status = status
		return caddyhttp.Error(status, errors.New(message))
	}
	body := errorObject{
		Type: reason.Type(), Code: reason.Code(), Message: message,
		RequestID: x.verdict.requestID, DocURL: x.handler.docURL(reason.Code()), Param: d.Param,
	}
	if reason == policy.ReasonPermissionDenied {
		body.RequiredPermission = policy.Required(d)
	}
	return x.writeError(status, body)
}

// denialHeaders sets what tells a client's library what to do.
func (x *exchange) denialHeaders(h http.Header, reason policy.Reason, status int) {
	h["Cache-Control"] = []string{"no-store"}
	switch reason {
	case policy.ReasonRateLimit:
		x.limited(h)
	case policy.ReasonTooEarly, policy.ReasonGatewayUnavailable, policy.ReasonUpstreamUnavailable:
		// Worth another try: nothing said.
	default:
		h["Stripe-Should-Retry"] = []string{"false"}
	}
	switch status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = []string{realm}
	case http.StatusMethodNotAllowed:
		h["Allow"] = []string{corsMethods}
		if x.request.ProtoMajor == 1 {
			// What follows a CONNECT or TRACE may be meant for somebody else: nothing of it is read as a request.
			h["Connection"] = []string{"close"}
		}
	case http.StatusForbidden:
		if reason == policy.ReasonPermissionDenied {
			h[x.handler.names.requiredPermission] = []string{policy.Required(&x.verdict.decision)}
		}
	}
}

// writeError sends the JSON body. The server reads or closes what the client may still be sending.
func (x *exchange) writeError(status int, body errorObject) error {
	text, err := json.Marshal(errorBody{Error: body})
	if err != nil {
		return caddyhttp.Error(status, err)
	}
	text = append(text, '\n')
	h := x.response.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	x.response.WriteHeader(status)
	if x.request.Method == http.MethodHead || x.reset() {
		return nil
	}
	// An error here is a client that has gone: there is nobody to tell.
	_, _ = x.response.Write(text)
	return nil
}

// docURL is the page on an error code, "" unless the operator has such pages.
func (h *Handler) docURL(code string) string {
	if h.DocURL == "" {
		return ""
	}
	return strings.ReplaceAll(h.DocURL, "{code}", code)
}

// upstreamFailed says whether the error is the short way or Caddy's reverse_proxy telling that there was no answer from a
// backend, and with which status it is told to the client. Errors that other handlers return on purpose (the error directive) are
// the operator's business and pass.
func upstreamFailed(err error) (status int, failed bool) {
	var own *backendFailure
	if errors.As(err, &own) {
		return own.status, true
	}
	var he caddyhttp.HandlerError
	if !errors.As(err, &he) || !strings.HasPrefix(he.Trace, "reverseproxy.") {
		return 0, false
	}
	switch he.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return http.StatusBadGateway, true
	case http.StatusGatewayTimeout:
		if isDialError(err) {
			return http.StatusBadGateway, true
		}
		return http.StatusGatewayTimeout, true // it was reached and did not answer in time
	default:
		return 0, false
	}
}
