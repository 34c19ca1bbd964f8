package caddymodule

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// statusClientGone is what proxies write for a client that went away before the answer. It is never sent.
const statusClientGone = 499

// maxLine is how long a request line may be for its parts to stay in the record as they are: method, protocol, path and target
// are cut out of it, and each keeps the whole line alive. The parts of a longer one are copied. Over HTTP/2 the target alone is
// such a line; a rewrite before this handler makes another.
const maxLine = 1 << 10

// beginRecord notes what the client sent, before other handlers can change it.
func (x *exchange) beginRecord(r *http.Request) {
	rec := x.gate.log.NewRecord()
	rec.ID = x.verdict.requestID
	rec.Time = x.start
	rec.Method = r.Method
	rec.Host = r.Host
	rec.Node = x.gate.node
	rec.Protocol = r.Proto
	rec.UserAgent = first(r.Header["User-Agent"])
	rec.IdempotencyKey = first(r.Header["Idempotency-Key"])
	if r.TLS != nil {
		rec.TLS = tlsVersion(r.TLS.Version)
	}
	var method string
	method, rec.Target = received(r)
	x.longLine = len(method)+len(rec.Target) > maxLine || len(r.Method)+len(r.RequestURI) > maxLine
	if _, query, found := strings.Cut(rec.Target, "?"); found {
		rec.Target, rec.Query = x.handler.capture.redactQuery(rec.Target, query)
	} else if !strings.HasPrefix(rec.Target, "/") || strings.Contains(rec.Target, "#") {
		rec.Target = requestlog.RedactTarget(rec.Target) // it may name a user and a password, or have a fragment
	}
	x.capture = x.handler.capture.begin(x.gate.log, r)
	x.record = rec
}

// endRecord completes the record and hands it to the log, which never blocks.
func (x *exchange) endRecord(err error) {
	rec, v := x.record, &x.verdict
	d := &v.decision
	end := x.gate.now()
	rec.Duration = end.Sub(x.start)
	if !x.called.IsZero() {
		left := x.left
		if left.IsZero() {
			left = end // it panicked
		}
		rec.Upstream = left.Sub(x.called)
		if b := v.upstream; b != nil {
			rec.UpstreamAddress = b.address
		} else {
			rec.UpstreamAddress = upstreamAddress(x.request)
		}
	}
	rec.Status = x.answered(err)
	rec.Path = x.question.Path
	rec.Client = x.question.Client
	rec.Decision = d.Reason.Code()
	rec.RequiredPermission = policy.Required(d)
	rec.TokenMasked = x.mask
	rec.Sandbox, rec.Owner, rec.Account = d.Sandbox, d.Owner, d.Account
	rec.Resource, rec.Access = d.Route.Resource, routeAccess(d)
	rec.APIVersion = d.Version
	if key := v.key; key != nil {
		rec.Key = key.ID
		rec.Kind, rec.Mode = key.Kind.String(), key.Mode.String()
		if rec.Owner == "" {
			rec.Owner = key.Owner()
		}
		rec.SuccessorUsed = key.Predecessor != ""
	}
	rec.BytesIn, rec.BytesOut = x.bytesIn.Load(), x.response.bytes.Load()
	if x.request.Method == http.MethodHead && x.response.status != http.StatusSwitchingProtocols {
		rec.BytesOut = 0 // the server drops what handlers write
	}
	if len(x.response.sniffed) > 0 {
		if text, _, ok := requestlog.Unpack(x.response.coding, x.response.sniffed, maxSniffed); ok {
			rec.ErrorType, rec.ErrorCode, rec.ErrorMessage = backendError(text)
		}
	}
	if x.capture != nil {
		x.endCapture(rec, err)
	}
	if x.longLine {
		rec.Detach()
	}
	x.appendRecord()
}

// appendRecord gives the record as much room in the log as the request deserves. What was not handed on and has no key that
// we know tells of nobody, and is given up first. That a key that has ended was tried is worth more: it is what shows that a
// revocation works, whatever guesses come at the same time.
func (x *exchange) appendRecord() {
	switch log := x.gate.log; {
	case !x.anyone:
		log.Append(x.record)
	case x.verdict.key == nil && x.called.IsZero():
		log.AppendMinor(x.record)
	default:
		log.AppendForAnyone(x.record)
	}
}

// byAnyone says whether anybody could have made the request that was judged: it has no key, or one that is public or has ended,
// whatever it was refused for. Strangers must not be able to take the room in the log that the requests of others need.
func (x *exchange) byAnyone() bool {
	key := x.verdict.key
	return key == nil || key.Kind == policy.KindPublishable || key.Ended(x.start)
}

// ready says whether the log has room for the record of this request.
func (x *exchange) ready() bool {
	if x.anyone {
		return x.gate.log.ReadyForAnyone()
	}
	return x.gate.log.Ready()
}

// answered is the status that the client got, or gets once Caddy has dealt with the error.
func (x *exchange) answered(err error) int {
	switch {
	case x.response.status != 0:
		return x.response.status
	case err != nil:
		var he caddyhttp.HandlerError
		if errors.As(err, &he) && he.StatusCode != 0 {
			return he.StatusCode
		}
		return http.StatusInternalServerError
	case x.aborted:
		if x.request.Context().Err() != nil {
			return statusClientGone
		}
		return http.StatusInternalServerError
	default:
		return http.StatusOK // what the server sends if nobody writes
	}
}

// upstreamAddress asks the placeholders of reverse_proxy which backend was chosen.
func upstreamAddress(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	address, _ := repl.GetString("http.reverse_proxy.upstream.hostport")
	return address
}

// tlsVersion is the version as the record has it.
func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS13:
		return "1.3"
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS11:
		return "1.1"
	case tls.VersionTLS10:
		return "1.0"
	default:
		return ""
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
