package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// shortTrip is one request on the short way.
type shortTrip struct {
	way     *shortWay
	x       *exchange
	backend *backend
	request *http.Request
	body    []byte // nil: none
	conn    *backendConn
	stop    func() bool // ends the watch on the request's context
}

// run sends the request and hands the answer on. again says that neither has happened and that the request may be sent
// once more.
func (t *shortTrip) run() (again bool, err error) {
	ctx := t.request.Context()
	if t.conn, err = t.backend.take(ctx); err != nil {
		if ctx.Err() != nil {
			return false, t.fail(err)
		}
		return true, err
	}
	t.x.verdict.upstream = t.backend
	// A client that goes away, or a key that is revoked, ends the request's context. Closing the connection wakes whoever
	// waits on it.
	conn := t.conn
	t.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	finished := false
	defer func() {
		if !finished { // also on a panic
			t.stop()
			_ = conn.Close()
		}
	}()
	res, err := t.exchange() //nolint:bodyclose // the body is the connection: read to its end, or closed with it
	if err != nil {
		if ctx.Err() == nil && t.mayRepeat(err) {
			return true, err
		}
		return false, t.fail(err)
	}
	whole := t.answer(res)
	finished = t.stop() && whole && !res.Close
	if finished {
		t.backend.put(conn)
	}
	return false, nil
}

// mayRepeat says whether the request may be sent once more after the error: nothing of it went out; or it may be repeated
// by its method, no byte of an answer came, and there is reason to think that another connection fares better.
func (t *shortTrip) mayRepeat(err error) bool {
	switch c := t.conn; {
	case errors.Is(err, errBadHead) || isTimeout(err):
		return false
	case c.sent == 0:
		return true
	default:
		return c.head == t.way.headSize && repeatable(t.request) && (c.used || len(t.way.backends) > 1)
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// errBadHead is what a request cannot be sent for.
var errBadHead = errors.New("the request has a header that cannot be sent")

// exchange sends the request and reads the head of the final answer.
func (t *shortTrip) exchange() (*http.Response, error) {
	c := t.conn
	c.sent, c.head = 0, t.way.headSize
	if err := t.write(); err != nil {
		return nil, err
	}
	if t.way.headTime > 0 {
		if err := c.SetReadDeadline(time.Now().Add(t.way.headTime)); err != nil {
			return nil, err
		}
	}
	// Any number of 1xx answers may come first, as by Caddy's proxy; all heads together are bounded by the size of one.
	for {
		res, err := http.ReadResponse(c.br, t.request)
		switch {
		case err != nil:
			return nil, fmt.Errorf("reading the backend's answer: %w", err)
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errSwitched
		case res.StatusCode >= 200 || res.StatusCode < 100: // the second is none at all, and becomes a 502
			if t.way.headTime > 0 {
				if err := c.SetReadDeadline(time.Time{}); err != nil {
					return nil, err
				}
			}
			c.head = -1
			return res, nil
		case res.StatusCode > 100:
			t.inform(res)
		}
	}
}
