package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// hook is one delivery as a receiver sees it.
type hook struct {
	signature string
	body      []byte
}

// signed checks a signature the way a receiver does, with no code of the gateway's.
func (h *hook) signed(secret string) bool {
	parts := strings.Split(h.signature, ",")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.TrimPrefix(parts[0], "t=") + "." + string(h.body)))
	for _, part := range parts[1:] {
		got, err := hex.DecodeString(strings.TrimPrefix(part, "v1="))
		if err == nil && hmac.Equal(got, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

// TestWebhooks: key events reach an endpoint, signed and in order, through a restart and a time in which it is down, and
// its secret stands nowhere but in the answer that made it.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	got := make(chan hook, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		got <- hook{r.Header.Get("Keystile-Signature"), body}
	}))
	defer receiver.Close()

	g := gatetest.New(t)
	configure := func(option string) {
		g.WriteConfig(t, gatetest.Config{Keystile: option, Sites: "http://" + gatetest.FreeAddr(t) + " {\n\tkeystile\n\trespond ok\n}\n"}.Text(g))
	}
	configure("")
	g.Start(t)
	endpoint := map[string]any{"url": receiver.URL + "/hooks", "events": []string{"key.created", "key.deleted"}}
	refused := g.Admin.Fails(t, "POST", "/v1/webhook_endpoints", endpoint, 400, "parameter_invalid")
	if refused.Param != "url" {
		t.Errorf("an address that is not allowed is refused for %q", refused.Param)
	}
	g.Stop(t)
	configure("webhooks {\n\tallow_private on\n}")
	g.Start(t)

	g.Admin.CreateAccount(t, "before", "")
	var made struct{ ID, Secret string }
	g.Admin.Do(t, "POST", "/v1/webhook_endpoints", endpoint, &made)
	seen := make(map[string]bool)
	last := ""
	expect := func(kind, object string) {
		t.Helper()
		select {
		case h := <-got:
			var e struct{ ID, Type, Object string }
			if err := json.Unmarshal(h.body, &e); err != nil {
				t.Fatalf("%v: %s", err, h.body)
			}
			if !h.signed(made.Secret) {
				t.Errorf("the signature %q is wrong", h.signature)
			}
			if e.Type != kind || object != "" && e.Object != object || e.ID <= last || seen[e.ID] {
				t.Errorf("got %+v after %s, want %s of %s", e, last, kind, object)
			}
			seen[e.ID], last = true, e.ID
		case <-time.After(60 * time.Second):
			stdout, stderr := g.Output()
			t.Fatalf("no %s came\n%s%s", kind, stdout, stderr)
		}
	}
	account := g.Admin.CreateAccount(t, "A", "")
	for range 4 {
		expect("key.created", "")
	}
	down.Store(true)
	key := g.Admin.CreateKey(t, gatetest.Fields{"account": account.ID, "kind": "restricted", "mode": "sandbox", "name": "billing"})
	g.Admin.DeleteKey(t, key.ID)
	attempts := func() string {
		_, body, err := g.Admin.Call("GET", "/v1/webhook_endpoints/"+made.ID+"/deliveries", nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for begun := time.Now(); !strings.Contains(attempts(), `"status":503`); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 60*time.Second {
			t.Fatalf("no failure in the log: %s", attempts())
		}
	}
	g.Stop(t)
	down.Store(false)
	g.Start(t)
	expect("key.created", key.ID)
	expect("key.deleted", key.ID)

	table := g.Run(t, "webhook", "deliveries", made.ID, "--address", g.AdminAddr)
	if !strings.Contains(table.Stdout, "retrying") || !strings.Contains(table.Stdout, "503") || !strings.Contains(table.Stdout, "delivered") {
		t.Errorf("the table of deliveries:\n%s%s", table.Stdout, table.Stderr)
	}
	shown := g.Run(t, "webhook", "get", made.ID, "--address", g.AdminAddr).Stdout + g.Run(t, "webhook", "list", "--json", "--address", g.AdminAddr).Stdout
	if !strings.Contains(shown, receiver.URL) || strings.Contains(shown, made.Secret) {
		t.Errorf("the endpoint is shown as\n%s", shown)
	}

	// A new secret, with the old one beside it; then an event once more.
	var rotated struct{ Secret string }
	g.Admin.Do(t, "POST", "/v1/webhook_endpoints/"+made.ID+"/rotate_secret",
		gatetest.Fields{"expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, &rotated)
	g.Admin.Do(t, "POST", "/v1/webhook_endpoints/"+made.ID+"/resend", gatetest.Fields{"event": last}, nil)
	select {
	case h := <-got:
		if !h.signed(made.Secret) || !h.signed(rotated.Secret) || strings.Count(h.signature, "v1=") != 2 || !strings.Contains(string(h.body), last) {
			t.Errorf("the repetition is signed %s: %s", h.signature, h.body)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the event did not come again")
	}

	if deleted := g.Run(t, "webhook", "delete", made.ID, "--address", g.AdminAddr); !strings.Contains(deleted.Stdout, "deleted "+made.ID) {
		t.Errorf("deleting: %s%s", deleted.Stdout, deleted.Stderr)
	}
	g.Admin.CreateAccount(t, "after", "")
	g.Stop(t)
	select {
	case h := <-got:
		t.Errorf("a deleted endpoint got %s", h.body)
	default:
	}

	stdout, stderr := g.Output()
	if strings.Contains(stdout+stderr, made.Secret) || strings.Contains(stdout+stderr, receiver.URL) {
		t.Error("the secret or the URL is in the output")
	}
	err := filepath.WalkDir(g.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), made.Secret) {
			t.Errorf("%s holds the secret in clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
