package main_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestE1_TwoCredentials: two credentials are none, in every order and combination.
func TestE1_TwoCredentials(t *testing.T) {
	b := theBed(t)
	valid, old := gatetest.Bearer(b.SK.Token), gatetest.Bearer(b.OLD.Token)
	basic := "Authorization: Basic " + b64(b.SK.Token+":")
	for _, lines := range [][]string{
		{old, valid},
		{valid, old},
		{valid, valid},
		{valid, "authorization: Bearer " + b.SK.Token},
		{valid, basic},
		{basic, valid},
		{valid, "Authorization:"},
		{"Authorization:", valid},
		{valid, "X-A: b", "AUTHORIZATION: Bearer " + b.SKB.Token},
		{valid, "Authorization: Digest username=x"},
		{"Authorization: Bearer " + b.OLD.Token + ", Bearer " + b.SK.Token},
		{"Authorization: Bearer " + b.SK.Token + ",Basic " + b64(b.SK.Token+":")},
		{"Authorization: Bearer " + b.SK.Token + "; Bearer " + b.SK.Token},
	} {
		b.denied(t, b.any, gatetest.Request("GET", "/v1/customers", "", lines...), invalid)
	}
	for _, lines := range [][]string{
		{"X-Api-Key: " + b.OLD.Token, valid},
		{valid, "X-Api-Key: " + b.SK.Token},
		{"X-Api-Key: " + b.SK.Token, "X-Api-Key: " + b.OLD.Token},
		{"X-Api-Key: " + b.SK.Token + ", " + b.OLD.Token},
		{"X-Api-Key: " + b.SK.Token, "Authorization: Hawk x"},
		{"X-Api-Key: Bearer " + b.SK.Token},
	} {
		b.denied(t, b.header, gatetest.Request("GET", "/v1/customers", "", lines...), invalid)
	}
}

// TestE_OtherPlaces: a key in a place that is none is not read.
func TestE_OtherPlaces(t *testing.T) {
	b := theBed(t)
	token := b.SK.Token
	for _, request := range []string{
		gatetest.Request("GET", "/v1/customers", "", "X-Api-Key: "+token),
		gatetest.Request("GET", "/v1/customers", "", "Proxy-Authorization: Bearer "+token),
		gatetest.Request("GET", "/v1/customers", "", "Authorization_: Bearer "+token),
		gatetest.Request("GET", "/v1/customers", "", "X-Authorization: Bearer "+token),
		gatetest.Request("GET", "/v1/customers", "", "X-Forwarded-Authorization: Bearer "+token),
		gatetest.Request("POST", "/v1/customers", "", "Transfer-Encoding: chunked", "Trailer: Authorization") +
			"1\r\na\r\n0\r\nAuthorization: Bearer " + token + "\r\n\r\n",
	} {
		b.denied(t, b.any, request, missing)
	}
}

