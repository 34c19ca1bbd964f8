package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keystile/keystile/requestlog"
)

const (
	// tailKeepAlive is how often a comment is sent when nothing else is, so that proxies keep the connection and a dead
	// one is noticed.
	tailKeepAlive = 15 * time.Second

	// tailRecheck is how often it is asked whether the caller's credential is still good: a stream outlasts its start.
	tailRecheck = time.Second

	// tailWrite bounds one write: a reader that takes nothing for so long is gone.
	tailWrite = 30 * time.Second

	// tailBuffer is how many records may wait for the connection. The log remembers more for a slow reader, and counts their
	// bytes, which may be many where a site captures bodies.
	tailBuffer = 4

	// maxTails is how many live tails are open at a time; the log has the same bound for all of a process. A quarter of them
	// may be one customer's.
	maxTails = 64
)

// lastEventID is the header in which a browser's EventSource says, when it connects again, what it has seen.
const lastEventID = "Last-Event-ID"

// tailRequestLogs streams new records as server-sent events until the caller or the log goes away.
func (a *API) tailRequestLogs(c *call, _ *tailInput) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	seen := c.r.Header.Get(lastEventID)
	if seen != "" && !requestlog.ValidID(seen) {
		return badParam(lastEventID, "%s must be the id of an event of this stream", lastEventID)
	}
	if c.r.Method == http.MethodHead {
		c.beginTail()
		return nil
	}
	leave, ok := a.tails.enter(c.customer())
	if !ok {
		return newError(http.StatusServiceUnavailable, codeTailEnded, "",
			"too many live tails of the request log are open: this node serves %d in all and %d of one customer, or one while others have many", a.tails.all, a.tails.customer)
	}
	defer leave()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	records := make(chan []byte, tailBuffer)
	ended := make(chan error, 1)
	t, err := a.followTail(filter, seen)
	if err != nil {
		return tailRefused(err)
	}
	defer t.live.Close()
	out := c.beginTail()
	go func() {
		ended <- a.feedTail(ctx, c, t, func(event []byte) error {
			select {
			case records <- event:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	// Sent at once, so that the caller knows that it is listening before the first record comes.
	if out.send([]byte(": tailing\n\n")) != nil {
		return nil
	}
	recheck := time.NewTicker(tailRecheck)
	defer recheck.Stop()
	tick := time.NewTicker(tailKeepAlive)
	defer tick.Stop()
	for {
		var event []byte
		select {
		case event = <-records:
		case <-recheck.C:
		case <-tick.C:
			event = []byte(": still here\n\n")
		case err := <-ended:
			for len(records) > 0 {
				if !c.caller.Still() || out.send(<-records) != nil {
					return nil
				}
			}
			if ctx.Err() == nil {
				_ = out.send(c.errorEvent(err)) // the caller connects again, as clients of event streams do
			}
			return nil
		case <-ctx.Done():
			return nil
		}
		if !c.caller.Still() {
			_ = out.send(c.errorEvent(newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this stream is not good any more")))
			return nil
		}
		if event != nil && out.send(event) != nil {
			return nil
		}
	}
}

// beginTail begins the answer.
func (c *call) beginTail() *eventWriter {
	h := c.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	c.started = true
	c.w.WriteHeader(http.StatusOK)
	return &eventWriter{w: c.w, control: http.NewResponseController(c.w)}
}

// tailRefused words why there is no tail, or no more of it.
func tailRefused(err error) error {
	if errors.Is(err, requestlog.ErrClosed) || errors.Is(err, requestlog.ErrTooManyTails) {
		return newError(http.StatusServiceUnavailable, codeTailEnded, "", "%s", err.Error())
	}
	return err
}

// tailEvent is one record as an event. The JSON has no newline in it, and the id no control character: both come from the
// request log's own encoder. A gap record has no id as an event: who connects again then says what it saw before the gap, and
// gets what was lost there if it is still to be had.
func tailEvent(r *requestlog.Record) []byte {
	var b bytes.Buffer
	b.WriteString("event: request_log\n")
	if !r.IsGap() {
		b.WriteString("id: " + r.ID + "\n")
	}
	b.WriteString("data: ")
	b.Write(bytes.TrimSpace(marshal(RequestLog{r})))
	b.WriteString("\n\n")
	return b.Bytes()
}

// errorEvent says why the stream ends: the status is on the wire by then.
func (c *call) errorEvent(err error) []byte {
	return slices.Concat([]byte("event: error\ndata: "), bytes.TrimSpace(c.failure(tailRefused(err)).body), []byte("\n\n"))
}

// eventWriter writes and flushes, with a deadline for each write.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *eventWriter) send(b []byte) error {
	// Writers without deadlines (tests, HTTP/2 in some set-ups) do without: the error says only that.
	_ = e.control.SetWriteDeadline(time.Now().Add(tailWrite))
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.control.Flush()
}
