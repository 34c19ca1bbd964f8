package caddymodule

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func basic(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func TestPresented(t *testing.T) {
	t.Parallel()
	const token = "sk_live_x"
	tests := []struct {
		name          string
		authorization []string
		key           []string
		want          string
		state         policy.Credential
	}{
		{name: "none", state: policy.CredentialMissing},
		{name: "bearer", authorization: []string{"Bearer " + token}, want: token, state: policy.CredentialKnown},
		{name: "scheme in any case", authorization: []string{"bEaReR " + token}, want: token, state: policy.CredentialKnown},
		{name: "two spaces", authorization: []string{"Bearer  " + token}, want: token, state: policy.CredentialKnown},
		{name: "basic", authorization: []string{basic(token + ":")}, want: token, state: policy.CredentialKnown},
		{name: "basic in lower case", authorization: []string{"basic" + basic(token + ":")[5:]}, want: token, state: policy.CredentialKnown},
		{name: "key header", key: []string{token}, want: token, state: policy.CredentialKnown},
		{name: "password", authorization: []string{basic(token + ":secret")}, state: policy.CredentialInvalid},
		{name: "colons in the user name", authorization: []string{basic("legacy:" + token + "::")}, want: "legacy:" + token + ":", state: policy.CredentialKnown},
		{name: "comma in the user name", authorization: []string{basic("legacy," + token + ":")}, state: policy.CredentialInvalid},
		{name: "no colon", authorization: []string{basic(token)}, state: policy.CredentialInvalid},
		{name: "no user", authorization: []string{basic(":")}, state: policy.CredentialInvalid},
		{name: "raw key as basic", authorization: []string{"Basic " + token}, state: policy.CredentialInvalid},
		{name: "base64 without padding", authorization: []string{"Basic " + strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("sk_live_xx:")), "=")}, state: policy.CredentialInvalid},
		{name: "base64 with loose bits", authorization: []string{"Basic c2tfeDp="}, state: policy.CredentialInvalid},
		{name: "two lines", authorization: []string{"Bearer " + token, "Bearer " + token}, state: policy.CredentialInvalid},
		{name: "comma list", authorization: []string{"Bearer " + token + ", Bearer " + token}, state: policy.CredentialInvalid},
		{name: "comma list without space", authorization: []string{"Bearer " + token + ",x"}, state: policy.CredentialInvalid},
		{name: "both places", authorization: []string{"Bearer " + token}, key: []string{token}, state: policy.CredentialInvalid},
		{name: "two key headers", key: []string{token, token}, state: policy.CredentialInvalid},
		{name: "key header with a scheme", key: []string{"Bearer " + token}, state: policy.CredentialInvalid},
		{name: "empty key header", key: []string{""}, state: policy.CredentialInvalid},
		{name: "unknown scheme", authorization: []string{"Token " + token}, state: policy.CredentialInvalid},
		{name: "no scheme", authorization: []string{token}, state: policy.CredentialInvalid},
		{name: "scheme alone", authorization: []string{"Bearer"}, state: policy.CredentialInvalid},
		{name: "scheme and space", authorization: []string{"Bearer "}, state: policy.CredentialInvalid},
		{name: "empty", authorization: []string{""}, state: policy.CredentialInvalid},
		{name: "tab", authorization: []string{"Bearer\t" + token}, state: policy.CredentialInvalid},
		{name: "inner space", authorization: []string{"Bearer sk live"}, state: policy.CredentialInvalid},
		{name: "not ASCII", authorization: []string{"Bearer sk_live_ä"}, state: policy.CredentialInvalid},
		{name: "too long", authorization: []string{"Bearer " + strings.Repeat("x", 2000)}, state: policy.CredentialInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if test.authorization != nil {
				h["Authorization"] = test.authorization
			}
			if test.key != nil {
				h["X-Api-Key"] = test.key
			}
			got, state := presented(h, "X-Api-Key")
			if got != test.want || state != test.state {
				t.Errorf("presented: %q, %v; want %q, %v", got, state, test.want, test.state)
			}
		})
	}
}

// TestCredentialNeverPassesOn: whatever place it came in, and on open routes too.
func TestCredentialNeverPassesOn(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.KeyHeader = "X-Api-Key" })
	for _, r := range []*http.Request{
		request("GET", "/v1/charges", g.live),
		request("GET", "/v1/charges", "", "Authorization", basic(g.live+":")),
		request("GET", "/v1/charges", "", "X-Api-Key", g.live),
		request("GET", "/healthz", g.live),
	} {
		seen, _ := g.wantServed(r)
		for name, values := range seen.Header {
			if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, g.live) || strings.HasPrefix(v, "Basic") }) {
				t.Errorf("backend got the credential in %s", name)
			}
		}
	}
	g.wantDenied(request("GET", "/v1/charges?api_key="+g.live+"&key="+g.live, ""), 401, "api_key_missing")
	if rec := g.lastRecord(); strings.Contains(rec.Target+rec.Query, g.live) {
		t.Errorf("the record shows a token that stood in the query: %q", rec.Target)
	}
}

