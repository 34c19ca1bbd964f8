package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	body := `{"kind":"secret","mode":"live","name":"worker","account":"` + account.ID + `"}`
	before := f.store.Len()
	first := f.ok("POST", "/v1/keys", body, "Idempotency-Key", "order-1")
	if first.header.Get("Idempotent-Replayed") != "" {
		t.Error("the first answer says that it is a replay")
	}
	again := f.ok("POST", "/v1/keys", body, "Idempotency-Key", "order-1")
	if !bytes.Equal(first.body, again.body) {
		t.Errorf("replay gave\n%s, want\n%s", again.body, first.body)
	}
	if again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("ETag") != first.header.Get("ETag") {
		t.Errorf("replay headers: %v", again.header)
	}
	if again.header.Get("Request-Id") == first.header.Get("Request-Id") {
		t.Error("the replay has the first call's Request-Id")
	}
	if got := f.store.Len(); got != before+1 {
		t.Errorf("%d keys were made, want 1", got-before)
	}
	other := strings.Replace(body, "worker", "other", 1)
	f.do("POST", "/v1/keys", other, "Idempotency-Key", "order-1").fails(409, "idempotency_key_reused", "Idempotency-Key")
	f.do("POST", "/v1/keys/import", `{"keys":[`+strings.Replace(body, "{", `{"token":"some-old-token",`, 1)+`]}`, "Idempotency-Key", "order-1").
		fails(409, "idempotency_key_reused", "Idempotency-Key")

	// Other callers' keys have nothing to do with this one.
	f.actor = keystore.Actor{Kind: "admin_token", ID: "adm_1", Name: "ci"}
	if a := f.ok("POST", "/v1/keys", body, "Idempotency-Key", "order-1"); a.header.Get("Idempotent-Replayed") != "" {
		t.Error("another caller got the saved answer")
	}
	f.actor = keystore.Actor{Kind: "local", Name: "admin endpoint"}

	// A call that is refused for its form does not use its key up; one that the store refuses does.
	f.do("POST", "/v1/keys", `{"kind":"secret"}`, "Idempotency-Key", "order-2").fails(400, "parameter_missing", "mode")
	f.ok("POST", "/v1/keys", body, "Idempotency-Key", "order-2")
	gone := strings.Replace(body, account.ID, "acct_0000000000000000", 1)
	f.do("POST", "/v1/keys", gone, "Idempotency-Key", "order-3").fails(404, "resource_missing", "account")
	if a := f.do("POST", "/v1/keys", gone, "Idempotency-Key", "order-3"); a.status != 404 || a.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the refusal was not replayed: %d %v", a.status, a.header)
	}

	for _, key := range []string{"with space", strings.Repeat("k", 256), "umlaut-ü"} {
		f.do("POST", "/v1/keys", body, "Idempotency-Key", key).fails(400, "parameter_invalid", "Idempotency-Key")
	}

	// After 24 hours the key is free.
	f.advance(24 * time.Hour)
	if a := f.ok("POST", "/v1/keys", other, "Idempotency-Key", "order-1"); a.header.Get("Idempotent-Replayed") != "" {
		t.Error("an answer was kept for longer than a day")
	}
}

// TestIdempotencyInParallel sends one call many times at once: it happens once, and every other one gets the same answer
// or is told that the call is running.
func TestIdempotencyInParallel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	before := f.store.Len()
	body := `{"kind":"secret","mode":"live","name":"worker","account":"` + account.ID + `"}`
	const callers = 64
	bodies := make([]string, callers)
	statuses := make([]int, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			r := httptest.NewRequest("POST", "/v1/keys", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", "at-once")
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			bodies[i], statuses[i] = w.Body.String(), w.Code
		})
	}
	group.Wait()
	var answered string
	for i := range callers {
		switch {
		case statuses[i] == 200 && (answered == "" || answered == bodies[i]):
			answered = bodies[i]
		case statuses[i] == 409 && strings.Contains(bodies[i], "idempotency_key_in_use"):
		default:
			t.Errorf("caller %d: %d %s", i, statuses[i], bodies[i])
		}
	}
	if got := f.store.Len() - before; got != 1 || answered == "" {
		t.Errorf("%d keys were made, want 1", got)
	}
}

