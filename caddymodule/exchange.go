package caddymodule

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// exchange is one request on its way through the directive, and all that is kept for it, in one allocation. It is not
// pooled: header values point into it, and the server writes them after the handler has returned.
type exchange struct {
	handler *Handler
	gate    *gate
	request *http.Request // as the next handler sees it
	asked   *http.Request // as the server hands it out
	record  *requestlog.Record
	start   time.Time
	called  time.Time           // when the next handler was called; zero: never
	left    time.Time           // when it returned; zero: it has not, or panicked
	capture *requestlog.Capture // nil: nothing is captured; else set before anybody else has the exchange

	verdict  verdict
	question policy.Request // what was judged, kept for streams
	mask     string         // of the presented token, "" if none was presented
	rate     rateVerdict    // what the rate limit says; zero: there is none
	looked   bool           // the store was asked for a key
	foreign  bool           // the presented token has a spelling of its own
	denied   bool           // the answer is the gateway's own
	anyone   bool           // anybody could have made this request
	longLine bool           // the record's texts may be parts of a long request line
	status   int            // to answer a denial with, if it is not the reason's own
	aborted  bool           // the next handler panicked

	response responseWriter
	body     requestBody
	bytesIn  atomic.Int64
	values   valueArray

	stream  stream
	watched atomic.Bool
	revoked atomic.Bool
	refusal *policy.Decision        // what the stream was ended for, set before revoked is
	cancel  context.CancelCauseFunc // of a request that is watched from its start, else nil
	release func()                  // of a hijacked connection: lets go of store and log
	stamped bool
}

// stamp puts on an answer what every answer of the directive carries. It is done when the header is about to be sent and
// replaces what the backend says under these names: there is one request id, and it is the one in the log.
func (x *exchange) stamp(h http.Header) {
	if x.stamped {
		return
	}
	x.stamped = true
	h["Request-Id"] = x.values.one(x.verdict.requestID)
	if version := x.verdict.decision.Version; version != "" {
		h[x.handler.headers.version] = x.values.one(version)
	}
	x.rate.stamp(h, &x.values)
	x.handler.cors.stamp(h, x.question.Origin, &x.values)
	// Of every key with an end, whoever set it: it is the client's only way to learn of it.
	if key := x.verdict.key; key != nil && !key.ExpiresAt.IsZero() && !x.denied {
		h[x.handler.names.keyExpires] = x.values.one(key.ExpiresAt.UTC().Format(http.TimeFormat))
	}
}
