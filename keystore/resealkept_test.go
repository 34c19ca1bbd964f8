package keystore_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// meddling is a backend on which another node does something once, behind the next look at a kept value.
type meddling struct {
	keystore.Backend
	next atomic.Pointer[func()]
}

func (m *meddling) Kept(ctx context.Context, id string) (*keystore.KeptRow, error) {
	row, err := m.Backend.Kept(ctx, id)
	if do := m.next.Swap(nil); do != nil {
		(*do)()
	}
	return row, err
}

// TestResealKeepsNewerWebhookState: what another node does with the state of a webhook, between the look of a rotation at it
// and its write, is not undone. A newer state stays and is sealed anew in its turn; a destroyed one does not come back.
func TestResealKeepsNewerWebhookState(t *testing.T) {
	t.Parallel()
	for _, destroyed := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "master.key")
		memory := keystoretest.NewMemory()
		backend := &meddling{Backend: memory}
		s, err := openWith(t, backend, keystore.MasterKeyFile(path))
		if err != nil {
			t.Fatal(err)
		}
		w, _ := mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"*"}})
		if err := s.SaveWebhookState(t.Context(), w.ID, &keystore.WebhookState{Done: 100}); err != nil {
			t.Fatal(err)
		}
		other, err := openWith(t, memory.Reopen(), keystore.MasterKeyFile(path)) // it has not turned to the new key yet
		if err != nil {
			t.Fatal(err)
		}
		meddle := func() {
			var err error
			if destroyed {
				err = memory.Keep(context.Background(), nil, []string{"webhook " + w.ID})
			} else {
				err = other.SaveWebhookState(context.Background(), w.ID, &keystore.WebhookState{Done: 200})
			}
			if err != nil {
				t.Error(err)
			}
		}
		backend.next.Store(&meddle)
		done, err := s.RotateMasterKey(t.Context(), by, false)
		if err != nil {
			t.Fatal(err)
		}
		if backend.next.Load() != nil {
			t.Fatal("nobody looked at the state: the test shows nothing")
		}
		row, err := memory.Kept(t.Context(), "webhook "+w.ID)
		if err != nil {
			t.Fatal(err)
		}
		if destroyed {
			if row != nil || done.Kept != 0 {
				t.Errorf("the destroyed state is back: %v, and %d were sealed anew", row != nil, done.Kept)
			}
		} else if state, err := s.WebhookState(t.Context(), w); err != nil || state.Done != 200 || done.Kept != 1 {
			t.Errorf("the state is %+v, %v, and %d were sealed anew; want the newer one, sealed anew", state, err, done.Kept)
		}
		mustClose(t, other)
		mustClose(t, s)
	}
}

// TestResealWithClockAhead: a saved answer that is over by a clock that is ahead for a while is sealed anew like any other. It is found once
// the clock is put right.
func TestResealWithClockAhead(t *testing.T) {
	t.Parallel()
	clock, passed := newClock(), time.Duration(0)
	s, err := keystore.Open(t.Context(), keystore.Options{
		Backend: keystoretest.NewMemory(), MasterKey: keystore.MasterKeyFile(filepath.Join(t.TempDir(), "master.key")),
		Now: clock.now, Elapsed: func() time.Duration { return passed },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	mustAccount(t, s, "A")
	a := &keystore.Answer{Caller: "x", Key: "k", Expires: clock.at.Add(24 * time.Hour), Body: []byte("{}")}
	if err := s.SaveAnswer(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	const ahead = 40 * 24 * time.Hour
	clock.at = clock.at.Add(ahead)
	if done, err := s.RotateMasterKey(t.Context(), by, false); err != nil || done.Kept != 1 {
		t.Errorf("the rotation: %+v, %v; want one answer sealed anew", done, err)
	}
	clock.at = clock.at.Add(-ahead)
	if got, err := s.FindAnswer(t.Context(), a.Caller, a.Key); err != nil || got == nil {
		t.Errorf("the answer: %+v, %v", got, err)
	}
}

// beaten is a backend on which somebody else is faster with every kept value.
type beaten struct {
	keystore.Backend
	swaps int
}

func (b *beaten) SwapKept(_ context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	b.swaps++
	return make([]bool, len(swaps)), nil
}

// TestResealGivesUp: where others are always faster, a rotation ends, and the old key stays.
func TestResealGivesUp(t *testing.T) {
	t.Parallel()
	backend := &beaten{Backend: keystoretest.NewMemory()}
	s, err := openWith(t, backend, keystore.MasterKeyFile(filepath.Join(t.TempDir(), "master.key")))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	w, _ := mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"*"}})
	if err := s.SaveWebhookState(t.Context(), w.ID, &keystore.WebhookState{Done: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateMasterKey(t.Context(), by, false); keystore.CodeOf(err) != keystore.CodeConflict {
		t.Errorf("the rotation: %v, want a conflict", err)
	}
	if backend.swaps < 2 || backend.swaps > 100 {
		t.Errorf("%d tries", backend.swaps)
	}
	if keys, err := s.MasterKeys(t.Context()); err != nil || len(keys.Keys) != 2 {
		t.Errorf("the keys: %+v, %v; want the old one there", keys, err)
	}
}