// blockingStore stops the call that claimed a key until it is let go.
type blockingStore struct {
	api.IdempotencyStore
	begun   chan struct{}
	proceed chan struct{}
}

func (s *blockingStore) Begin(ctx context.Context, k api.IdempotencyKey) (api.IdempotencyState, []byte, error) {
	state, saved, err := s.IdempotencyStore.Begin(ctx, k)
	if state == api.IdempotencyClaimed {
		s.begun <- struct{}{}
		<-s.proceed
	}
	return state, saved, err
}

func TestIdempotencyInFlight(t *testing.T) {
	t.Parallel()
	slow := &blockingStore{begun: make(chan struct{}), proceed: make(chan struct{})}
	f := newFixture(t, func(c *api.Config) {
		slow.IdempotencyStore = api.NewMemoryIdempotency(c.Now)
		c.Idempotency = slow
	})
	done := make(chan int)
	go func() {
		r := httptest.NewRequest("POST", "/v1/organizations", strings.NewReader(`{"name":"x"}`))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		done <- w.Code
	}()
	<-slow.begun
	f.do("POST", "/v1/organizations", `{"name":"x"}`, "Idempotency-Key", "k").fails(409, "idempotency_key_in_use", "Idempotency-Key")
	close(slow.proceed)
	if status := <-done; status != 200 {
		t.Errorf("the first call answered %d", status)
	}
	f.ok("POST", "/v1/organizations", `{"name":"x"}`, "Idempotency-Key", "k")
}

func TestMemoryIdempotency(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	m := api.NewMemoryIdempotency(func() time.Time { return now })
	ctx := context.Background()
	key := func(caller, name, body string) api.IdempotencyKey {
		return api.IdempotencyKey{Caller: caller, Key: name, Fingerprint: sha256.Sum256([]byte(body))}
	}
	begin := func(k api.IdempotencyKey, want api.IdempotencyState) []byte {
		t.Helper()
		got, saved, err := m.Begin(ctx, k)
		if err != nil || got != want {
			t.Fatalf("Begin = %v, %v, want %v", got, err, want)
		}
		return saved
	}
	a := key("local:", "k", "body")
	begin(a, api.IdempotencyClaimed)
	begin(a, api.IdempotencyRunning)
	begin(key("local:", "k", "other"), api.IdempotencyReused)
	begin(key("local:k", "", "body"), api.IdempotencyClaimed) // caller and key do not run into each other
	m.Abandon(ctx, a)
	begin(a, api.IdempotencyClaimed)
	if err := m.Finish(ctx, a, []byte("the answer")); err != nil {
		t.Fatal(err)
	}
	if err := m.Finish(ctx, a, []byte("another")); err == nil {
		t.Error("an answer was replaced")
	}
	m.Abandon(ctx, a)
	if got := begin(a, api.IdempotencySaved); string(got) != "the answer" {
		t.Errorf("saved = %q", got)
	}
	if text := fmt.Sprintf("%+v %#v", m, m); strings.Contains(text, "the answer") {
		t.Error("the store holds the answer in clear")
	}
	now = now.Add(api.IdempotencyLifetime - 1)
	begin(a, api.IdempotencySaved)
	now = now.Add(1)
	begin(a, api.IdempotencyClaimed)
}

// TestPanicUsesTheKeyUp: nobody knows how far a call came that panicked, so that it is not run again.
func TestPanicUsesTheKeyUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.Idempotency = api.NewMemoryIdempotency(time.Now)
		c.Store = new(keystore.Store) // unusable: its first use panics
	})
	first := f.do("POST", "/v1/organizations", `{"name":"x"}`, "Idempotency-Key", "k")
	first.fails(500, "internal_error", "")
	second := f.do("POST", "/v1/organizations", `{"name":"x"}`, "Idempotency-Key", "k")
	if second.status != 500 || second.header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(first.body, second.body) {
		t.Errorf("second call: %d %v %s", second.status, second.header, second.body)
	}
}
