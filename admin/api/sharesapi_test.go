package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// TestTailsOfOneCustomer: whoever is limited to an account opens a quarter of the live tails, with however many tokens; the
// operator and the next account open theirs, and a tail that is closed makes room.
func TestTailsOfOneCustomer(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	ours, theirs := f.world("ours"), f.world("theirs")
	server := httptest.NewServer(f.handler)
	t.Cleanup(server.Close) // after the tails
	open := func(bearer string) (status int, body string, closing func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/request_logs/tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", bearer)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(res.Body)
			body = string(text)
		}
		closing = func() { cancel(); res.Body.Close() }
		t.Cleanup(closing)
		return res.StatusCode, body, closing
	}
	first, second := f.bearer(keystore.RoleViewer, "", ours.account), f.bearer(keystore.RoleDeveloper, "", ours.account)
	var closing func()
	for i := range 16 {
		status, _, leave := open([]string{first, second}[i%2])
		if closing = leave; status != http.StatusOK {
			t.Fatalf("tail %d: %d", i, status)
		}
	}
	status, body, _ := open(second)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "tail_unavailable") || !strings.Contains(body, "16 of one customer") {
		t.Errorf("one more: %d %s", status, body)
	}
	for what, bearer := range map[string]string{"another account": f.bearer(keystore.RoleViewer, "", theirs.account), "the operator": f.bearer(keystore.RoleViewer, "", "")} {
		if status, body, _ := open(bearer); status != http.StatusOK {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	closing()
	for { // until the server has noticed
		if status, _, _ := open(first); status == http.StatusOK {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal("a closed tail made no room")
		}
	}
}

// TestWebhooksOfAnAccount: an account has sixteen webhook endpoints, as at the API that this is modelled on, and the next account has its
// own.
func TestWebhooksOfAnAccount(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	ours, theirs := f.world("ours"), f.world("theirs")
	add := func(account string) (int, string) {
		w := f.raw("POST", "/v1/webhook_endpoints", map[string]any{"url": "https://example.com/", "events": []string{"*"}, "account": account}, f.bearer(keystore.RoleAdministrator, "", account))
		return w.Code, w.Body.String()
	}
	for i := range 16 {
		if status, body := add(ours.account); status != http.StatusOK {
			t.Fatalf("endpoint %d: %d %s", i, status, body)
		}
	}
	if status, body := add(ours.account); status != http.StatusConflict || !strings.Contains(body, "has 16 webhook endpoints") {
		t.Errorf("one more: %d %s", status, body)
	}
	if status, body := add(theirs.account); status != http.StatusOK {
		t.Errorf("of the next account: %d %s", status, body)
	}
}
