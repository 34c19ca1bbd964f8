package caddymodule

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// TestLockout: an address that has spent its tries is locked out for as long as was said, no longer, and nobody else is.
func TestLockout(t *testing.T) {
	t.Parallel()
	lock := newLockout()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	mine, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range lockoutBurst {
		if wait := lock.locked(mine, now); wait != 0 {
			t.Fatalf("locked out for %v after %d tries", wait, i)
		}
		lock.allow(mine, now)
	}
	if wait := lock.locked(mine, now); wait != lockoutTime {
		t.Errorf("locked out for %v, want %v", wait, lockoutTime)
	}
	if wait := lock.locked(other, now); wait != 0 {
		t.Errorf("another address is locked out for %v", wait)
	}
	lock.allow(mine, now.Add(time.Second)) // a try in the meantime does not make it longer
	if wait := lock.locked(mine, now.Add(lockoutTime-time.Second)); wait != time.Second {
		t.Errorf("a second before the end: %v", wait)
	}
	if wait := lock.locked(mine, now.Add(lockoutTime)); wait != 0 {
		t.Errorf("at the end: %v", wait)
	}
	if wait := lock.locked(mine, now.Add(-24*time.Hour)); wait != 0 {
		t.Errorf("a clock that was put back locks out for %v", wait)
	}
	// slow tries are no attack
	slow := netip.MustParseAddr("192.0.2.3")
	for i := range 100 {
		at := now.Add(time.Duration(i) * 7 * time.Second)
		lock.allow(slow, at)
		if wait := lock.locked(slow, at); wait != 0 {
			t.Fatalf("locked out at slow try %d", i)
		}
	}
}

