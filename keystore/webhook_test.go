package keystore_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func mustWebhook(t testing.TB, s *keystore.Store, p keystore.WebhookParams) (*keystore.WebhookEndpoint, string) {
	t.Helper()
	w, secret, err := s.CreateWebhookEndpoint(t.Context(), by, p)
	if err != nil {
		t.Fatalf("creating a webhook endpoint: %v", err)
	}
	return w, secret.Reveal()
}

func TestWebhookErrors(t *testing.T) {
	t.Parallel()
	s, backend, _ := newStore(t)
	a, _ := mustAccount(t, s, "A")
	trail := len(events(t, backend))
	good := keystore.WebhookParams{URL: "https://example.com/hooks?x=1", Events: []string{"*"}}
	for _, tc := range []struct {
		name  string
		set   func(*keystore.WebhookParams)
		code  keystore.Code
		param string
	}{
		{"no URL", func(p *keystore.WebhookParams) { p.URL = "" }, keystore.CodeMissing, "url"},
		{"relative", func(p *keystore.WebhookParams) { p.URL = "/hooks" }, keystore.CodeInvalid, "url"},
		{"scheme", func(p *keystore.WebhookParams) { p.URL = "ftp://example.com/" }, keystore.CodeInvalid, "url"},
		{"opaque", func(p *keystore.WebhookParams) { p.URL = "https:example.com" }, keystore.CodeInvalid, "url"},
		{"no host", func(p *keystore.WebhookParams) { p.URL = "https://:443/" }, keystore.CodeInvalid, "url"},
		{"password", func(p *keystore.WebhookParams) { p.URL = "https://u:p@example.com/" }, keystore.CodeInvalid, "url"},
		{"fragment", func(p *keystore.WebhookParams) { p.URL = "https://example.com/#x" }, keystore.CodeInvalid, "url"},
		{"blank", func(p *keystore.WebhookParams) { p.URL = "https://example.com/a b" }, keystore.CodeInvalid, "url"},
		{"long", func(p *keystore.WebhookParams) { p.URL = "https://example.com/" + strings.Repeat("x", 2048) }, keystore.CodeInvalid, "url"},
		{"no events", func(p *keystore.WebhookParams) { p.Events = nil }, keystore.CodeMissing, "events"},
		{"unknown event", func(p *keystore.WebhookParams) { p.Events = []string{"key.created", "key.creatd"} }, keystore.CodeInvalid, "events[1]"},
		{"event of something else", func(p *keystore.WebhookParams) { p.Events = []string{"account.created"} }, keystore.CodeInvalid, "events[0]"},
		{"twice", func(p *keystore.WebhookParams) { p.Events = []string{"key.created", "key.created"} }, keystore.CodeInvalid, "events[1]"},
		{"all and one", func(p *keystore.WebhookParams) { p.Events = []string{"*", "key.created"} }, keystore.CodeInvalid, "events"},
		{"two limits", func(p *keystore.WebhookParams) { p.Account, p.Organization = a.ID, "org_1" }, keystore.CodeInvalid, "account"},
		{"unknown account", func(p *keystore.WebhookParams) { p.Account = "acct_none" }, keystore.CodeNotFound, "account"},
		{"unknown organization", func(p *keystore.WebhookParams) { p.Organization = "org_none" }, keystore.CodeNotFound, "organization"},
		{"description", func(p *keystore.WebhookParams) { p.Description = "a\x00b" }, keystore.CodeInvalid, "description"},
	} {
		p := good
		tc.set(&p)
		_, _, err := s.CreateWebhookEndpoint(t.Context(), by, p)
		wantError(t, tc.name, err, tc.code, tc.param)
	}
	if got := len(events(t, backend)); got != trail {
		t.Errorf("%d events, want %d: refused ones are none", got, trail)
	}
	for range keystore.MaxWebhookEndpoints {
		mustWebhook(t, s, good)
	}
	_, _, err := s.CreateWebhookEndpoint(t.Context(), by, good)
	wantError(t, "one too many", err, keystore.CodeConflict, "")
}

