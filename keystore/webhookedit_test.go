package keystore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// heard is what an endpoint is told of after a place in the chain, as object and type of each.
func heard(t *testing.T, s *keystore.Store, id string) []string {
	t.Helper()
	w, _ := s.Snapshot().WebhookEndpoint(id)
	var got []string
	for after := w.From; ; {
		news, seen, err := s.NextWebhookEvent(t.Context(), w, after, 100)
		switch {
		case err != nil:
			t.Fatal(err)
		case news == nil && seen == after:
			return got
		case news == nil:
			after = seen
			continue
		}
		got = append(got, string(news.Event.Type))
		after = news.Place.Seq
	}
}

// TestWebhookEdits: what is changed of an endpoint holds from then on, for what waits too where that is meant.
func TestWebhookEdits(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	w, _ := mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"key.deleted"}, Account: a.ID})
	edit := func(p keystore.WebhookPatch) *keystore.WebhookEndpoint {
		t.Helper()
		next, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, p)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	want := func(when string, types ...string) {
		t.Helper()
		if got := heard(t, s, w.ID); !slices.Equal(got, types) {
			t.Errorf("%s: hears %q, want %q", when, got, types)
		}
	}
	use := func() {
		t.Helper()
		k, _ := mustKey(t, s, restricted(a.ID))
		if _, err := s.DeleteKey(t.Context(), by, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	use()
	want("at first", "key.deleted")
	edit(keystore.WebhookPatch{Events: keystore.To([]string{"key.created", "key.deleted"})})
	use()
	want("after widening", "key.deleted", "key.created", "key.deleted")
	edit(keystore.WebhookPatch{Events: keystore.To([]string{"*"})})
	want("after widening again", "key.deleted", "key.created", "key.deleted")
	edit(keystore.WebhookPatch{Events: keystore.To([]string{"key.created"})})
	want("after narrowing", "key.created")

	trail := len(events(t, backend))
	same := edit(keystore.WebhookPatch{URL: keystore.To("https://example.com/"), Disabled: keystore.To(false)})
	if len(events(t, backend)) != trail {
		t.Error("a patch that changes nothing has an event")
	}
	_, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, keystore.WebhookPatch{URL: keystore.To("https://b.example/"), IfRevision: same.Revision - 1})
	wantError(t, "stale", err, keystore.CodeRevision, "")
	for param, p := range map[string]keystore.WebhookPatch{
		"url": {URL: keystore.Null[string]()}, "events": {Events: keystore.Null[[]string]()}, "status": {Disabled: keystore.Null[bool]()},
	} {
		_, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, p)
		wantError(t, "null", err, keystore.CodeInvalid, param)
	}
	_, err = s.UpdateWebhookEndpoint(t.Context(), by, w.ID, keystore.WebhookPatch{Events: keystore.To([]string{})})
	wantError(t, "no events", err, keystore.CodeMissing, "events")
	_, err = s.UpdateWebhookEndpoint(t.Context(), by, "we_none", keystore.WebhookPatch{})
	wantError(t, "unknown", err, keystore.CodeNotFound, "")

	edit(keystore.WebhookPatch{Disabled: keystore.To(true)})
	use()
	want("disabled")
	if w := edit(keystore.WebhookPatch{Disabled: keystore.To(false), URL: keystore.To("https://b.example/")}); w.URL != "https://b.example/" || w.Disabled {
		t.Errorf("enabled: %+v", w)
	}
	want("enabled")
	use()
	want("after that", "key.created")
	updated := 0
	for _, e := range events(t, backend) {
		if e.Type == keystore.EventWebhookUpdated {
			updated++
		}
	}
	if updated != 5 {
		t.Errorf("%d updates in the trail, want 5", updated)
	}
}

// TestWebhookSecretRotation: for as long as was asked there are two secrets, never three.
func TestWebhookSecretRotation(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	w, first := mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"*"}})
	rotate := func(ends time.Time) (*keystore.WebhookEndpoint, string) {
		t.Helper()
		next, secret, err := s.RotateWebhookSecret(t.Context(), by, w.ID, ends)
		if err != nil {
			t.Fatal(err)
		}
		return next, secret.Reveal()
	}
	want := func(when string, secrets ...string) {
		t.Helper()
		w, _ := s.Snapshot().WebhookEndpoint(w.ID)
		got, err := s.WebhookSecrets(w, c.now())
		if err != nil || len(got) != len(secrets) {
			t.Fatalf("%s: %d secrets, %v", when, len(got), err)
		}
		for i, secret := range secrets {
			if got[i].Reveal() != secret {
				t.Errorf("%s: secret %d is another one", when, i)
			}
		}
	}
	_, _, err := s.RotateWebhookSecret(t.Context(), by, w.ID, c.at.Add(24*time.Hour+time.Second))
	wantError(t, "too long", err, keystore.CodeInvalid, "expires_at")
	_, _, err = s.RotateWebhookSecret(t.Context(), by, w.ID, c.at)
	wantError(t, "past", err, keystore.CodeInvalid, "expires_at")
	_, _, err = s.RotateWebhookSecret(t.Context(), by, "we_none", time.Time{})
	wantError(t, "unknown", err, keystore.CodeNotFound, "")

	_, second := rotate(c.at.Add(time.Hour))
	want("overlap", second, first)
	_, third := rotate(c.at.Add(time.Hour))
	want("twice", third, second)
	c.at = c.at.Add(time.Hour)
	want("over", third)
	_, fourth := rotate(time.Time{})
	want("at once", fourth)
	for _, secret := range []string{first, second, third, fourth} {
		checkNowhere(t, backend, secret)
	}
}

// TestResend: an event that an endpoint may hear can be asked for again, and no other.
func TestResend(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	mustAccount(t, s, "B")
	var own, foreign, no string
	for _, e := range events(t, backend) {
		switch {
		case e.Type == keystore.EventKeyCreated && e.Account == a.ID:
			own = e.ID
		case e.Type == keystore.EventKeyCreated:
			foreign = e.ID
		case e.Type == keystore.EventAccountCreated:
			no = e.ID
		}
	}
	w, _ := mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"key.created"}, Account: a.ID})
	for name, id := range map[string]string{"another account's": foreign, "no key event": no, "unknown": "evt_none", "no id": "sk_live_x", "none": ""} {
		_, err := s.ResendWebhookEvent(t.Context(), by, w.ID, id)
		wantError(t, name, err, keystore.CodeNotFound, "event")
	}
	for range 2 {
		if e, err := s.ResendWebhookEvent(t.Context(), by, w.ID, own); err != nil || e.ID != own {
			t.Fatal(e, err)
		}
	}
	if got := heard(t, s, w.ID); !slices.Equal(got, []string{"key.created", "key.created"}) {
		t.Errorf("is told %q", got)
	}
	news, _, err := s.NextWebhookEvent(t.Context(), w, w.From, 100)
	if err != nil || news.Event.ID != own || news.Place.Type != keystore.EventWebhookResend || news.Place.Seq <= w.From {
		t.Errorf("%+v, %v", news, err)
	}
	if _, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, keystore.WebhookPatch{Events: keystore.To([]string{"key.deleted"})}); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, s, w.ID); len(got) != 0 {
		t.Errorf("is told %q of what it does not hear any more", got)
	}
	if _, err := s.UpdateWebhookEndpoint(t.Context(), by, w.ID, keystore.WebhookPatch{Disabled: keystore.To(true)}); err != nil {
		t.Fatal(err)
	}
	_, err = s.ResendWebhookEvent(t.Context(), by, w.ID, own)
	wantError(t, "disabled", err, keystore.CodeConflict, "")
}
