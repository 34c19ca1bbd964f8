package main_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
)

// signInByProvider signs in by an identity provider, in right and in wrong ways, also by one that says back all that it was
// sent.
func signInByProvider(t *testing.T, s *memberSite, owner *browser, provider *identityProvider) {
	t.Helper()
	s.Admin.Remember(providerSecret)
	owner.ok("POST", "/v1/members", map[string]any{"email": "kim@example.com", "grants": []any{map[string]any{"role": "viewer"}}}, nil)
	for _, way := range []struct {
		email      string
		spoil      func(*url.URL)
		loud, junk bool
		status     int
	}{
		{email: "kim@example.com", status: http.StatusOK},
		{email: "kim@example.com", loud: true, status: http.StatusServiceUnavailable},
		{email: "kim@example.com", junk: true, status: http.StatusServiceUnavailable},
		{email: "nobody@example.com", status: http.StatusForbidden},
		{email: "kim@example.com", status: http.StatusForbidden, spoil: func(u *url.URL) {
			q := u.Query()
			q.Set("state", "another")
			u.RawQuery = q.Encode()
		}},
	} {
		provider.loud.Store(way.loud)
		provider.junk.Store(way.junk)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		begun := follow(t, client, http.MethodGet, s.url+"/v1/session/oidc", nil)
		asked, err := begun.Location()
		if err != nil {
			t.Fatalf("the way to the provider: %d, %v", begun.StatusCode, err)
		}
		sent := follow(t, client, http.MethodPost, provider.URL+"/authorize", url.Values{"asked": {asked.RawQuery}, "email": {way.email}})
		back, err := sent.Location()
		if err != nil {
			t.Fatalf("the way back: %d, %v", sent.StatusCode, err)
		}
		if way.spoil != nil {
			way.spoil(back)
		}
		done := follow(t, client, http.MethodGet, back.String(), nil)
		site, err := url.Parse(s.url)
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range []*http.Response{begun, done} {
			for _, cookie := range answer.Cookies() {
				s.Admin.Remember(cookie.Value)
			}
		}
		if err := s.FindTokens("the page", readAll(t, done.Body)); err != nil {
			t.Error(err)
		}
		if done.StatusCode != way.status {
			t.Errorf("coming back as %s: status %d, want %d (cookies %v)", way.email, done.StatusCode, way.status, jar.Cookies(site))
		}
	}
	provider.mu.Lock()
	defer provider.mu.Unlock()
	if len(provider.secrets) < 4 {
		t.Errorf("the provider was sent %d secrets, want a verifier for each exchange, and gave tokens out", len(provider.secrets))
	}
	for _, secret := range provider.secrets {
		s.Admin.Remember(secret)
	}
}

// follow makes one request of a browser that follows no redirect by itself.
func follow(t *testing.T, client *http.Client, method, address string, form url.Values) *http.Response {
	t.Helper()
	var resp *http.Response
	var err error
	if method == http.MethodPost {
		resp, err = client.PostForm(address, form)
	} else {
		resp, err = client.Get(address)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