// TestWebhookLife: an endpoint and its state outlive a restart and end with its deletion, and its secret is nowhere in
// clear.
func TestWebhookLife(t *testing.T) {
	t.Parallel()
	backend, c := keystoretest.NewMemory(), newClock()
	open := func() *keystore.Store {
		s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend.Reopen(), MasterKey: keystoretest.MasterKey(t), Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	a, _ := mustAccount(t, s, "A")
	w, secret := mustWebhook(t, s, keystore.WebhookParams{
		URL: "https://example.com/", Description: "D", Events: []string{"key.updated", "key.created"}, Account: a.ID,
	})
	if !strings.HasPrefix(secret, "whsec_") || len(secret) != 38 {
		t.Errorf("the secret has %d characters", len(secret))
	}
	if !slices.Equal(w.Events, []string{"key.created", "key.updated"}) || !strings.HasPrefix(w.ID, "we_") {
		t.Errorf("made %+v", w)
	}
	trail := events(t, backend)
	if last := trail[len(trail)-1]; last.Type != keystore.EventWebhookCreated || last.Object != w.ID || last.Seq != w.From {
		t.Errorf("the last event is %+v, want the endpoint's making at %d", last, w.From)
	}
	state, err := s.WebhookState(t.Context(), w)
	if err != nil || state.Done != w.From || state.Pending != nil {
		t.Fatalf("the first state is %+v, %v", state, err)
	}
	state.Done += 5
	state.Pending = &keystore.WebhookPending{Seq: state.Done + 1, Attempts: 2, First: c.now(), Next: c.now().Add(time.Minute)}
	state.Attempts = make([]keystore.WebhookDelivery, keystore.MaxWebhookDeliveries+7)
	if err := s.SaveWebhookState(t.Context(), w.ID, state); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkNowhere(t, backend, secret)

	s = open()
	defer s.Close()
	again, ok := s.Snapshot().WebhookEndpoint(w.ID)
	if !ok || again.URL != w.URL || again.Account != a.ID || !slices.Equal(again.Events, w.Events) || again.From != w.From {
		t.Fatalf("after a restart: %+v", again)
	}
	if tokens, err := s.WebhookSecrets(again, c.now()); err != nil || len(tokens) != 1 || tokens[0].Reveal() != secret {
		t.Errorf("the secret after a restart: %v", err)
	}
	got, err := s.WebhookState(t.Context(), again)
	if err != nil || got.Done != state.Done || got.Pending == nil || got.Pending.Attempts != 2 || len(got.Attempts) != keystore.MaxWebhookDeliveries {
		t.Fatalf("the state after a restart: %+v, %v", got, err)
	}
	if err := s.DeleteWebhookEndpoint(t.Context(), by, w.ID); err != nil {
		t.Fatal(err)
	}
	wantError(t, "again", s.DeleteWebhookEndpoint(t.Context(), by, w.ID), keystore.CodeNotFound, "")
	if err := s.SaveWebhookState(t.Context(), w.ID, state); err != nil { // by a delivery that was under way
		t.Fatal(err)
	}
	if row, err := backend.Kept(t.Context(), "webhook "+w.ID); err != nil || row != nil {
		t.Errorf("the state of a deleted endpoint is still there: %v, %v", row, err)
	}
}

// checkNowhere looks for a text in all that a backend keeps.
func checkNowhere(t *testing.T, b keystore.Backend, text string) {
	t.Helper()
	look := func(what string, data []byte) {
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%s holds the secret in clear", what)
		}
	}
	head, err := b.Load(t.Context(), func(r keystore.Row) error {
		look(r.Table.String(), r.Data)
		return nil
	})
	if err == nil {
		err = b.Events(t.Context(), 1, head.Events, false, func(e keystore.EventRow) error {
			look("an event", e.Body)
			return nil
		})
	}
	if err == nil {
		err = b.LoadKept(t.Context(), func(r keystore.KeptRow) error {
			look("a kept value", r.Data)
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWebhookHears is who is told of what.
func TestWebhookHears(t *testing.T) {
	t.Parallel()
	s, _, _ := newStore(t)
	o := mustOrganization(t, s, "O")
	member, _, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "M", Organization: o.ID})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := mustAccount(t, s, "A")
	event := func(typ keystore.EventType, account, organization string) *keystore.Event {
		return &keystore.Event{Seq: 11, Type: typ, Account: account, Organization: organization}
	}
	created := keystore.EventKeyCreated
	all := []string{"*"}
	for _, tc := range []struct {
		name string
		w    keystore.WebhookEndpoint
		e    *keystore.Event
		want bool
	}{
		{"all", keystore.WebhookEndpoint{Events: all}, event(created, other.ID, ""), true},
		{"no key event", keystore.WebhookEndpoint{Events: all}, event(keystore.EventAccountUpdated, other.ID, ""), false},
		{"its own event", keystore.WebhookEndpoint{Events: all, From: 11}, event(created, other.ID, ""), false},
		{"type", keystore.WebhookEndpoint{Events: []string{"key.created"}}, event(created, other.ID, ""), true},
		{"other type", keystore.WebhookEndpoint{Events: []string{"key.deleted"}}, event(created, other.ID, ""), false},
		{"account", keystore.WebhookEndpoint{Events: all, Account: other.ID}, event(created, other.ID, ""), true},
		{"other account", keystore.WebhookEndpoint{Events: all, Account: other.ID}, event(created, member.ID, ""), false},
		{"nobody's", keystore.WebhookEndpoint{Events: all, Account: other.ID}, event(created, "", ""), false},
		{"member", keystore.WebhookEndpoint{Events: all, Organization: o.ID}, event(created, member.ID, ""), true},
		{"no member", keystore.WebhookEndpoint{Events: all, Organization: o.ID}, event(created, other.ID, ""), false},
		{"organization", keystore.WebhookEndpoint{Events: all, Organization: o.ID}, event(created, "", o.ID), true},
		{"other organization", keystore.WebhookEndpoint{Events: all, Organization: o.ID}, event(created, "", "org_2"), false},
		{"nobody's, organization", keystore.WebhookEndpoint{Events: all, Organization: o.ID}, event(created, "", ""), false},
	} {
		if got := tc.w.Hears(tc.e, s.Directory()); got != tc.want {
			t.Errorf("%s: hears %t, want %t", tc.name, got, tc.want)
		}
	}
}