func TestForeignOrigin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what   string
		method string
		header string // "Name: value" lines
		want   bool
	}{
		{"a program", "POST", "", false},
		{"a page of the site", "POST", "Origin: https://keys.example.com\nSec-Fetch-Site: same-origin", false},
		{"an address typed in", "GET", "Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate", false},
		{"a link followed", "GET", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", false},
		{"a form of another site", "POST", "Origin: https://evil.example\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", true},
		{"a form without an origin", "POST", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", true},
		{"a script that reads", "GET", "Origin: https://evil.example", true},
		{"a script that reads, no-cors", "GET", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors", true},
		{"a sibling site", "GET", "Sec-Fetch-Site: same-site\nSec-Fetch-Mode: cors", true},
		{"another port", "POST", "Origin: https://keys.example.com:8443", true},
		{"a sandboxed page", "POST", "Origin: null", true},
		{"an origin that is none", "POST", "Origin: keys.example.com", true},
		{"two origins", "POST", "Origin: https://keys.example.com\nOrigin: https://evil.example", true},
		{"a value that no browser sends", "GET", "Sec-Fetch-Site: sure", true},
	} {
		r := httptest.NewRequest(test.method, "https://keys.example.com/v1/keys", nil)
		for line := range strings.SplitSeq(test.header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		if got := foreignOrigin(r); got != test.want {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

// TestAdminSite: the directive in a running Caddy.
func TestAdminSite(t *testing.T) {
	c := newCaddy(t)
	config := c.config("\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8\n\t}", oneResource, "keystile_admin\nrespond \"fallback\"")
	g := c.mustLoad(config)
	by := keystore.Actor{Kind: "local"}
	made, token, err := g.store.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "ci", Role: keystore.RoleOwner})
	if err != nil {
		t.Fatal(err)
	}
	site, bearer := "http://"+c.site, "Bearer "+token.Reveal()

	for path, want := range map[string]int{
		"/v1/openapi.json": 200, "/v1/docs": 200, "/v1/keys": 401, "/v1/nothing": 404, "/keystile/v1/keys": 404, "/other": 404, "/v1//keys": 404,
	} {
		if status, body := c.get(site + path); status != want || strings.Contains(body, "fallback") {
			t.Errorf("%s without a token: %d %.200s, want %d", path, status, body, want)
		}
	}
	if status, body := c.get(site+"/v1/keys", "Authorization", bearer, "X-Forwarded-For", "198.51.100.7"); status != 200 {
		t.Fatalf("with a token: %d %s", status, body)
	}
	if usage, ok := made.LastUsed(); !ok || usage.Address.String() != "198.51.100.7" {
		t.Errorf("last used %+v, %v", usage, ok)
	}
	if status, body := c.get(site+"/v1/openapi.json", "Authorization", bearer); status != 200 || !strings.Contains(body, `"securitySchemes"`) {
		t.Errorf("the document names no credential: %d", status)
	}
	if status, body := c.get(site+"/v1/keys", "Authorization", bearer, "Origin", "https://evil.example"); status != 403 || adminErrorCode(t, body) != "cross_origin_refused" {
		t.Errorf("a foreign origin: %d %s", status, body)
	}

	// lock-out by the address that the proxy names
	mallory := []string{"X-Forwarded-For", "198.51.100.66", "Authorization", "Bearer adm_wrong"}
	for i := range lockoutBurst {
		if status, body := c.get(site+"/v1/keys", mallory...); status != 401 || adminErrorCode(t, body) != "admin_token_invalid" {
			t.Fatalf("try %d: %d %s", i, status, body)
		}
	}
	mallory[3] = bearer
	if status, body := c.get(site+"/v1/keys", mallory...); status != 429 || adminErrorCode(t, body) != "rate_limit" {
		t.Errorf("locked out: %d %s", status, body)
	}
	if status, _ := c.get(site+"/v1/keys", "Authorization", bearer, "X-Forwarded-For", "198.51.100.7"); status != 200 {
		t.Errorf("somebody else: %d", status)
	}
	// a reload does not let anybody out
	g = c.mustLoad(append(config, '\n'))
	if status, _ := c.get(site+"/v1/keys", mallory...); status != 429 {
		t.Errorf("after a reload: %d", status)
	}

	if err := g.store.DeleteAdminToken(t.Context(), by, made.ID); err != nil {
		t.Fatal(err)
	}
	if status, _ := c.get(site+"/v1/keys", "Authorization", bearer, "X-Forwarded-For", "198.51.100.7"); status != 401 {
		t.Errorf("a deleted token: %d, want 401", status)
	}
}

// TestAdminSiteTail: a stream ends with its token, and does not hold up a reload.
func TestAdminSiteTail(t *testing.T) {
	c := newCaddy(t)
	config := c.config("", oneResource, "keystile_admin")
	g := c.mustLoad(config)
	by := keystore.Actor{Kind: "local"}
	tail := func() (*keystore.AdminToken, *bufio.Reader, io.Closer) {
		t.Helper()
		made, token, err := g.store.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "tail", Role: keystore.RoleViewer})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.site+"/v1/request_logs/tail", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
		w, err := http.DefaultTransport.RoundTrip(r)
		if err != nil || w.StatusCode != 200 {
			t.Fatalf("tailing: %v, %v", w, err)
		}
		lines := bufio.NewReader(w.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != ": tailing\n" {
			t.Fatalf("first line %q, %v", line, err)
		}
		return made, lines, w.Body
	}
	made, lines, body := tail()
	if err := g.store.DeleteAdminToken(t.Context(), by, made.ID); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(rest), "event: error") || !strings.Contains(string(rest), "authentication_required") {
		t.Errorf("the stream of a deleted token ends with %q, %v", rest, err)
	}
	_ = body.Close()

	_, lines, body = tail()
	defer body.Close()
	c.mustLoad(c.config("", oneResource, "keystile_admin /v1/*")) // grace_period is 2 s: it is not what ends the stream
	if _, err := io.ReadAll(lines); err != nil {
		t.Errorf("the stream was broken by the reload: %v", err)
	}
}
