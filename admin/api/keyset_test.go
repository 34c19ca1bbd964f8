package api_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

// TestKeySet: the public keys are served to whoever asks, at one path of the API and by a handler of their own.
func TestKeySet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refuse = errRefused
	if a := f.do("GET", "/v1/accounts", nil); a.status != 401 {
		t.Fatalf("without a credential: %d, want 401", a.status)
	}
	empty := f.ok("GET", api.KeySetPath, nil)
	if string(empty.body) != "{\"keys\":[]}\n" || empty.header.Get("Cache-Control") != "no-store" {
		t.Errorf("before the first key: %s, Cache-Control %q; want an empty list that is not kept", empty.body, empty.header.Get("Cache-Control"))
	}

	signer, err := f.store.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := f.ok("GET", api.KeySetPath, nil)
	set := as[api.KeySet](got)
	if len(set.Keys) != 1 {
		t.Fatalf("%d keys, want 1: %s", len(set.Keys), got.body)
	}
	key := set.Keys[0]
	want := api.PublicKey{KeyType: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: "EdDSA", ID: signer.KeyID(), X: key.X}
	if key != want {
		t.Errorf("the key is %+v, want %+v", key, want)
	}
	public, err := base64.RawURLEncoding.DecodeString(key.X)
	if err != nil || !ed25519.Verify(public, []byte("message"), signer.Sign([]byte("message"))) {
		t.Errorf("x does not verify: %v", err)
	}
	if cache := got.header.Get("Cache-Control"); cache != "public, max-age=300" {
		t.Errorf("Cache-Control = %q", cache)
	}
	if strings.Contains(string(got.body), `"d"`) {
		t.Errorf("the set has a private member: %s", got.body)
	}
	f.do("POST", api.KeySetPath, `{}`).fails(405, "method_not_allowed", "")
	f.do("GET", api.KeySetPath+"?x=1", nil).fails(400, "parameter_unknown", "x")

	alone := api.JWKS(f.store, nil)
	ask := func(method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		alone.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	if w := ask(http.MethodGet, api.KeySetPath); w.Code != 200 || w.Body.String() != string(got.body) {
		t.Errorf("the handler alone: %d %s", w.Code, w.Body)
	}
	for path, want := range map[string]int{"/v1/accounts": 404, "/": 404, "/v1/openapi.json": 404, api.KeySetPath + "/": 404} {
		if w := ask(http.MethodGet, path); w.Code != want {
			t.Errorf("the handler alone at %s: %d, want %d", path, w.Code, want)
		}
	}
	if w := ask(http.MethodDelete, api.KeySetPath); w.Code != 405 {
		t.Errorf("DELETE: %d, want 405", w.Code)
	}
}
