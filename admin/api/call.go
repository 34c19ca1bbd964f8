package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// call is one call being answered. It belongs to one goroutine.
type call struct {
	api   *API
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context // of the request; mutations use c.commit()
	now   time.Time
	id    string // request id
	path  map[string]string
	query url.Values

	caller *auth.Caller // who calls, once enter has let the call in
	actor  keystore.Actor

	revision uint64 // of the object answered; 0: no ETag
	claim    *claim // of the Idempotency-Key; nil: none
	started  bool   // the status is on the wire

	unverified bool // refused for its verification code: an Idempotency-Key is not used up by that
}

// commitTime bounds a change whose caller has gone away.
const commitTime = 30 * time.Second

// commit is the context of a change. It outlives the connection: a caller that hangs up must not leave it open whether
// the change happened, least of all one that sent an Idempotency-Key and will ask again.
func (c *call) commit() (context.Context, context.CancelFunc) { return c.outlast(commitTime) }

// importTime is commitTime for a large import.
const importTime = 15 * time.Minute

func (c *call) outlast(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.ctx), d)
}

// fail answers an error.
func (c *call) fail(err error) { c.write(c.failure(err)) }

// failure is the answer for an error. Causes that the caller must not see go to the log.
func (c *call) failure(err error) answer {
	e, cause := asError(err)
	e.RequestID = c.id
	if cause != nil {
		c.api.Logger.Error("admin API call failed", zap.String("request_id", c.id), zap.String("method", c.r.Method),
			zap.String("path", c.r.URL.Path), zap.Int("status", e.Status), zap.Error(cause))
	}
	return answer{status: e.Status, body: marshal(ErrorBody{Error: *scrubbed(e)})}
}

// answer is a finished answer, as it is sent and as the idempotency store keeps it.
type answer struct {
	status   int
	revision uint64 // of the ETag; 0: none
	body     []byte // JSON
}

// write sends an answer. Errors of the connection are nobody's business any more.
func (c *call) write(a answer) {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if a.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="keystile"`)
	}
	if a.revision != 0 {
		h.Set("ETag", etag(a.revision))
	}
	c.started = true
	c.w.WriteHeader(a.status)
	_, _ = c.w.Write(a.body)
}

// marshal encodes one of our own types. HTML escaping is off: the answer is JSON, not a page, and a note with an
// ampersand should read as it was written. It ends with a newline, for people with curl.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// Our own wire types always encode; a failure here is a bug, and recoverPanic answers it.
		panic("admin API: encoding an answer: " + err.Error())
	}
	return b.Bytes()
}
