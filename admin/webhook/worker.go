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
	endpoint *keystore.WebhookEndpoint // as it is now
	seen     uint64                    // nothing up to here is for the endpoint, beside what the state says
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
	endpoint, ok := w.store.Snapshot().WebhookEndpoint(w.endpoint.ID)
	if !ok || endpoint.Disabled {
		return recheck, nil
	}
	edited := endpoint.Revision != w.endpoint.Revision
	if edited {
		w.endpoint, w.seen = endpoint, 0 // what was not for it may be now
	}
	state, err := w.store.WebhookState(ctx, w.endpoint)
	if err != nil {
		return 0, err
	}
	// Who has changed the endpoint has perhaps mended it: no more waiting
	if p := state.Pending; p != nil && p.Seq > endpoint.From && !edited {
		left := p.Next.Sub(w.now())
		if left > 0 && left <= 2*lastRetry { // what lasts longer was written by a wrong clock
			return min(left, recheck-time.Millisecond), nil
		}
	}
	news, seen, err := w.next(ctx, state)
	switch {
	case err != nil:
		return 0, err
	case news == nil && seen == w.seen:
		return recheck, w.saveSeen(ctx, state)
	case news == nil:
		w.seen = seen
		return 0, nil
	}
	now, err := w.claim(ctx, state)
	if now == nil || err != nil {
		return 0, err
	}
	return 0, w.attempt(ctx, now, news)
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
func (w *worker) next(ctx context.Context, state *keystore.WebhookState) (*keystore.WebhookNews, uint64, error) {
	if state.Pending != nil {
		// One that is not for the endpoint any more, since its account has left the organization, is passed over
		news, _, err := w.store.NextWebhookEvent(ctx, w.endpoint, state.Pending.Seq-1, 1)
		if news != nil || err != nil {
			return news, w.seen, err
		}
		w.seen = max(w.seen, state.Pending.Seq)
	}
	w.seen = max(w.seen, state.Done, w.endpoint.From)
	return w.store.NextWebhookEvent(ctx, w.endpoint, w.seen, scanBatch)
}

// sign is the value of the signature header of a body.
func (w *worker) sign(at time.Time, body []byte) (string, error) {
	secrets, err := w.store.WebhookSecrets(w.endpoint, at)
	if err != nil {
		return "", err
	}
	texts := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		texts = append(texts, secret.Reveal())
	}
	return Sign(at, body, texts...), nil
}

// attempt tries to deliver an event and makes durable what became of it.
func (w *worker) attempt(ctx context.Context, state *keystore.WebhookState, news *keystore.WebhookNews) error {
	e, place := news.Event, news.Place
	at := w.now().UTC().Truncate(time.Millisecond)
	signature, err := w.sign(at, news.Body)
	if err != nil {
		return err
	}
	status, failure := w.post(ctx, w.endpoint.URL, http.Header{
		"Content-Type":  {"application/json"},
		"User-Agent":    {userAgent},
		SignatureHeader: {signature},
	}, news.Body)
	if ctx.Err() != nil && failure != nil {
		return ctx.Err() // it was given up here, and says nothing about the endpoint
	}

	pending := keystore.WebhookPending{Seq: place.Seq, First: at}
	if state.Pending != nil && state.Pending.Seq == place.Seq {
		pending = *state.Pending
	}
	pending.Attempts++
	log := keystore.WebhookDelivery{
		ID: fmt.Sprintf("%s.%d", place.ID, pending.Attempts), Event: e.ID, Type: e.Type, Attempt: pending.Attempts, At: at, Status: status,
		Outcome: keystore.WebhookDelivered,
	}
	state.Pending = nil
	if failure != nil {
		log.Error = failure.Error()
		log.Outcome = keystore.WebhookGivenUp
		pending.Next = retryAt(place, pending.First, w.now(), pending.Attempts).UTC().Truncate(time.Millisecond)
		if !pending.Next.IsZero() {
			log.Outcome, log.Next = keystore.WebhookRetrying, pending.Next
			state.Pending = &pending
		}
	}
	if state.Pending == nil {
		state.Done, w.seen = place.Seq, place.Seq
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
