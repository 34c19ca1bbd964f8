package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
)

const (
	idempotencyHeader = "Idempotency-Key"
	maxIdempotencyKey = 255

	// IdempotencyLifetime is how long an answer is kept for its key.
	IdempotencyLifetime = 24 * time.Hour
)

// IdempotencyStore keeps the answers of POSTs with an Idempotency-Key. Implementations are safe for concurrent use. What
// they keep may hold a token: it must be sealed at rest, and be gone after [IdempotencyLifetime].
type IdempotencyStore interface {
	// Begin claims key for caller and fingerprint, atomically: of many that ask at the same time exactly one gets
	// IdempotencyClaimed, and must call Finish or Abandon. saved is set with IdempotencySaved only.
	Begin(ctx context.Context, k IdempotencyKey) (state IdempotencyState, saved []byte, err error)
	// Finish keeps the answer of a claimed key, for 24 h from now.
	Finish(ctx context.Context, k IdempotencyKey, saved []byte) error
	// Abandon gives a claimed key up: nothing happened under it, and it may be used again.
	Abandon(ctx context.Context, k IdempotencyKey)
}

// IdempotencyKey names one call that is to happen once.
type IdempotencyKey struct {
	Caller      string            // who calls; keys of different callers have nothing to do with each other
	Key         string            // the header's value, 1 to 255 visible ASCII characters
	Fingerprint [sha256.Size]byte // of method, path, query and body

	Actor    string // whose room the answer takes: of a member the same in all sessions
	Small    bool   // it is a small room
	Customer string // whose room it takes beside: the organization or account that the caller is limited to; "": none
}

// IdempotencyState is what the store knows of a key.
type IdempotencyState uint8

// The states of a key.
const (
	IdempotencyClaimed IdempotencyState = iota + 1 // it is the caller's now
	IdempotencySaved                               // the answer is there
	IdempotencyRunning                             // another call holds it, with the same fingerprint or another
	IdempotencyReused                              // it is kept for another fingerprint
	IdempotencyFull                                // there is no room, at all or for this caller: nothing was claimed
)

// claim is a key that this call holds.
type claim struct {
	store IdempotencyStore
	key   IdempotencyKey
}

// savedAnswer is the stored form of an answer.
type savedAnswer struct {
	Status   int             `json:"status"`
	Revision uint64          `json:"revision,omitempty"`
	Body     json.RawMessage `json:"body"`
}

// once runs a POST, at most once for its Idempotency-Key if it has one. The input has been validated by now: a call that
// was refused for its form does not use its key up.
//
// Kept are the answers 2xx and 4xx and a plain 500. A 503 or 429 says that nothing happened, and frees the key; so does a
// wrong verification code.
func (c *call) once(data []byte, run func() (answer, error)) {
	key, err := c.idempotencyKey(data)
	if err != nil {
		c.fail(err)
		return
	}
	if key.Key == "" {
		done, err := run()
		if err != nil {
			c.fail(err)
			return
		}
		c.write(done)
		return
	}
	state, saved, err := c.api.Idempotency.Begin(c.ctx, key)
	if err != nil {
		c.fail(err)
		return
	}
	switch state {
	case IdempotencyClaimed:
		c.runClaimed(&claim{store: c.api.Idempotency, key: key}, run)
	case IdempotencySaved:
		c.replay(saved)
	case IdempotencyRunning:
		c.fail(newError(http.StatusConflict, codeIdempotencyInUse, idempotencyHeader, "a call with this Idempotency-Key is still running: wait for it, then repeat this one"))
	case IdempotencyReused:
		c.fail(newError(http.StatusConflict, codeIdempotencyReused, idempotencyHeader,
			"this Idempotency-Key was used for another call in the last 24 hours: a key may only be repeated with the same path and the same body"))
	default:
		// fail closed: without room the promise cannot be kept, so that the call does not start.
		c.fail(newError(http.StatusServiceUnavailable, codeIdempotencyCapacity, idempotencyHeader, "too many answers are being kept; nothing was done: try again later"))
	}
}

// runClaimed runs the call and keeps its answer before it is sent: a caller that never receives it will find it there.
func (c *call) runClaimed(k *claim, run func() (answer, error)) {
	c.claim = k
	done, err := run()
	if err != nil {
		done = c.failure(err)
	}
	c.claim = nil
	if done.status == http.StatusServiceUnavailable || done.status == http.StatusTooManyRequests || c.unverified {
		k.store.Abandon(context.WithoutCancel(c.ctx), k.key)
	} else {
		k.finish(c, done)
	}
	c.write(done)
}

// finish keeps the answer. If that fails the call goes on: the change is made, and the answer may hold the only copy of a
// token.
func (k *claim) finish(c *call, done answer) {
	kept := marshal(savedAnswer{Status: done.status, Revision: done.revision, Body: done.body})
	if err := k.store.Finish(context.WithoutCancel(c.ctx), k.key, kept); err != nil {
		c.api.Logger.Error("keeping the answer of an Idempotency-Key failed", zap.String("request_id", c.id), zap.Error(err))
	}
}

// replay sends a saved answer again.
func (c *call) replay(saved []byte) {
	var s savedAnswer
	if err := json.Unmarshal(saved, &s); err != nil {
		c.fail(fmt.Errorf("reading a saved answer: %w", err))
		return
	}
	c.w.Header().Set("Idempotent-Replayed", "true")
	c.write(answer{status: s.Status, revision: s.Revision, body: append(s.Body, '\n')})
}

// idempotencyKey reads the header; a zero Key if there is none.
func (c *call) idempotencyKey(data []byte) (IdempotencyKey, error) {
	lines := c.r.Header.Values(idempotencyHeader)
	if len(lines) == 0 {
		return IdempotencyKey{}, nil
	}
	key := lines[0]
	if len(lines) > 1 || len(key) == 0 || len(key) > maxIdempotencyKey || printable(key, maxIdempotencyKey) != key {
		return IdempotencyKey{}, badParam(idempotencyHeader, "Idempotency-Key must be given once and have 1 to %d visible ASCII characters", maxIdempotencyKey)
	}
	h := sha256.New()
	// Each part has its length before it, so that no two calls can look alike by moving a boundary.
	for _, part := range [][]byte{[]byte(c.r.Method), []byte(c.r.URL.EscapedPath()), []byte(c.r.URL.RawQuery), data} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	actor := c.actor.Kind + ":" + c.actor.ID
	k := IdempotencyKey{Caller: actor, Key: key, Actor: actor, Customer: c.customer()}
	k.Small = c.caller.Limited() || !c.caller.Role.Includes(keystore.RoleAdministrator)
	if c.caller.Session != "" {
		k.Caller += ":" + c.caller.Session + ":" + c.caller.Scope().String()
	}
	h.Sum(k.Fingerprint[:0])
	return k, nil
}
