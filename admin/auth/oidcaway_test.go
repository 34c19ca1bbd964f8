package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// TestOIDCProviderAway: calls for a provider that is away do not wait for it one after the other.
func TestOIDCProviderAway(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	away := httptest.NewServer(countAndFail(&asked))
	defer away.Close()
	store := keystoretest.NewStore(t, keystore.Options{})
	now := time.Now()
	sessions, err := auth.NewSessions(store, func() time.Time { return now }, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	provider, err := auth.NewOIDC(sessions, auth.OIDCOptions{Issuer: away.URL, ClientID: "keystile"})
	if err != nil {
		t.Fatal(err)
	}
	begin := func() {
		t.Helper()
		_, _, err := provider.Begin(httptest.NewRequest("GET", "/v1/session/oidc", nil))
		var refusal *auth.Refusal
		if !errors.As(err, &refusal) || refusal.Code != auth.CodeProviderAway {
			t.Errorf("got %v", err)
		}
	}
	for range 5 {
		begin()
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the provider was asked %d times at the same moment", n)
	}
	now = now.Add(time.Minute)
	if begin(); asked.Load() != 2 {
		t.Error("a while later it was not asked again")
	}
}

// TestOIDCProviderAwayIsSaidSeldom: anybody can have the provider asked. The log says now and then that it is away, and not to
// each of them.
func TestOIDCProviderAwayIsSaidSeldom(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	away := httptest.NewServer(countAndFail(&asked))
	defer away.Close()
	core, logged := observer.New(zap.ErrorLevel)
	now := time.Now()
	sessions, err := auth.NewSessions(keystoretest.NewStore(t, keystore.Options{}), func() time.Time { return now }, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := auth.NewOIDC(sessions, auth.OIDCOptions{Issuer: away.URL, ClientID: "keystile"})
	if err != nil {
		t.Fatal(err)
	}
	for range 59 { // a second each
		for range 20 {
			if _, _, err := provider.Begin(httptest.NewRequest("GET", "/v1/session/oidc", nil)); err == nil {
				t.Fatal("the provider is there")
			}
		}
		now = now.Add(time.Second)
	}
	if n := logged.Len(); n != 1 || asked.Load() < 10 {
		t.Errorf("%d lines in a minute, in which the provider was asked %d times", n, asked.Load())
	}
	now = now.Add(time.Minute)
	if _, _, err := provider.Begin(httptest.NewRequest("GET", "/v1/session/oidc", nil)); err == nil || logged.Len() != 2 {
		t.Errorf("a minute later: %v, %d lines", err, logged.Len())
	}
}

func countAndFail(n *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		http.Error(w, "no", http.StatusServiceUnavailable)
	})
}
