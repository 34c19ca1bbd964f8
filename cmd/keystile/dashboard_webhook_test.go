package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// hookReceiver is an endpoint of somebody's own, which checks signatures as such endpoints do.
type hookReceiver struct {
	*httptest.Server

	down atomic.Bool
	got  chan hook
}

func newHookReceiver(t *testing.T) *hookReceiver {
	t.Helper()
	h := &hookReceiver{got: make(chan hook, 100)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || h.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.got <- hook{r.Header.Get("Keystile-Signature"), body}
	}))
	t.Cleanup(h.Close)
	return h
}

// next is the next delivery, which must be signed.
func (h *hookReceiver) next(t *testing.T, kind, secret string) string {
	t.Helper()
	select {
	case delivery := <-h.got:
		var e struct{ ID, Type string }
		if err := json.Unmarshal(delivery.body, &e); err != nil {
			t.Fatalf("%v: %s", err, delivery.body)
		}
		if e.Type != kind || !delivery.signed(secret) {
			t.Errorf("got %s %s, signed right: %v; want %s", e.Type, e.ID, delivery.signed(secret), kind)
		}
		return e.ID
	case <-time.After(browserLimit):
		t.Fatalf("no %s came", kind)
		return ""
	}
}

// TestDashboardWebhooks: the life of a webhook endpoint on its page, with a real endpoint at the other end.
func TestDashboardWebhooks(t *testing.T) {
	t.Parallel()
	receiver := newHookReceiver(t)
	b := &dashboardBed{url: fmt.Sprintf("http://localhost:%d", gatetest.FreePort(t))}
	b.Gateway = gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog + "verification log\nwebhooks {\n\tallow_private on\n}\n",
		Sites:    b.url + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}\n",
	})
	account := b.Admin.CreateAccount(t, "Shop", "")
	tab := newTab(t, b.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")
	secret := func() string {
		t.Helper()
		text := tab.eval(`document.getElementById("secret").value`)
		if !strings.HasPrefix(text, "whsec_") {
			t.Fatal("the page shows no signing secret")
		}
		b.Admin.Remember(text)
		return text
	}
	tab.open("/webhooks")
	tab.fill("#url", receiver.URL+"/hooks")
	tab.fill("#events", "key.creatd")
	tab.press("Add endpoint")
	tab.sees("Not a key event")
	tab.gallery("webhooks-wrong")
	tab.fill("#events", "key.created key.deleted")
	tab.fill("#limit", account.ID)
	tab.fill("#description", "The billing service")
	tab.press("Add endpoint")
	tab.sees("This is the only time that it is shown")
	first := secret()
	tab.gallery("webhook-secret")
	tab.press("Done")
	tab.lacks(first)
	tab.sees("Nothing was sent yet")
	tab.gallery("webhook-empty")

	// Deliveries, also one that fails.
	key := b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "billing"})
	event := receiver.next(t, "key.created", first)
	tab.waitsFor("delivered")
	tab.sees(event)
	receiver.down.Store(true)
	b.Admin.DeleteKey(t, key.ID)
	tab.waitsFor("retrying")
	tab.sees("503")
	tab.gallery("webhook")
	receiver.down.Store(false)
	deleted := receiver.next(t, "key.deleted", first)
	tab.reloads("the second delivery", `document.querySelectorAll(".tag.ok").length === 2`)

	// Once more, by hand.
	tab.press("Send again")
	tab.sees("The event is sent again")
	if again := receiver.next(t, "key.deleted", first); again != deleted {
		t.Errorf("%s was sent, want %s", again, deleted)
	}

	// A new secret; the old one goes on for an hour.
	tab.choose("#expires", "1h")
	tab.press("Rotate secret")
	second := secret()
	if second == first {
		t.Error("the secret is the old one")
	}
	tab.press("Done")
	tab.sees("Now both sign, until")
	tab.lacks(second)
	b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "both"})
	receiver.next(t, "key.created", first)
	b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "both again"})
	receiver.next(t, "key.created", second)
	tab.gallery("webhook-rotated")

	// Disabled it hears nothing; enabled it hears what comes, and nothing of what it missed.
	tab.press("Disable endpoint")
	tab.sees("The endpoint is disabled")
	tab.gallery("webhook-disabled")
	tab.open("/webhooks")
	tab.sees("Disabled")
	tab.gallery("webhooks-list")
	b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "unheard"})
	tab.press(receiver.URL + "/hooks")
	tab.press("Enable endpoint")
	tab.sees("The endpoint is enabled")
	heard := b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "heard"})
	select {
	case delivery := <-receiver.got:
		if !strings.Contains(string(delivery.body), heard.ID) {
			t.Errorf("what was missed is told: %s", delivery.body)
		}
	case <-time.After(browserLimit):
		t.Fatal("an enabled endpoint hears nothing")
	}

	tab.press("Delete endpoint")
	tab.sees("The endpoint is deleted")
	b.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "after all"})
	tab.open("/events")
	tab.sees("webhook_endpoint.deleted")
	select {
	case delivery := <-receiver.got:
		t.Errorf("a deleted endpoint was told: %s", delivery.body)
	default:
	}
}