// TestE_HTTP2 is E1 over HTTP/2, where a header may be sent in two fields.
func TestE_HTTP2(t *testing.T) {
	b := theBed(t)
	before := b.calls()
	h, err := gatetest.DialH2(b.h2c, source(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, second := range []string{b.OLD.Token, b.SK.Token} {
		answer, err := h.Do(gatetest.H2Request("GET", "/v1/customers", b.SK.Token, gatetest.F("authorization", "Bearer "+second)), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.checkDenial(t, answer, invalid)
	}
	if b.calls() != before {
		t.Error("the backend was asked")
	}
}

// TestE_LookAlikes: tokens that are nearly one that is known.
func TestE_LookAlikes(t *testing.T) {
	b := theBed(t)
	token := b.SK.Token
	for _, like := range []string{
		token[:len(token)-1],
		token + "a",
		token + "%00",
		" " + token + " x",
		"sk_test_" + token[8:],
		"rk_live_" + token[8:],
		"sk_org_live_" + token[8:],
		"pk_live_" + token[8:],
		strings.ToUpper(token),
		strings.ToLower(token),
		strings.Replace(token, "_", "-", 1),
		token[:20] + "\t" + token[20:],
		"\"" + token + "\"",
		"'" + token + "'",
		token[:8] + strings.Repeat("0", 38),
		token[:8] + "' OR '1'='1",
		token[:8] + "*",
		"ｓｋ_live_" + token[8:],
	} {
		b.denied(t, b.any, get("/v1/customers", like), invalid)
	}
}

// TestH5_ImportedSpellings: tokens that a careless cache or join would confuse stay apart: each is its own key.
func TestH5_ImportedSpellings(t *testing.T) {
	b := theBed(t)
	spellings := []string{"sk_test_123", "sk_test_1234", "SK_TEST_123", "sk_test_12", "sk-test-123", "sk_test_123.", "imported/sk_test_123", "sk_test__123"}
	keys := make([]gatetest.Fields, len(spellings))
	for i, token := range spellings {
		keys[i] = gatetest.Fields{"token": token, "kind": "secret", "mode": "sandbox", "account": b.A, "name": fmt.Sprint("spelling ", i)}
	}
	imported := b.Admin.Import(t, keys...)
	if len(imported) != len(spellings) {
		t.Fatalf("got %d keys, want %d", len(imported), len(spellings))
	}
	ids := make(map[string]string)
	for _, k := range imported {
		for i, token := range spellings {
			if k.Name == fmt.Sprint("spelling ", i) {
				ids[token] = k.ID
			}
		}
	}
	for range 2 { // cold, then from the cache
		for _, token := range spellings {
			_, got := b.passes(t, b.any, get("/v1/customers", token))
			if id := got.Exact("Keystile-Key-Id"); len(id) != 1 || id[0] != ids[token] {
				t.Errorf("the token named %q came out as key %v, want %s", token, id, ids[token])
			}
		}
		b.denied(t, b.any, get("/v1/customers", "sk_test_12345"), invalid)
		b.denied(t, b.live, get("/v1/customers", "sk_test_123"), modeMismatch)
	}
	b.Admin.DeleteKey(t, ids["sk_test_123"])
	b.denied(t, b.any, get("/v1/customers", "sk_test_123"), expired)
	b.passes(t, b.any, get("/v1/customers", "sk_test_1234"))
}

// TestL3_Contexts: contexts that leave what the key may reach, or are no paths.
func TestL3_Contexts(t *testing.T) {
	b := theBed(t)
	version := "Stripe-Version: 2026-01-01"
	deep := strings.TrimSuffix(strings.Repeat(b.A+"/", 300), "/")
	nine := strings.TrimSuffix(strings.Repeat(b.D+"/", 9), "/")
	tests := []struct {
		name    string
		context string
		want    want
	}{
		{"not of the organization", b.C, accountInvalid},
		{"connected account without its platform", b.D, accountInvalid},
		{"other member behind a member", b.A + "/" + b.B, accountInvalid},
		{"member twice", b.A + "/" + b.A, accountInvalid},
		{"hop left out", b.A + "/" + b.E, accountInvalid},
		{"back up", b.A + "/" + b.D + "/" + b.A, accountInvalid},
		{"the organization itself", b.Org, contextInvalid},
		{"dot segment", b.A + "/../" + b.C, contextInvalid},
		{"encoded slash", b.A + "%2f" + b.D, contextInvalid},
		{"trailing slash", b.A + "/", contextInvalid},
		{"leading slash", "/" + b.A, contextInvalid},
		{"double slash", b.A + "//" + b.D, contextInvalid},
		{"blank inside", b.A + "/ " + b.D, contextInvalid},
		{"comma list", b.A + "," + b.B, contextInvalid},
		{"300 levels", deep, contextInvalid},
		{"nine levels", nine, contextInvalid},
		{"a key id", b.SK.ID, contextInvalid},
		{"NUL-like", b.A + "%00", contextInvalid},
		{"upper case prefix", strings.ToUpper(b.A[:5]) + b.A[5:], contextInvalid},
		{"unknown", "acct_" + strings.Repeat("z", 16), accountInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := b.calls()
			answer := b.send(t, b.any, get("/v1/customers", b.ORG.Token, version, "Stripe-Context: "+tt.context))
			e := answer.Error(t)
			if ok := e.Code == accountInvalid.code || e.Code == contextInvalid.code; !ok {
				t.Errorf("got %d %s, want %d %s", answer.Status, e.Code, tt.want.status, tt.want.code)
			} else if e.Code == tt.want.code {
				b.checkDenial(t, answer, tt.want)
			} else {
				t.Errorf("got %d %s, want %d %s", answer.Status, e.Code, tt.want.status, tt.want.code)
			}
			if b.calls() != before {
				t.Error("the backend was asked")
			}
		})
	}
	t.Run("1,000 levels", func(t *testing.T) { // refused before the directive, for its size
		before := b.calls()
		answer := b.send(t, b.any, get("/v1/customers", b.ORG.Token, version, "Stripe-Context: "+strings.Repeat(b.A+"/", 1000)+b.A))
		if answer.Status != 400 && answer.Status != 431 || b.calls() != before {
			t.Errorf("got %d with %d requests at the backend", answer.Status, b.calls()-before)
		}
	})
	t.Run("two headers", func(t *testing.T) {
		for _, lines := range [][]string{
			{"Stripe-Context: " + b.A, "Stripe-Context: " + b.B},
			{"Stripe-Context: " + b.A, "stripe-context: " + b.A},
			{"Stripe-Context: " + b.A, "Stripe-Account: " + b.B},
			{"Stripe-Account: " + b.A, "Stripe-Account: " + b.A},
			{"Stripe-Account: " + b.A + "/" + b.D},
		} {
			b.denied(t, b.any, get("/v1/customers", b.ORG.Token, append(lines, version)...), contextInvalid)
		}
	})
	t.Run("both and the same", func(t *testing.T) {
		_, got := b.passes(t, b.any, get("/v1/customers", b.ORG.Token, version, "Stripe-Context: "+b.A, "Stripe-Account: "+b.A))
		wantIdentity(t, got, ident(b.ORG, "live", b.A, "Resource", "customers", "Access", "read", "Owner", b.Org))
	})
	t.Run("the alias of a context header is no context", func(t *testing.T) {
		b.denied(t, b.any, get("/v1/customers", b.ORG.Token, version, "Stripe_Context: "+b.A), contextNeeded)
	})
}
