package auth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

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

func countAndFail(n *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		http.Error(w, "no", http.StatusServiceUnavailable)
	})
}
