package keystore_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

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