// TestTwoCredentials: attack E1, in both orders.
func TestTwoCredentials(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	old, oldToken := g.key(keystore.KeyParams{Kind: policy.KindSecret})
	if _, err := g.store.DeleteKey(t.Context(), testActor, old.ID); err != nil {
		t.Fatal(err)
	}
	for _, lines := range [][]string{{oldToken, g.live}, {g.live, oldToken}, {g.live, g.live}} {
		g.wantDenied(request("GET", "/v1/charges", "", "Authorization", "Bearer "+lines[0], "Authorization", "Bearer "+lines[1]), 401, "api_key_invalid")
	}
}

// TestImportedKeys may have any spelling, also one that looks like ours with a wrong checksum.
func TestImportedKeys(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	odd := g.test[:len(g.test)-6] + "aaaaaa"
	g.wantDenied(request("GET", "/v1/charges", "sk_test_123"), 401, "api_key_invalid")
	var rows []keystore.ImportParams
	for _, token := range []string{"sk_test_123", "legacy!key", odd} {
		rows = append(rows, keystore.ImportParams{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: g.a.ID, Name: "imported"},
			Token:     policy.TokenFrom(token),
		})
	}
	if _, err := g.store.ImportKeys(t.Context(), testActor, rows); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"sk_test_123", "legacy!key", odd} {
		g.wantServed(request("GET", "/v1/charges", token))
	}
	g.wantServed(request("GET", "/v1/charges", "", "Authorization", basic("sk_test_123:")))
	g.wantDenied(request("GET", "/v1/charges", "sk_test_124"), 401, "api_key_invalid")
}

// TestImportedKeyWithColon works in every place, and only whole: a password behind a key's name is no part of a key.
func TestImportedKeyWithColon(t *testing.T) {
	t.Parallel()
	g := newGateway(t, func(h *Handler) { h.KeyHeader = "X-Api-Key" })
	row := func(token string) keystore.ImportParams {
		return keystore.ImportParams{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeSandbox, Account: g.a.ID, Name: "imported"},
			Token:     policy.TokenFrom(token),
		}
	}
	if _, err := g.store.ImportKeys(t.Context(), testActor, []keystore.ImportParams{row("tenant:7:secret"), row("trailing:")}); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"tenant:7:secret", "trailing:"} {
		g.wantServed(request("GET", "/v1/charges", token))
		g.wantServed(request("GET", "/v1/charges", "", "X-Api-Key", token))
		g.wantServed(request("GET", "/v1/charges", "", "Authorization", basic(token+":")))
	}
	for _, pair := range []string{"tenant:7:secret", "tenant:7:", "tenant:", "trailing:", g.live + ":password", g.live + ":password:", g.live + "::"} {
		g.wantDenied(request("GET", "/v1/charges", "", "Authorization", basic(pair)), 401, "api_key_invalid")
	}
}

// TestMessagesHideWhatIsNoToken: what has no known prefix may be a password.
func TestMessagesHideWhatIsNoToken(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	for _, secret := range []string{"correct-horse-battery-staple", g.live[:len(g.live)-1] + "?"} {
		body, header := g.wantDenied(request("GET", "/v1/charges", secret), 401, "api_key_invalid")
		if strings.Contains(body.Message, secret[8:20]) {
			t.Errorf("message %q shows what was presented", body.Message)
		}
		for name, values := range header {
			if strings.Contains(strings.Join(values, " "), secret[8:20]) {
				t.Errorf("%s shows what was presented", name)
			}
		}
		rec := g.lastRecord()
		if strings.Contains(rec.TokenMasked+rec.ErrorMessage, secret[8:20]) {
			t.Errorf("record shows what was presented: %q %q", rec.TokenMasked, rec.ErrorMessage)
		}
	}
}

func FuzzPresented(f *testing.F) {
	for _, s := range []string{"Bearer sk_live_x", "Basic c2tfbGl2ZV94Og==", "Bearer a,b", "Basic Og==", "bearer  x", "Token x", ""} {
		f.Add(s, s, "", uint8(1))
	}
	f.Fuzz(func(t *testing.T, first, second, key string, shape uint8) {
		h := http.Header{}
		lines := 0
		if shape&1 != 0 {
			h["Authorization"] = append(h["Authorization"], first)
			lines++
		}
		if shape&2 != 0 {
			h["Authorization"] = append(h["Authorization"], second)
			lines++
		}
		if shape&4 != 0 {
			h["X-Api-Key"] = []string{key}
			lines++
		}
		token, state := presented(h, "X-Api-Key")
		switch {
		case (token != "") != (state == policy.CredentialKnown):
			t.Fatalf("token %q with state %v", token, state)
		case (state == policy.CredentialMissing) != (lines == 0):
			t.Fatalf("%d credentials are %v", lines, state)
		case lines > 1 && state != policy.CredentialInvalid:
			t.Fatalf("%d credentials are %v", lines, state)
		case strings.ContainsAny(token, ", \t\r\n\x00") || len(token) > maxCredential && shape&4 == 0:
			t.Fatalf("token %q", token)
		}
	})
}
