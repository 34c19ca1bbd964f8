package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// unkept is a backend that cannot keep anything.
type unkept struct{ *keystoretest.Memory }

func (unkept) Keep(context.Context, []keystore.KeptRow, []string) error {
	return errors.New("the disk is full")
}

func TestStoreIdempotency(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	memory := keystoretest.NewMemory()
	ctx := t.Context()
	k := api.IdempotencyKey{Caller: "admin_token:adm_1", Key: "k", Fingerprint: [32]byte{1}}
	reused := k
	reused.Fingerprint[0] = 2
	begin := func(when string, s *api.StoreIdempotency, k api.IdempotencyKey, want api.IdempotencyState, saved string) {
		t.Helper()
		state, got, err := s.Begin(ctx, k)
		if err != nil || state != want || string(got) != saved {
			t.Errorf("%s: state %d, %q, %v; want %d, %q", when, state, got, err, want, saved)
		}
	}
	store := keystoretest.NewStore(t, keystore.Options{Backend: memory, Now: clock})
	s := api.NewStoreIdempotency(store, clock)
	if err := s.Finish(ctx, k, nil); err == nil {
		t.Error("an answer to an unclaimed key was kept")
	}
	begin("first", s, k, api.IdempotencyClaimed, "")
	begin("meanwhile", s, k, api.IdempotencyRunning, "")
	begin("meanwhile, another call", s, reused, api.IdempotencyReused, "")
	s.Abandon(ctx, k)
	begin("given up", s, k, api.IdempotencyClaimed, "")
	if err := s.Finish(ctx, k, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	begin("afterwards", s, k, api.IdempotencySaved, "answer")
	begin("afterwards, another call", s, reused, api.IdempotencyReused, "")
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s = api.NewStoreIdempotency(keystoretest.NewStore(t, keystore.Options{Backend: memory.Reopen(), Now: clock}), clock)
	begin("after a restart", s, k, api.IdempotencySaved, "answer")
	begin("after a restart, another call", s, reused, api.IdempotencyReused, "")
	now = now.Add(api.IdempotencyLifetime)
	begin("a day later", s, k, api.IdempotencyClaimed, "")

	// an answer that cannot be kept leaves its key used up: the call is not made twice
	s = api.NewStoreIdempotency(keystoretest.NewStore(t, keystore.Options{Backend: unkept{keystoretest.NewMemory()}, Now: clock}), clock)
	begin("full disk", s, k, api.IdempotencyClaimed, "")
	if err := s.Finish(ctx, k, []byte("answer")); err == nil {
		t.Error("a full disk kept an answer")
	}
	s.Abandon(ctx, k)
	begin("full disk, again", s, k, api.IdempotencyRunning, "")
	now = now.Add(api.IdempotencyLifetime)
	begin("full disk, a day later", s, k, api.IdempotencyClaimed, "")
}
