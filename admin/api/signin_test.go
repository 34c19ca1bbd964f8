package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// TestSignInLockout: ten failures lock an e-mail address out for a minute, whether there is such a member or not, and not
// the others.
func TestSignInLockout(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	for _, email := range []string{"jenny@example.com", "nobody@example.com"} {
		wrong := map[string]any{"email": email, "password": "wrong password"}
		for range 10 {
			f.do("POST", "/v1/session", wrong).fails(401, "credentials_invalid", "")
		}
		wrong["password"] = testPassword
		a := f.do("POST", "/v1/session", wrong)
		a.fails(429, "rate_limit", "")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After")
		}
		f.advance(10 * time.Minute) // the address's own count, too
	}
	f.ok("GET", "/v1/session", nil, "Cookie", cookie)
	f.ok("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": testPassword})
}

// TestSessionEnds: sessions end when nobody uses them, at their end, with a new password, and with their member.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	f.member("keeper@example.com", owner())
	id, cookie := f.member("jenny@example.com", owner())
	alive := func(cookie string, want bool) {
		t.Helper()
		if a := f.do("GET", "/v1/session", nil, "Cookie", cookie); (a.status == 200) != want {
			t.Errorf("%s", a.body)
		}
	}
	sign := map[string]any{"email": "jenny@example.com", "password": testPassword}
	idle := cookieOf(f.ok("POST", "/v1/session", sign))
	for range 14 {
		f.advance(auth.SessionIdle - time.Second)
		if f.clock().Sub(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) < auth.SessionLifetime {
			alive(cookie, true)
		}
	}
	f.advance(time.Minute)
	alive(cookie, false)
	alive(idle, false)
	one, two := cookieOf(f.ok("POST", "/v1/session", sign)), cookieOf(f.ok("POST", "/v1/session", sign))
	change := map[string]any{"current_password": testPassword, "password": "another long password"}
	f.ok("POST", "/v1/session/password", change, "Cookie", one)
	alive(one, true)
	alive(two, false)
	f.do("POST", "/v1/session", sign).fails(401, "credentials_invalid", "")
	f.ok("DELETE", "/v1/members/"+id, nil)
	alive(one, false)
}

// TestMountCaller: what this process says in the context comes before cookies, and no header can say it.
func TestMountCaller(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	mount := &auth.Mount{Sessions: f.sessions, Tokens: func(*http.Request, auth.Client) (*auth.Caller, error) {
		return &auth.Caller{Actor: keystore.Actor{Kind: "admin_token"}}, nil
	}}
	said := &auth.Caller{Actor: keystore.Actor{Kind: "said"}}
	for _, test := range []struct{ cookie, authorization, said, want string }{
		{"", "Bearer x", "", "admin_token"},
		{cookie, "", "", "member"},
		{cookie, "Bearer x", "", "member"},
		{"keystile_session=bad", "Bearer x", "", "admin_token"},
		{cookie, "Bearer x", "said", "said"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "/v1/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Cookie": test.cookie, "Authorization": test.authorization} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if test.said != "" {
			r = r.WithContext(auth.WithCaller(r.Context(), said))
		}
		if c, err := mount.Caller(r); err != nil || c.Actor.Kind != test.want {
			t.Errorf("%+v: %v, %v", test, c, err)
		}
	}
	digest := policy.DigestOf(strings.TrimPrefix(cookie, "keystile_session="))
	if _, ok := f.store.Snapshot().SessionByDigest(&digest); !ok {
		t.Error("the cookie is not kept by its digest")
	}
}

// TestLockoutOfOthers: guesses from elsewhere do not lock a member out of the address where they have a session.
func TestLockoutOfOthers(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, token := f.invite(map[string]any{"email": "jenny@example.com", "grants": []any{owner()}})
	at := func(address string, path string, body map[string]any) int {
		t.Helper()
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", path, bytes.NewReader(data))
		r.Header.Set("Content-Type", "application/json")
		r = r.WithContext(auth.WithClient(r.Context(), auth.Client{Address: netip.MustParseAddr(address)}))
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		return w.Code
	}
	if status := at("192.0.2.1", "/v1/invitations/accept", map[string]any{"invitation": token, "name": "Jenny", "password": testPassword}); status != 200 {
		t.Fatalf("accepting: %d", status)
	}
	for i := range 12 {
		at(fmt.Sprintf("198.51.100.%d", i), "/v1/session", map[string]any{"email": "jenny@example.com", "password": "wrong password"})
	}
	sign := map[string]any{"email": "jenny@example.com", "password": testPassword}
	if status := at("203.0.113.1", "/v1/session", sign); status != 429 {
		t.Errorf("from elsewhere: %d, want 429", status)
	}
	if status := at("192.0.2.1", "/v1/session", sign); status != 200 {
		t.Errorf("from where the member is: %d, want 200", status)
	}
}
