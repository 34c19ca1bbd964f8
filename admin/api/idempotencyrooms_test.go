package api_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// TestIdempotencyRoomOfOne: a caller who may do little fills the room of their own and nobody else's; what is kept is still
// answered, what is given up makes room, and so does what is over.
func TestIdempotencyRoomOfOne(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	ctx := t.Context()
	for what, s := range map[string]api.IdempotencyStore{
		"store":  api.NewStoreIdempotency(keystoretest.NewStore(t, keystore.Options{Now: clock}), clock),
		"memory": api.NewMemoryIdempotency(clock),
	} {
		key := func(i int) api.IdempotencyKey {
			// Another session is no other room.
			return api.IdempotencyKey{Caller: fmt.Sprintf("member:mem_1:ses_%d", i%3), Key: fmt.Sprint(i), Actor: "member:mem_1", Small: true}
		}
		begin := func(when string, k api.IdempotencyKey, want api.IdempotencyState) {
			t.Helper()
			if state, _, err := s.Begin(ctx, k); err != nil || state != want {
				t.Errorf("%s, %s: state %d, %v, want %d", what, when, state, err, want)
			}
		}
		const most = 5_000
		fill(t, s, key, most)
		begin("full", key(most), api.IdempotencyFull)
		begin("full, again", key(most), api.IdempotencyFull)
		begin("a repetition", key(7), api.IdempotencySaved)
		begin("somebody else", api.IdempotencyKey{Caller: "admin_token:adm_1", Key: "1", Actor: "admin_token:adm_1"}, api.IdempotencyClaimed)
		now = now.Add(api.IdempotencyLifetime)
		begin("a day later", key(most), api.IdempotencyClaimed)
		s.Abandon(ctx, key(most))
		fill(t, s, func(i int) api.IdempotencyKey { return key(most + i) }, most)
		begin("full, a day later", key(2*most), api.IdempotencyFull)
	}
}

// TestIdempotencyRoomOfCustomer: whoever is limited to an account has one room with all others who are, however many tokens
// they make; the next account has its own.
func TestIdempotencyRoomOfCustomer(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := api.NewMemoryIdempotency(func() time.Time { return now })
	key := func(customer string) func(int) api.IdempotencyKey {
		return func(i int) api.IdempotencyKey {
			actor := fmt.Sprintf("admin_token:%s_%d", customer, i%4)
			return api.IdempotencyKey{Caller: actor, Key: fmt.Sprint(i), Actor: actor, Small: true, Customer: customer}
		}
	}
	const most = 10_000
	fill(t, s, key("acct_a"), most)
	if state, _, err := s.Begin(t.Context(), key("acct_a")(most)); err != nil || state != api.IdempotencyFull {
		t.Errorf("one more: state %d, %v", state, err)
	}
	fill(t, s, key("acct_b"), 1)
	now = now.Add(api.IdempotencyLifetime)
	fill(t, s, func(i int) api.IdempotencyKey { return key("acct_a")(most + i) }, 1)
}

func fill(t *testing.T, s api.IdempotencyStore, key func(int) api.IdempotencyKey, n int) {
	t.Helper()
	for i := range n {
		if state, _, err := s.Begin(context.Background(), key(i)); err != nil || state != api.IdempotencyClaimed {
			t.Fatalf("answer %d: state %d, %v", i, state, err)
		}
		if err := s.Finish(context.Background(), key(i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
}
