package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
)

const (
	// scanBatch is how many events one look at the trail goes through.
	scanBatch = 2000
	// saveAfter is how many events that are not for the endpoint are passed over before that is noted.
	saveAfter = 10 * scanBatch
	// userAgent names us to endpoints.
	userAgent = "Keystile-Webhooks/1"
)

// worker makes the deliveries to one endpoint, one after the other.
type worker struct {
	*Dispatcher
	endpoint *keystore.WebhookEndpoint
	seen     uint64 // nothing up to here is for the endpoint, beside what the state says
}

// run works until ctx ends, which it does when the endpoint is deleted.
func (w *worker) run(ctx context.Context) {
	retry := leaseRetry
	for ctx.Err() == nil {
		changed := w.store.Changed()
		wait, err := w.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			retry = leaseRetry
		case errors.Is(err, keystore.ErrOtherNode):
			wait, changed = leaseRetry, nil
		default:
			w.logger.Error("delivering to a webhook endpoint", zap.String("endpoint", w.endpoint.ID), zap.Error(err), zap.Duration("retry_in", retry))
			wait, changed = retry, nil
			retry = min(2*retry, recheck)
		}
		if wait == 0 {
			continue
		}
		if wait < recheck {
			changed = nil // it is known what is next, and when
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// step makes the next attempt if it is time, and says how long there will be nothing to do: recheck if nothing is known to
// come.
func (w *worker) step(ctx context.Context) (time.Duration, error) {
	state, err := w.store.WebhookState(ctx, w.endpoint)
	if err != nil {
		return 0, err
	}
	if p := state.Pending; p != nil {
		left := p.Next.Sub(w.now())
		if left > 0 && left <= 2*lastRetry { // what lasts longer was written by a wrong clock
			return min(left, recheck-time.Millisecond), nil
		}
	}
	event, body, seen, err := w.next(ctx, state)
	switch {
	case err != nil:
		return 0, err
	case event == nil && seen == w.seen:
		return recheck, w.saveSeen(ctx, state)
	case event == nil:
		w.seen = seen
		return 0, nil
	}
	now, err := w.claim(ctx, state)
	if now == nil || err != nil {
		return 0, err
	}
	return 0, w.attempt(ctx, now, event, body)
}

// claim makes this node the one that works. It answers nil if another has changed the state until now.
func (w *worker) claim(ctx context.Context, state *keystore.WebhookState) (*keystore.WebhookState, error) {
	if err := w.takeLease(ctx); err != nil {
		return nil, err
	}
	now, err := w.store.WebhookState(ctx, w.endpoint)
	if err != nil || now.Done != state.Done || !samePending(now.Pending, state.Pending) {
		return nil, err
	}
	return now, nil
}

// saveSeen notes how far the trail was looked through for nothing, now and then, so that a restart need not do it again.
func (w *worker) saveSeen(ctx context.Context, state *keystore.WebhookState) error {
	if state.Pending != nil || w.seen < state.Done+saveAfter {
		return nil
	}
	now, err := w.claim(ctx, state)
	if now == nil || err != nil {
		return err
	}
	now.Done = w.seen
	return w.store.SaveWebhookState(ctx, w.endpoint.ID, now)
}

func samePending(a, b *keystore.WebhookPending) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Seq == b.Seq && a.Attempts == b.Attempts
}

// next is the event that is to be tried next.
func (w *worker) next(ctx context.Context, state *keystore.WebhookState) (*keystore.Event, []byte, uint64, error) {
	if state.Pending != nil {
		// One that is not for the endpoint any more, since its account has left the organization, is passed over
		event, body, _, err := w.store.NextWebhookEvent(ctx, w.endpoint, state.Pending.Seq-1, 1)
		if event != nil || err != nil {
			return event, body, w.seen, err
		}
		w.seen = max(w.seen, state.Pending.Seq)
	}
	if w.seen < state.Done {
		w.seen = state.Done
	}
	return w.store.NextWebhookEvent(ctx, w.endpoint, w.seen, scanBatch)
}

// attempt tries to deliver an event and makes durable what became of it.
func (w *worker) attempt(ctx context.Context, state *keystore.WebhookState, e *keystore.Event, body []byte) error {
	secret, err := w.store.WebhookSecret(w.endpoint)
	if err != nil {
		return err
	}
	at := w.now().UTC().Truncate(time.Millisecond)
	status, failure := w.post(ctx, w.endpoint.URL, http.Header{
		"Content-Type":  {"application/json"},
		"User-Agent":    {userAgent},
		SignatureHeader: {Sign(secret.Reveal(), at, body)},
	}, body)
	if ctx.Err() != nil && failure != nil {
		return ctx.Err() // it was given up here, and says nothing about the endpoint
	}

	pending := keystore.WebhookPending{Seq: e.Seq, First: at}
	if state.Pending != nil && state.Pending.Seq == e.Seq {
		pending = *state.Pending
	}
	pending.Attempts++
	log := keystore.WebhookDelivery{
		ID: fmt.Sprintf("%s.%d", e.ID, pending.Attempts), Event: e.ID, Type: e.Type, Attempt: pending.Attempts, At: at, Status: status,
		Outcome: keystore.WebhookDelivered,
	}
	state.Pending = nil
	if failure != nil {
		log.Error = failure.Error()
		log.Outcome = keystore.WebhookGivenUp
		pending.Next = retryAt(e, pending.First, w.now(), pending.Attempts).UTC().Truncate(time.Millisecond)
		if !pending.Next.IsZero() {
			log.Outcome, log.Next = keystore.WebhookRetrying, pending.Next
			state.Pending = &pending
		}
	}
	if state.Pending == nil {
		state.Done, w.seen = e.Seq, e.Seq
	}
	state.Attempts = append([]keystore.WebhookDelivery{log}, state.Attempts...)
	if log.Outcome == keystore.WebhookGivenUp {
		w.logger.Warn("gave a webhook delivery up", zap.String("endpoint", w.endpoint.ID), zap.String("event", e.ID),
			zap.Int("attempts", log.Attempt), zap.Int("status", status), zap.String("reason", log.Error))
	}
	saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
	defer cancel()
	return w.store.SaveWebhookState(saving, w.endpoint.ID, state)
}
