package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// slowBody is a body before whose first byte something happens.
type slowBody struct {
	io.Reader
	before func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.before != nil {
		b.before()
		b.before = nil
	}
	return b.Reader.Read(p)
}

// TestSlowBodyOfAnEndedCredential: who begins a call and sends its body after the token was deleted changes nothing.
func TestSlowBodyOfAnEndedCredential(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	w := f.world("ours")
	key := fmt.Sprintf(`{"kind":"secret","mode":"sandbox","account":%q}`, w.account)
	row := fmt.Sprintf(`{"token":"sk_test_late","kind":"secret","mode":"sandbox","account":%q}`, w.account)
	for _, test := range []struct{ target, media, body string }{
		{"/v1/keys", "application/json", key},
		{"/v1/keys/import", "application/json", `{"keys":[` + row + `]}`},
		{"/v1/key_imports", "application/x-ndjson", row},
	} {
		token, secret, err := f.store.CreateAdminToken(t.Context(), keystore.Actor{Kind: "system"}, keystore.AdminTokenParams{
			Name: "ci", Role: keystore.RoleDeveloper, Account: w.account,
		})
		if err != nil {
			t.Fatal(err)
		}
		f.secret(secret.Reveal())
		keys := f.store.Len()
		r := httptest.NewRequest("POST", test.target, &slowBody{strings.NewReader(test.body), func() {
			if err := f.store.DeleteAdminToken(t.Context(), keystore.Actor{Kind: "system"}, token.ID); err != nil {
				t.Error(err)
			}
		}})
		r.Header.Set("Authorization", "Bearer "+secret.Reveal())
		r.Header.Set("Content-Type", test.media)
		answer := httptest.NewRecorder()
		f.handler.ServeHTTP(answer, r)
		if answer.Code != 401 || f.store.Len() != keys {
			t.Errorf("%s: %d %s, and %d keys more", test.target, answer.Code, answer.Body, f.store.Len()-keys)
		}
	}
}

// hookWriter calls something when the status is written.
type hookWriter struct {
	*httptest.ResponseRecorder
	head func()
}

func (w *hookWriter) WriteHeader(status int) {
	w.ResponseRecorder.WriteHeader(status)
	w.head()
}

// TestEventExportOfAnEndedCredential: an export that has begun ends with its credential, broken off.
func TestEventExportOfAnEndedCredential(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	f.world("ours")
	token, secret, err := f.store.CreateAdminToken(t.Context(), keystore.Actor{Kind: "system"}, keystore.AdminTokenParams{Name: "ci", Role: keystore.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	f.secret(secret.Reveal())
	r := httptest.NewRequest("GET", "/v1/events/export", nil)
	r.Header.Set("Authorization", "Bearer "+secret.Reveal())
	w := &hookWriter{httptest.NewRecorder(), func() {
		if err := f.store.DeleteAdminToken(t.Context(), keystore.Actor{Kind: "system"}, token.ID); err != nil {
			t.Error(err)
		}
	}}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || w.Body.Len() != 0 { //nolint:errorlint // net/http compares this value by identity, too
			t.Errorf("the export ended with %v after %d bytes", v, w.Body.Len())
		}
	}()
	f.handler.ServeHTTP(w, r)
}
