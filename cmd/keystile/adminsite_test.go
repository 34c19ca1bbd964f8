package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// adminSite is a gateway with a keystile_admin site, and an owner's token for it.
type adminSite struct {
	*gatetest.Gateway
	url, token string
}

func newAdminSite(t *testing.T) *adminSite {
	t.Helper()
	site := gatetest.FreeAddr(t)
	s := &adminSite{url: "http://" + site}
	s.Gateway = gatetest.Launch(t, gatetest.Config{Keystile: gatetest.Catalog, Sites: s.url + " {\n\tbind 127.0.0.1\n\tlog\n\tkeystile_admin\n}"})
	var made struct{ Token string }
	s.Admin.Do(t, "POST", "/v1/admin_tokens", map[string]any{"name": "owner", "role": "owner"}, &made)
	s.token = made.Token
	return s
}

// call makes a request at the site. headers are pairs; Authorization is the owner's token unless they say otherwise.
func (s *adminSite) call(t *testing.T, method, path, body string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	data, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, w.Header, data
}

// TestAttackK2: what a page of another site can make a browser send is refused, with a good token too, and does nothing.
func TestAttackK2(t *testing.T) {
	t.Parallel()
	s := newAdminSite(t)
	const body = `{"name":"by a foreign page"}`
	for what, headers := range map[string][]string{
		"foreign origin":       {"Origin", "https://evil.example"},
		"opaque origin":        {"Origin", "null"},
		"cross-site":           {"Sec-Fetch-Site", "cross-site"},
		"cross-site form":      {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Content-Type", "text/plain"},
		"same-site":            {"Sec-Fetch-Site", "same-site"},
		"text/plain":           {"Content-Type", "text/plain"},
		"form":                 {"Content-Type", "application/x-www-form-urlencoded"},
		"all of it":            {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"},
		"token in other words": {"Authorization", "Basic " + s.token},
	} {
		status, header, answer := s.call(t, "POST", "/v1/organizations", body, headers...)
		if status < 400 || status > 499 {
			t.Errorf("%s: %d %s", what, status, answer)
		}
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: the answer lets pages of other sites read it", what)
		}
		if _, err := gatetest.ParseError(answer); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	status, header, _ := s.call(t, "OPTIONS", "/v1/organizations", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
	if status != 403 || header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("a preflight: %d %v", status, header)
	}
	if status, _, answer := s.call(t, "GET", "/v1/organizations", ""); status != 200 || bytes.Contains(answer, []byte("foreign page")) {
		t.Errorf("afterwards: %d %s", status, answer)
	}
	status, header, _ = s.call(t, "GET", "/", "")
	if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" || header.Get("X-Frame-Options") != "DENY" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the front page: %d %v", status, header)
	}
	if status, _, _ := s.call(t, "POST", "/v1/organizations", `{"name":"`+strings.Repeat("x", 1<<20)+`"}`); status != 413 {
		t.Errorf("a body of more than a mebibyte: %d, want 413", status)
	}
}

// TestAdminSiteKeepsAnswers: an Idempotency-Key answers the same after the process was killed, with its token, to the same
// caller only; and tokens, their deletion and the saved answers are at rest in no file in clear (which the harness checks).
func TestAdminSiteKeepsAnswers(t *testing.T) {
	t.Parallel()
	s := newAdminSite(t)
	var second struct{ ID, Token string }
	s.Admin.Do(t, "POST", "/v1/admin_tokens", map[string]any{"name": "second", "role": "owner"}, &second)
	account := s.Admin.CreateAccount(t, "Shop", "")
	body := `{"kind":"secret","mode":"live","account":"` + account.ID + `"}`
	status, _, first := s.call(t, "POST", "/v1/keys", body, "Idempotency-Key", "k1")
	var key struct{ ID, Token string }
	if err := json.Unmarshal(first, &key); err != nil || status != 200 || key.Token == "" {
		t.Fatalf("creating a key: %d %v", status, err)
	}
	s.Admin.Remember(key.Token)
	s.Kill(t)
	s.Start(t)
	status, header, again := s.call(t, "POST", "/v1/keys", body, "Idempotency-Key", "k1")
	if status != 200 || header.Get("Idempotent-Replayed") != "true" || !bytes.Equal(first, again) {
		t.Errorf("after a kill: %d %v", status, header)
	}
	if status, _, answer := s.call(t, "POST", "/v1/keys", strings.Replace(body, "live", "sandbox", 1), "Idempotency-Key", "k1"); status != 409 {
		t.Errorf("another body: %d %.200s", status, answer)
	}
	status, header, answer := s.call(t, "POST", "/v1/keys", body, "Idempotency-Key", "k1", "Authorization", "Bearer "+second.Token)
	var other struct{ ID, Token string }
	if err := json.Unmarshal(answer, &other); err != nil || status != 200 || header.Get("Idempotent-Replayed") != "" || other.ID == key.ID {
		t.Errorf("another caller: %d %v %v", status, header, err)
	}
	s.Admin.Remember(other.Token)

	s.Admin.Do(t, "DELETE", "/v1/admin_tokens/"+second.ID, nil, nil)
	if status, _, _ := s.call(t, "GET", "/v1/keys", "", "Authorization", "Bearer "+second.Token); status != 401 {
		t.Errorf("a deleted token: %d, want 401", status)
	}
	// the deleted one counted as a guess, nine more lock the address out
	for i := range 9 {
		status, header, _ := s.call(t, "GET", "/v1/keys", "", "Authorization", "Bearer adm_"+strings.Repeat("x", 38))
		if status != 401 || header.Get("WWW-Authenticate") == "" {
			t.Errorf("guess %d: %d %v", i, status, header)
		}
	}
	if status, header, _ := s.call(t, "GET", "/v1/keys", ""); status != 429 || header.Get("Retry-After") == "" {
		t.Errorf("locked out: %d %v", status, header)
	}
	// the machine's own endpoint is another door
	s.Admin.Do(t, "GET", "/v1/keys", nil, nil)
}
