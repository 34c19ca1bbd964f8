package keystore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// WebhookState is how far the deliveries to one endpoint have come. It is durable, so that a restart goes on where the
// process before it was.
type WebhookState struct {
	Done     uint64            `json:"done"` // all events up to this place in the chain are delivered, given up, or not for the endpoint
	Pending  *WebhookPending   `json:"pending,omitempty"`
	Attempts []WebhookDelivery `json:"attempts"` // newest first, at most [MaxWebhookDeliveries]
}

// WebhookPending is an event that was tried and is to be tried again.
type WebhookPending struct {
	Seq      uint64    `json:"seq"`
	First    time.Time `json:"first"` // when it was tried first
	Attempts int       `json:"attempts"`
	Next     time.Time `json:"next"` // when it is to be tried again
}

// WebhookDelivery is one attempt of a delivery.
type WebhookDelivery struct {
	ID      string    `json:"id"` // id of the event, and the number of the attempt
	Event   string    `json:"event"`
	Type    EventType `json:"type"`
	Attempt int       `json:"attempt"` // from 1
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`         // one of the Webhook… constants
	Status  int       `json:"status"`          // of the answer; 0: there was none
	Error   string    `json:"error,omitempty"` // why it failed
	Next    time.Time `json:"next,omitzero"`   // when it is tried again; zero: it is not
}

// The outcomes of attempts.
const (
	WebhookDelivered = "delivered"
	WebhookRetrying  = "retrying"
	WebhookGivenUp   = "given_up"
)

// MaxWebhookDeliveries is how many attempts are kept for each endpoint.
const MaxWebhookDeliveries = 100

// The states are kept among the values that have an end, with one that never comes: they are destroyed with their endpoint.
var webhookStateEnd = time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)

func webhookStateID(endpoint string) string { return "webhook " + endpoint }

// webhookStateFor is what a sealed state is bound to.
func webhookStateFor(endpoint string) []byte { return []byte("keystile webhook state of " + endpoint) }

// WebhookState reads how far the deliveries to an endpoint have come, from the backend. A new endpoint begins at its own
// making.
func (s *Store) WebhookState(ctx context.Context, w *WebhookEndpoint) (*WebhookState, error) {
	row, err := s.backend.Kept(ctx, webhookStateID(w.ID))
	if err != nil {
		return nil, fmt.Errorf("reading the state of %s: %w", w.ID, err)
	}
	state := &WebhookState{Done: w.From}
	if row == nil {
		return state, nil
	}
	plain, err := s.seal.Decrypt(row.Data, webhookStateFor(w.ID))
	if err == nil {
		err = json.Unmarshal(plain, state)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of %s: %w", w.ID, err)
	}
	state.Done = max(state.Done, w.From)
	return state, nil
}

// SaveWebhookState makes a state durable. For an endpoint that was deleted meanwhile it does nothing.
func (s *Store) SaveWebhookState(ctx context.Context, endpoint string, state *WebhookState) error {
	if len(state.Attempts) > MaxWebhookDeliveries {
		state.Attempts = state.Attempts[:MaxWebhookDeliveries]
	}
	plain, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encoding the state of %s: %w", endpoint, err)
	}
	s.sealing.RLock()
	defer s.sealing.RUnlock()
	sealed, err := s.seal.Encrypt(plain, webhookStateFor(endpoint))
	if err != nil {
		return fmt.Errorf("sealing the state of %s: %w", endpoint, err)
	}
	s.mu.Lock() // so that no deletion comes in between, which would leave the state behind
	defer s.mu.Unlock()
	if s.closed {
		return unavailable("the key store is closed")
	}
	if _, ok := s.snap.Load().WebhookEndpoint(endpoint); !ok {
		return nil
	}
	row := KeptRow{ID: webhookStateID(endpoint), Expires: webhookStateEnd, Data: sealed}
	if err := s.backend.Keep(ctx, []KeptRow{row}, nil); err != nil {
		return fmt.Errorf("saving the state of %s: %w", endpoint, err)
	}
	return nil
}

// dropWebhookState destroys the state of a deleted endpoint. The endpoint is gone whether or not this succeeds, and no id
// is ever used again.
func (s *Store) dropWebhookState(ctx context.Context, endpoint string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := s.backend.Keep(ctx, nil, []string{webhookStateID(endpoint)}); err != nil {
		s.logger.Warn("destroying the deliveries of a deleted webhook endpoint", zap.String("endpoint", endpoint), zap.Error(err))
	}
}

// WebhookNews is what an endpoint is to be told next.
type WebhookNews struct {
	Event *Event // the event that is told
	Body  []byte // its stored bytes
	Place *Event // where it stands in the trail: the event itself, or the one that asks for it to be sent again
}

// NextWebhookEvent finds the first event after a place in the chain that the endpoint is to be told of. It looks at no more
// than most events: if none of these is for the endpoint, the answer is nil and the place up to which it looked.
func (s *Store) NextWebhookEvent(
	ctx context.Context, w *WebhookEndpoint, after uint64, most int,
) (news *WebhookNews, seen uint64, err error) {
	last := min(s.snap.Load().head.Events, after+uint64(most))
	if last <= after {
		return nil, after, nil
	}
	err = s.backend.Events(ctx, after+1, last, false, func(r EventRow) error {
		e, err := DecodeEvent(r.Body)
		if err != nil {
			return err
		}
		if !w.Hears(e, s.directory) && !w.asked(e) {
			return nil
		}
		news = &WebhookNews{Event: e, Body: bytes.Clone(r.Body), Place: e}
		return errFound
	})
	if err != nil && !errors.Is(err, errFound) {
		return nil, after, fmt.Errorf("reading events for %s: %w", w.ID, err)
	}
	if news == nil || news.Event.Type != EventWebhookResend {
		return news, last, nil
	}
	id, _ := news.Event.After["event"].(string)
	again, err := s.findEvent(ctx, id)
	switch {
	case err != nil:
		return nil, after, fmt.Errorf("reading an event for %s: %w", w.ID, err)
	case again == nil || !w.MayHear(again.Event, s.directory): // no more: its types or the owner's organization have changed
		return nil, news.Place.Seq, nil
	}
	news.Event, news.Body = again.Event, again.Body
	return news, last, nil
}

// asked says whether an event asks for another one to be sent to the endpoint again.
func (w *WebhookEndpoint) asked(e *Event) bool {
	return e.Type == EventWebhookResend && e.Object == w.ID && e.Seq > w.From
}

// errFound ends a walk that has found what it looked for.
var errFound = errors.New("found")

// WebhookLease is the right to deliver, which one of the nodes that share a backend has at a time.
type WebhookLease struct {
	store *Store
	lease lease
}

// NewWebhookLease names this process to the others.
func (s *Store) NewWebhookLease(node string) (*WebhookLease, error) {
	holder, err := newLeaseHolder(node)
	if err != nil {
		return nil, err
	}
	return &WebhookLease{store: s, lease: lease{name: webhookLease, holder: holder}}, nil
}

// Take takes the lease, or makes it last longer: it then holds for at least 15 s. The answer is [ErrOtherNode] if another
// node has it.
func (l *WebhookLease) Take(ctx context.Context) error {
	return l.lease.take(ctx, l.store.backend, l.store.now())
}

// Release gives the lease back.
func (l *WebhookLease) Release(ctx context.Context) error {
	return l.lease.release(ctx, l.store.backend)
}

// ErrOtherNode is the answer to who asks for a lease that another node has.
var ErrOtherNode = errLeaseHeld
