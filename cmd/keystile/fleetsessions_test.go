package main_test

import (
	"bufio"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestStaleNodeRefusesSessions: a node that is cut off from the database for longer than max_staleness knows no more which members
// and sessions are still good. It lets nobody in by a cookie, as it does with tokens: not into the API, nor the pages, nor by
// a sign-in; and a live tail that was open ends. It goes on by itself.
func TestStaleNodeRefusesSessions(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	s := &memberSite{url: "http://" + gatetest.FreeAddr(t), Gateway: gatetest.New(t)}
	s.Setenv("KEYSTILE_TEST_DSN=" + server.Database(t))
	s.WriteConfig(t, gatetest.Config{
		Keystile: "store postgres {env.KEYSTILE_TEST_DSN}\nmaster_key file " + filepath.Join(t.TempDir(), "master.key") + "\nmax_staleness 5s\n" + gatetest.Catalog,
		Sites:    s.url + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}",
	}.Text(s.Gateway))
	s.Start(t)
	owner := s.firstOwner(t)

	request, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/v1/request_logs/tail", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Cookie", owner.cookie)
	tail, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || tail.StatusCode != 200 {
		t.Fatalf("the tail: %v", err)
	}
	defer tail.Body.Close()
	ended := make(chan string, 1)
	go func() {
		last := ""
		for lines := bufio.NewScanner(tail.Body); lines.Scan(); {
			if lines.Text() != "" {
				last = lines.Text()
			}
		}
		ended <- last
	}()

	status := func(want int) {
		t.Helper()
		for deadline := time.Now().Add(fleetLimit); ; time.Sleep(20 * time.Millisecond) {
			got, _, body := owner.call("GET", "/v1/session", nil)
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("a session is answered %d %s, want %d", got, body, want)
			}
		}
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	status(503)
	for _, path := range []string{"/v1/session", "/v1/keys", "/v1/members", "/v1/request_logs", "/v1/request_logs/export?format=jsonl", "/v1/request_logs/tail"} {
		owner.fails("GET", path, nil, 503, "store_unavailable")
	}
	for _, path := range []string{"/", "/members", "/profile"} {
		if got, _, body := owner.call("GET", path, nil); got != 503 || !strings.Contains(string(body), "cut off from the key store") {
			t.Errorf("%s: %d %.500s", path, got, body)
		}
	}
	// Who signs out is out of this browser, and is told that this may be all.
	for path, method := range map[string]string{"/v1/session": "DELETE", "/sign_out": "POST"} {
		leaver := &browser{t: t, site: s, cookie: owner.cookie}
		got, header, body := leaver.call(method, path, nil)
		if cookies := (&http.Response{Header: header}).Cookies(); got != 503 || !strings.Contains(string(body), "may not have ended") || len(cookies) != 1 || cookies[0].MaxAge >= 0 || cookies[0].Value != "" {
			t.Errorf("%s %s: %d %.500s, with the cookies %v", method, path, got, body, cookies)
		}
	}
	stranger := &browser{t: t, site: s}
	stranger.fails("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": ownerPassword}, 503, "store_unavailable")
	select {
	case last := <-ended:
		if !strings.Contains(last, "authentication_required") {
			t.Errorf("the tail ended with %q", last)
		}
	case <-time.After(fleetLimit):
		t.Error("a live tail goes on")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	status(200)
	owner.ok("GET", "/v1/keys", nil, nil)
}
