package webhook

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func mustEdit(t *testing.T, s *keystore.Store, w *keystore.WebhookEndpoint, p keystore.WebhookPatch) {
	t.Helper()
	if _, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, p); err != nil {
		t.Fatal(err)
	}
}

// TestMovedEndpoint: what waits for an endpoint goes to its new URL soon after it was given one.
func TestMovedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		w := mustEndpoint(t, s, one, "*")
		n.set(func(url string) (int, error) {
			if url == one {
				return down(url)
			}
			return 200, nil
		})
		mustAccount(t, s)
		time.Sleep(2 * time.Hour)
		mustEdit(t, s, w, keystore.WebhookPatch{URL: keystore.To(two)})
		time.Sleep(recheck)
		if got := n.at(two); len(got) != 4 || got[0].event != n.at(one)[0].event {
			t.Errorf("%d events at the new URL, want all 4 in a minute", len(got))
		}
	})
}

// TestDisabledEndpoint: it is told nothing, and once it is enabled only of what comes then.
func TestDisabledEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		w := mustEndpoint(t, s, one, "*")
		n.set(down)
		mustAccount(t, s)
		time.Sleep(time.Hour)
		mustEdit(t, s, w, keystore.WebhookPatch{Disabled: keystore.To(true)})
		n.set(nil)
		before := len(n.at(one))
		mustAccount(t, s)
		time.Sleep(24 * time.Hour)
		if got := len(n.at(one)); got != before {
			t.Errorf("a disabled endpoint was told %d times", got-before)
		}
		mustEdit(t, s, w, keystore.WebhookPatch{Disabled: keystore.To(false)})
		mustAccount(t, s)
		time.Sleep(time.Second)
		if got := len(n.at(one)); got != before+4 {
			t.Errorf("%d events after it was enabled, want the 4 that came then", got-before)
		}
		if state := mustState(t, s, w); state.Pending != nil {
			t.Errorf("something waits: %+v", state.Pending)
		}
	})
}

// TestResend: an event comes once more, after what waits, under an id of its own in the log.
func TestResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		w := mustEndpoint(t, s, one, "*")
		mustAccount(t, s)
		synctest.Wait()
		first := n.at(one)[0].event
		n.set(down)
		mustAccount(t, s)
		if _, err := s.ResendWebhookEvent(t.Context(), by, w.ID, first); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n.set(nil)
		time.Sleep(time.Minute)
		got := n.at(one)
		if len(got) != 4+5+1 || got[len(got)-1].event != first { // one of the second four twice
			t.Fatalf("%d posts, the last one of %s", len(got), got[len(got)-1].event)
		}
		log := mustState(t, s, w).Attempts
		if log[0].Event != first || log[0].Attempt != 1 || log[0].ID == log[len(log)-1].ID {
			t.Errorf("the log says %+v", log[0])
		}
	})
}

// TestTwoSecrets: until the old secret ends, deliveries have both signatures, the new one first.
func TestTwoSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testStore(t, keystoretest.NewMemory())
		d, err := newDispatcher(Options{Store: s, Node: "node"})
		if err != nil {
			t.Fatal(err)
		}
		var signature, want string
		var secrets []string
		d.post = func(_ context.Context, _ string, header http.Header, body []byte) (int, error) {
			signature, want = header.Get(SignatureHeader), Sign(time.Now(), body, secrets...)
			return 200, nil
		}
		d.start()
		defer d.Close()
		w, old, err := s.CreateWebhookEndpoint(t.Context(), by, keystore.WebhookParams{URL: one, Events: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		_, fresh, err := s.RotateWebhookSecret(t.Context(), by, w.ID, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		for _, secrets = range [][]string{{fresh.Reveal(), old.Reveal()}, {fresh.Reveal()}} {
			mustAccount(t, s)
			synctest.Wait()
			if signature != want || strings.Count(signature, "v1=") != len(secrets) {
				t.Errorf("signed %s, want %s", signature, want)
			}
			time.Sleep(time.Hour)
		}
	})
}
