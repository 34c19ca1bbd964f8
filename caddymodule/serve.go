package caddymodule

import (
	"net/http"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// ServeHTTP takes one request through the gateway: what only the gateway may say is removed from its headers, it is
// judged, and answered or handed on. One record is written whatever happens, also if the next handler panics.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	x := &exchange{handler: h, gate: h.app.gate(), request: r, asked: r}
	x.response.ResponseWriter, x.response.x = w, x
	logged := h.access.begin(w, r)
	if x.gate == nil {
		return x.unavailable(r, logged)
	}
	x.start = x.gate.now()
	x.verdict.requestID = requestlog.NewID(x.start)
	x.beginRecord(r)

	var err error
	returned := false
	defer func() {
		x.unwatch()
		x.aborted = !returned
		x.gate.metrics.decision(x.verdict.decision.Reason)
		logged.end(x, err)
		x.letGo()
		x.endRecord(err)
		if x.release != nil {
			x.release()
		}
		if x.denied {
			// The scheduler lets a connection whose requests come without a pause go on for 10 ms. In a flood of keys that nobody has,
			// those who have one would wait for each such connection in turn.
			runtime.Gosched()
		}
	}()

	x.judge(r)
	x.anyone = x.byAnyone()
	x.publish(r)
	if h.deny503 && !x.ready() {
		x.verdict.decision.Reason = policy.ReasonGatewayUnavailable
	}
	switch d := &x.verdict.decision; {
	case d.Reason == policy.ReasonPreflight:
		x.settleBody(x.response.Header())
		h.cors.answerPreflight(&x.response, x.question.Origin)
	case d.Allowed() && r.Method == http.MethodOptions && !d.Route.Known:
		x.answerOptions()
	case d.Allowed():
		err = x.forward(r, next)
	default:
		x.countReset()
		err = x.deny()
	}
	returned = true
	if !x.response.wrote {
		x.settleUnanswered(err)
	}
	err = logged.settle(x, r, err)
	return err
}

// answerOptions answers an OPTIONS request that is no preflight, and that no rule of the catalog names: what may be asked of
// a route is no data, and frameworks exist that serve data on OPTIONS. The request has been judged as any other.
func (x *exchange) answerOptions() {
	h := x.response.Header()
	h["Allow"] = []string{corsMethods}
	x.settleBody(h)
	x.response.WriteHeader(http.StatusNoContent)
}

// unavailable refuses a request for which there is neither store nor log (fail closed). It is cleaned nevertheless: the
// site's error routes may send it on.
func (x *exchange) unavailable(r *http.Request, logged *entry) error {
	h := x.handler
	x.start = h.app.config().now()
	x.verdict.requestID = requestlog.NewID(x.start)
	h.screen.strip(r.Header, trustedPeer(r.Context()))
	h.screen.stripTrailers(r.Trailer)
	settleUpgrade(r)
	h.dropCredentials(r.Header)
	x.verdict.decision.Reason = policy.ReasonGatewayUnavailable
	err := logged.settle(x, r, x.deny())
	logged.end(x, err)
	return err
}

// elapsed is the time since the request came.
func (x *exchange) elapsed() time.Duration { return x.handler.app.config().now().Sub(x.start) }

// judge cleans the request and decides on it. Nothing here allocates for a key in the cache, unless the request is
// unusual.
func (x *exchange) judge(r *http.Request) {
	h, g, q := x.handler, x.gate, &x.question
	trusted := trustedPeer(r.Context())
	q.Malformed = h.screen.strip(r.Header, trusted)
	if len(r.Trailer) > 0 {
		h.screen.stripTrailers(r.Trailer)
	}
	settleUpgrade(r)
	q.Method, q.BadMethod = judgedMethod(r)
	if !q.BadMethod {
		path, ok := target(r)
		q.Path = path
		q.Malformed = q.Malformed || !ok || !hostAgrees(r)
	} else {
		q.Path, q.Malformed = "/", false // the method alone decides
	}
	q.Client = clientAddress(r, h.server, trusted)
	q.EarlyData = earlyData(r)
	if origins := r.Header["Origin"]; len(origins) > 0 {
		q.Origin = origins[0]
		q.Malformed = q.Malformed || len(origins) > 1
	}
	q.Context, q.ContextCount = parameter(r.Header, h.headers.context)
	q.Account, q.AccountCount = parameter(r.Header, h.headers.account)
	q.Version, q.VersionCount = parameter(r.Header, h.headers.version)

	sampled := g.metrics.sample()
	began := x.start
	if sampled {
		began = g.now()
	}
	x.identifyKey(r.Header, sampled)
	if !q.Malformed && !q.BadMethod && preflight(r) {
		x.verdict.decision.Reason = policy.ReasonPreflight
		return
	}
	at := x.start
	if key := x.verdict.key; key != nil {
		at = g.store.JudgedAt(key, at)
	}
	x.verdict.decision = h.rules.Decide(x.verdict.principal(), q, g.store.Directory(), at)
	if sampled {
		g.metrics.decide(g.now().Sub(began))
	}
	if x.outdated(x.start) {
		x.verdict.decision.Reason = policy.ReasonGatewayUnavailable
		return
	}
	x.limitRate()
	if x.verdict.decision.Reason == policy.ReasonAPIKeyInvalid && !g.throttle.allow(q.Client, x.start) {
		// Only now, so that a valid key is never slowed by what others try from its address.
		x.verdict.decision.Reason = policy.ReasonRateLimit
	}
}

