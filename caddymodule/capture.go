package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"

	"golang.org/x/net/http/httpguts"

	"github.com/keystile/keystile/requestlog"
)

// defaultCapturedBody is how much of a body is kept if the Caddyfile says no more than that it is.
const defaultCapturedBody = 4 << 10

// CaptureConfig says what of a site's requests is kept in the request log beside its fields. What is kept is redacted:
// Authorization, Proxy-Authorization, Cookie, Set-Cookie, the key header, and other headers and fields of JSON and forms whose
// names say that they are secret (password, secret, token, card number and the like) are shown as `***`, and so is whatever
// looks like one of our tokens. This cannot be turned off.
//
// A body is kept only if it is JSON, a form or plain text in UTF-8; of others, and of what is not the JSON that it is declared
// to be, only the size is noted. Bodies of requests that are refused are not read, and so not kept.
type CaptureConfig struct {
	// The request headers that are kept, as the client sent them: names, or `*` for all. Default: none.
	RequestHeaders []string `json:"request_headers,omitempty"`

	// The headers of answers that are kept: names, or `*` for all. Default: none.
	ResponseHeaders []string `json:"response_headers,omitempty"`

	// How many bytes of a request's body are kept, at most 65536. Default: none.
	RequestBody int64 `json:"request_body,omitempty"`

	// How many bytes of an answer's body are kept, at most 65536. Default: none.
	ResponseBody int64 `json:"response_body,omitempty"`

	// Further headers whose values are never kept.
	RedactHeaders []string `json:"redact_headers,omitempty"`

	// Further fields of JSON and forms whose values are never kept. How a name is spelled (case, `_`, `-`) does not matter.
	RedactFields []string `json:"redact_fields,omitempty"`

	// The query parameters whose values stand in the fields `query` and `target` of every record. Default: none; only
	// the names of parameters are kept.
	Query []string `json:"query,omitempty"`

	// Of which requests headers and bodies are kept: `all`, or `errors`, those that are answered with 400 or more.
	// Default: `all`.
	Only string `json:"only,omitempty"`
}

// capturePlan is a CaptureConfig, compiled. nil: nothing is captured.
type capturePlan struct {
	rules      *requestlog.CaptureRules
	query      requestlog.QueryKeys
	request    capturedHeaders
	response   capturedHeaders
	inBody     int
	outBody    int
	onlyErrors bool
	asks       bool // for more than query values
}

// capturedHeaders are the headers that are asked for.
type capturedHeaders struct {
	asked bool
	names []string // canonical; nil: all
}

// compile checks the words and turns them into what a request needs. keyHeader is the header that may carry the key, "" for
// none.
func (c *CaptureConfig) compile(keyHeader string) (*capturePlan, error) {
	if c == nil {
		return nil, nil
	}
	p := &capturePlan{inBody: int(c.RequestBody), outBody: int(c.ResponseBody), onlyErrors: c.Only == "errors"}
	if err := oneOf("only", c.Only, "errors", "all"); err != nil {
		return nil, err
	}
	var err error
	if p.request, err = compileHeaders("request_headers", c.RequestHeaders); err != nil {
		return nil, err
	}
	if p.response, err = compileHeaders("response_headers", c.ResponseHeaders); err != nil {
		return nil, err
	}
	for field, size := range map[string]int64{"request_body": c.RequestBody, "response_body": c.ResponseBody} {
		if size < 0 || size > requestlog.MaxCapturedBody {
			return nil, fmt.Errorf("%s: %d bytes; it may be 1 to %d", field, size, requestlog.MaxCapturedBody)
		}
	}
	redacted := append([]string{keyHeader}, c.RedactHeaders...)
	for _, name := range c.RedactHeaders {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("redact_header: %q is no header name", name)
		}
	}
	for _, name := range c.RedactFields {
		if name == "" {
			return nil, errors.New("redact_field: the name is empty")
		}
	}
	p.rules = requestlog.NewCaptureRules(redacted, c.RedactFields)
	for _, name := range c.Query {
		if name == "" || p.rules.SensitiveField(name) {
			return nil, fmt.Errorf("query: the values of %q are never kept", name)
		}
		if p.query == nil {
			p.query = make(requestlog.QueryKeys)
		}
		p.query[name] = true
	}
	p.asks = p.request.asked || p.response.asked || p.inBody > 0 || p.outBody > 0
	switch {
	case !p.asks && c.Only != "":
		return nil, errors.New("only: it is about headers and bodies, and none are asked for")
	case !p.asks && p.query == nil:
		return nil, errors.New("nothing is asked for: say request_headers, response_headers, request_body, response_body or query")
	}
	return p, nil
}

