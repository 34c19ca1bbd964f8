package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keystile/keystile/keystore"
)

// maxRunning bounds how many calls with an Idempotency-Key may be under way or of unknown outcome.
const maxRunning = 10_000

// StoreIdempotency keeps answers in the key store, sealed, so that they outlive the process. What is under way is known in
// this process, and in a fleet to the other nodes: a process that ends in the middle of a call has answered nobody, and whether the change was made is
// for the caller to look up. It is safe for concurrent use.
type StoreIdempotency struct {
	store *keystore.Store
	now   func() time.Time
	rooms callerRooms

	mu      sync.Mutex
	running map[memoryKey]*runningCall
}

// runningCall is a claimed key whose answer is not kept yet.
type runningCall struct {
	key   IdempotencyKey
	until time.Time // zero: under way; else the answer could not be kept, and the key is used up until then
}

// NewStoreIdempotency keeps answers in store.
func NewStoreIdempotency(store *keystore.Store, now func() time.Time) *StoreIdempotency {
	return &StoreIdempotency{store: store, now: now, running: map[memoryKey]*runningCall{}}
}

// Begin implements [IdempotencyStore].
func (s *StoreIdempotency) Begin(ctx context.Context, k IdempotencyKey) (IdempotencyState, []byte, error) {
	name := memoryKey{k.Caller, k.Key}
	if state := s.enter(name, &k); state != IdempotencyClaimed {
		return s.find(ctx, k, state)
	}
	state, saved, err := s.claim(ctx, k)
	if state == IdempotencyClaimed && !s.rooms.enter(&k, s.now()) {
		_ = s.store.ReleaseAnswer(ctx, k.Caller, k.Key) // else it ends by itself
		state = IdempotencyFull
	}
	if state != IdempotencyClaimed {
		s.mu.Lock()
		delete(s.running, name)
		s.mu.Unlock()
	}
	return state, saved, err
}

// enter claims the key among the calls of this process.
func (s *StoreIdempotency) enter(name memoryKey, k *IdempotencyKey) IdempotencyState {
	full := s.store.AnswersFull()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[name]; r != nil && (r.until.IsZero() || s.now().Before(r.until)) {
		if r.key.Fingerprint != k.Fingerprint {
			return IdempotencyReused
		}
		return IdempotencyRunning
	}
	if full || len(s.running) >= maxRunning {
		return IdempotencyFull
	}
	s.running[name] = &runningCall{key: *k}
	return IdempotencyClaimed
}

// claim claims the key among the nodes of a fleet, and looks whether its answer is there. First the claim and then the look:
// an answer that another node saves in between is seen, or its claim is.
func (s *StoreIdempotency) claim(ctx context.Context, k IdempotencyKey) (IdempotencyState, []byte, error) {
	claimed, err := s.store.ClaimAnswer(ctx, k.Caller, k.Key)
	switch {
	case err != nil:
		return 0, nil, err
	case !claimed:
		return s.find(ctx, k, IdempotencyRunning)
	}
	state, saved, err := s.find(ctx, k, IdempotencyClaimed)
	if state != IdempotencyClaimed {
		_ = s.store.ReleaseAnswer(ctx, k.Caller, k.Key) // else it ends by itself
	}
	return state, saved, err
}

// find looks for a kept answer, and says none if there is none.
func (s *StoreIdempotency) find(ctx context.Context, k IdempotencyKey, none IdempotencyState) (IdempotencyState, []byte, error) {
	saved, err := s.store.FindAnswer(ctx, k.Caller, k.Key)
	switch {
	case err != nil:
		return 0, nil, err
	case saved != nil && saved.Fingerprint != k.Fingerprint:
		return IdempotencyReused, nil, nil
	case saved != nil:
		return IdempotencySaved, saved.Body, nil
	}
	return none, nil, nil
}

// Finish implements [IdempotencyStore]. An answer that cannot be kept leaves its key used up for as long as this process
// runs, at most for the lifetime of an answer: the call must not be made twice.
func (s *StoreIdempotency) Finish(ctx context.Context, k IdempotencyKey, saved []byte) error {
	name := memoryKey{k.Caller, k.Key}
	s.mu.Lock()
	r := s.running[name]
	s.mu.Unlock()
	if r == nil || r.key.Fingerprint != k.Fingerprint {
		return errors.New("the idempotency key is not claimed")
	}
	expires := s.now().Add(IdempotencyLifetime)
	err := s.store.SaveAnswer(ctx, &keystore.Answer{
		Caller: k.Caller, Key: k.Key, Fingerprint: k.Fingerprint, Expires: expires, Body: saved,
	})
	if err == nil {
		// What fails here ends by itself; the answer is found first.
		_ = s.store.ReleaseAnswer(ctx, k.Caller, k.Key)
	}
	s.rooms.keep(&k, expires, len(saved))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		r.until = expires
		s.dropOverLocked()
		return fmt.Errorf("the key stays used up until %s: %w", expires.Format(time.RFC3339), err)
	}
	delete(s.running, name)
	return nil
}

// dropOverLocked forgets keys that are not used up any more.
func (s *StoreIdempotency) dropOverLocked() {
	now := s.now()
	for name, r := range s.running {
		if !r.until.IsZero() && !now.Before(r.until) {
			delete(s.running, name)
		}
	}
}

// Abandon implements [IdempotencyStore].
func (s *StoreIdempotency) Abandon(ctx context.Context, k IdempotencyKey) {
	name := memoryKey{k.Caller, k.Key}
	s.mu.Lock()
	r := s.running[name]
	held := r != nil && r.until.IsZero()
	s.mu.Unlock()
	if !held {
		return
	}
	_ = s.store.ReleaseAnswer(ctx, k.Caller, k.Key) // else it ends by itself
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[name] == r {
		delete(s.running, name)
		s.rooms.leave(&k)
	}
}