// outdated says whether what this node knows of keys is too old to decide on the request: it was cut off from the store that
// it shares with others for longer than max_staleness. What has no key, or is no request, is answered as ever.
func (x *exchange) outdated(now time.Time) bool {
	q := &x.question
	return x.looked && !q.Malformed && !q.BadMethod && x.gate.store.Stale(now)
}

// identifyKey finds the key that the request presents, and removes the credential from wherever it may stand: the backend
// gets its own, if any, from the operator.
func (x *exchange) identifyKey(header http.Header, sampled bool) {
	h, q := x.handler, &x.question
	token, state := presented(header, h.keyName)
	h.dropCredentials(header)
	q.Credential = state
	x.capture.Presented(token)
	if state != policy.CredentialKnown {
		return
	}
	key := x.lookup(token, sampled)
	if key == nil {
		q.Credential = policy.CredentialInvalid
		x.mask = policy.Mask(token)
		return
	}
	x.verdict.key = key
	x.mask = key.Mask
	if x.foreign {
		x.record.Conceal(token) // nobody else can tell it from other text
	}
}

// dropCredentials removes the key from wherever it may stand.
func (h *Handler) dropCredentials(header http.Header) {
	delete(header, "Authorization")
	if h.keyName != "" {
		delete(header, h.keyName)
	}
}

// lookup finds the key of a token, nil if there is none. Tokens that cannot be in the store are not looked up.
func (x *exchange) lookup(token string, sampled bool) *keystore.Key {
	g := x.gate
	switch _, _, class := policy.ParseToken(token); class {
	case policy.TokenOurs:
	case policy.TokenBadChecksum, policy.TokenForeign:
		if !g.store.HasImported() {
			return nil
		}
		x.foreign = true
	default:
		return nil
	}
	x.looked = true
	digest := policy.DigestOf(token)
	if !sampled {
		key, hit := g.store.Lookup(&digest)
		g.metrics.cache(hit)
		return key
	}
	began := g.now()
	key, hit := g.store.Lookup(&digest)
	g.metrics.lookup(g.now().Sub(began))
	g.metrics.cache(hit)
	return key
}

// publish makes the verdict known to placeholders, matchers and Caddy's access log.
func (x *exchange) publish(r *http.Request) {
	ctx := r.Context()
	caddyhttp.SetVar(ctx, verdictVar, &x.verdict)
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(x.verdict.placeholder)
	}
	// The list of extra fields costs four allocations, so it is filled only where something may read it.
	if h := x.handler; h.server != nil && h.server.Logs != nil {
		if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Add(zap.Object("keystile", &x.verdict))
		}
	}
}

// forward hands an allowed request on.
func (x *exchange) forward(r *http.Request, next caddyhttp.Handler) error {
	x.identify(r.Header)
	if !x.assert(r) {
		return x.deny()
	}
	r = x.watchFromStart(r)
	x.request = r
	if r.Body != nil && r.Body != http.NoBody {
		x.body.ReadCloser, x.body.x = r.Body, x
		r.Body = &x.body
		x.captureRequest(r)
	}
	if x.handler.Upstreams != nil {
		next = x.handler.Upstreams.forMode(x.verdict.principal())
	}
	x.called = x.gate.now()
	if x.cancel != nil {
		x.watch(nil)
	}
	err := next.ServeHTTP(&x.response, r)
	x.left = x.gate.now()
	if x.cancel != nil {
		x.cancel(nil)
	}
	x.countReset()
	if err == nil && !x.response.wrote && switchedUnasked(r) {
		err = &backendFailure{http.StatusBadGateway, errSwitched}
	}
	if err == nil {
		if !x.response.wrote { // the server sends an empty 200
			x.stamp(x.response.Header())
			x.settleUnread(x.response.Header())
		}
		return nil
	}
	return x.failed(err)
}

// failed deals with an error of the next handler. Errors of a proxy that found no backend are answered here, as clients
// of the API expect; other errors are Caddy's and the operator's.
func (x *exchange) failed(err error) error {
	status, unreachable := upstreamFailed(err)
	if x.response.wrote {
		return err
	}
	if x.revoked.Load() {
		x.verdict.decision = *x.refusal // the backend is not to blame
		return x.deny()
	}
	if !unreachable {
		x.stamp(x.response.Header())
		return err
	}
	x.verdict.decision.Reason = policy.ReasonUpstreamUnavailable
	x.status = status
	if x.handler.denialsByCaddy() {
		x.stamp(x.response.Header())
		return err // with its own status and text: the error routes may tell them apart
	}
	x.complain(x.handler.unreachable, "backend unavailable", err)
	return x.deny()
}

// parameter reads one of the gateway's input headers: its first line, and how many lines there are.
func parameter(h http.Header, name string) (value string, lines int) {
	values := h[name]
	if len(values) == 0 {
		return "", 0
	}
	return values[0], len(values)
}