func compileHeaders(field string, names []string) (h capturedHeaders, err error) {
	for _, name := range names {
		switch {
		case name == "*" && len(names) == 1:
			return capturedHeaders{asked: true}, nil
		case name == "*":
			return h, fmt.Errorf("%s: * is all of them; it stands alone", field)
		case !httpguts.ValidHeaderFieldName(name):
			return h, fmt.Errorf("%s: %q is no header name", field, name)
		}
		h.asked = true
		h.names = append(h.names, textproto.CanonicalMIMEHeaderKey(name))
	}
	return h, nil
}

// redactQuery is what the record holds of target and query of a request.
func (p *capturePlan) redactQuery(target, query string) (string, string) {
	if p == nil {
		return requestlog.RedactTarget(target), requestlog.RedactQuery(query)
	}
	return p.query.RedactTarget(target), p.query.Redact(query)
}

// begin begins the capture of one request, as the client sent it.
func (p *capturePlan) begin(log *requestlog.Log, r *http.Request) *requestlog.Capture {
	if p == nil || !p.asks {
		return nil
	}
	c := log.NewCapture(p.rules)
	if p.request.asked {
		c.RequestHeaders(r.Header, p.request.names)
	}
	return c
}

// captureRequest makes ready for the body of a request that is handed on.
func (x *exchange) captureRequest(r *http.Request) {
	if p := x.handler.capture; x.capture != nil && p.inBody > 0 {
		x.capture.RequestBody(first(r.Header["Content-Type"]), coding(r.Header), r.ContentLength, p.inBody)
	}
}

// captureResponse makes ready for the answer whose header is about to be sent, and says whether its body is to be shown
// to the capture.
func (x *exchange) captureResponse(status int, h http.Header) bool {
	p := x.handler.capture
	if x.capture == nil || p.onlyErrors && status < http.StatusBadRequest {
		return false
	}
	if p.response.asked {
		x.capture.ResponseHeaders(h, p.response.names)
	}
	if p.outBody == 0 || status == http.StatusSwitchingProtocols || x.request.Method == http.MethodHead {
		return false
	}
	length, err := strconv.ParseInt(first(h["Content-Length"]), 10, 64)
	if err != nil {
		length = -1
	}
	return x.capture.ResponseBody(first(h["Content-Type"]), coding(h), length, p.outBody)
}

// endCapture gives the capture to the record, unless the request is not one of those that are asked for.
func (x *exchange) endCapture(rec *requestlog.Record, err error) {
	c, w := x.capture, &x.response
	if x.handler.capture.onlyErrors && rec.Status < http.StatusBadRequest {
		c.Discard()
		return
	}
	if err == nil && !w.wrote && !x.aborted {
		x.captureResponse(rec.Status, w.Header())
	}
	inWhole := x.body.ended.Load() || !x.body.gone && x.request.ContentLength >= 0 && rec.BytesIn >= x.request.ContentLength
	outWhole := err == nil && !x.aborted && !x.revoked.Load()
	if announced := w.Header()["Content-Length"]; len(announced) == 1 {
		outWhole = outWhole && announced[0] == strconv.FormatInt(rec.BytesOut, 10)
	}
	c.End(rec.BytesIn, rec.BytesOut, inWhole, outWhole)
	rec.Capture = c
}

// coding is the Content-Encoding of a message.
func coding(h http.Header) string {
	switch values := h["Content-Encoding"]; len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	default:
		return "several"
	}
}
