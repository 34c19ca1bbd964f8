package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// asserted is what a backend reads out of an assertion.
type asserted struct {
	jwt.Claims
	Kind     string `json:"kind"`
	Mode     string `json:"mode"`
	Account  string `json:"account"`
	Sandbox  string `json:"sandbox"`
	Resource string `json:"resource"`
	Access   string `json:"access"`
	Method   string `json:"method"`
	Path     string `json:"path"`
}

// keySet fetches the public keys as a backend would.
func keySet(t *testing.T, a *gatetest.Admin) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	a.Do(t, "GET", "/.well-known/jwks.json", nil, &set)
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() || k.Algorithm != "EdDSA" || k.Use != "sig" {
			t.Errorf("the key set holds %s: valid %t, public %t, alg %s, use %s", k.KeyID, k.Valid(), k.IsPublic(), k.Algorithm, k.Use)
		}
	}
	return set
}

// verify checks an assertion as a backend should: signature, issuer, audience, time.
func verify(t *testing.T, token string, set jose.JSONWebKeySet) asserted {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatalf("parsing %.80q…: %v", token, err)
	}
	var out asserted
	if err := parsed.Claims(set, &out); err != nil {
		t.Fatalf("verifying: %v", err)
	}
	now := time.Now()
	expected := jwt.Expected{Issuer: "keystile", AnyAudience: jwt.Audience{"api.example.com"}, Time: now}
	if err := out.ValidateWithLeeway(expected, 2*time.Second); err != nil {
		t.Errorf("now: %v", err)
	}
	expected.Time = now.Add(70 * time.Second)
	if err := out.ValidateWithLeeway(expected, 0); err == nil {
		t.Error("70 s later it is still valid")
	}
	return out
}

// TestAssertionFromOutside: the backend receives the assertion and verifies it with the fetched keys, before and after a
// restart; it receives none without the word, none on an open route without a key, and none of a client's making.
func TestAssertionFromOutside(t *testing.T) {
	echo := gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	var sites strings.Builder
	site := func(words string) string {
		port := gatetest.FreePort(t)
		fmt.Fprintf(&sites, "http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\topen /public/*\n\t%s\n\t}\n\treverse_proxy %s\n}\n", port, words, echo.Addr)
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	signed, plain := site("sign on"), site("")
	config := gatetest.Config{Keystile: gatetest.Catalog, Sites: sites.String()}
	g.WriteConfig(t, config.Text(g))
	g.Start(t)
	account := g.Admin.CreateAccount(t, "signed", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	set := keySet(t, g.Admin)
	if len(set.Keys) != 1 {
		t.Fatalf("%d keys before the first request, want 1", len(set.Keys))
	}

	forged := []string{"Keystile-Assertion: forged", "keystile-assertion: forged", "KEYSTILE-ASSERTION: forged"}
	ask := func(addr, request string) *gatetest.Received {
		t.Helper()
		before := echo.Count()
		answer, err := gatetest.Send(addr, "127.0.0.1", request)
		if err != nil {
			t.Fatal(err)
		}
		got := echo.Requests(before)
		if answer.Status != 200 || len(got) != 1 {
			t.Fatalf("got status %d and %d requests at the backend, want 200 and 1; body: %.300s", answer.Status, len(got), answer.Body)
		}
		return got[0]
	}
	once := func(request string) (string, *gatetest.Received) {
		t.Helper()
		got := ask(signed, request)
		lines := got.Folded("Keystile-Assertion")
		if len(lines) != 1 || lines[0].Name != "Keystile-Assertion" {
			t.Fatalf("the backend received %d assertions, want 1", len(lines))
		}
		return lines[0].Value, got
	}
	check := func(request string) string {
		t.Helper()
		token, got := once(request)
		a := verify(t, token, set)
		id := got.Exact("Keystile-Request-Id")
		want := asserted{
			Claims: a.Claims, Kind: "secret", Mode: "sandbox", Account: account, Sandbox: key.Sandbox,
			Resource: "customers", Access: "write", Method: "POST", Path: "/v1/customers",
		}
		if fmt.Sprint(a) != fmt.Sprint(want) || a.Subject != key.ID || len(id) != 1 || a.ID != id[0] {
			t.Errorf("claims %+v, want %+v of %s, request %v", a, want, key.ID, id)
		}
		return token
	}
	request := func(lines ...string) string {
		return gatetest.Request("POST", "/v1/customers?x=1", "", append([]string{gatetest.Bearer(key.Token)}, lines...)...)
	}
	token := check(request())
	check(request(forged...))

	// another's key of the same id does not verify it
	other := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{KeyID: set.Keys[0].KeyID, Key: otherKey(t)}}}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	if err := parsed.Claims(other, &asserted{}); err == nil {
		t.Error("verifies with another key of the same id")
	}

	for name, got := range map[string]*gatetest.Received{
		"without the word": ask(plain, gatetest.Request("POST", "/v1/customers", "", append([]string{gatetest.Bearer(key.Token)}, forged...)...)),
		"open route":       ask(signed, gatetest.Request("GET", "/public/x", "", forged...)),
	} {
		if lines := got.Folded("Keystile-Assertion"); len(lines) != 0 {
			t.Errorf("%s: the backend received %v", name, lines)
		}
	}

	g.Stop(t)
	g.Start(t)
	again := keySet(t, g.Admin)
	before, _ := json.Marshal(set)
	after, _ := json.Marshal(again)
	if string(before) != string(after) {
		t.Errorf("after a restart the key set is %s, want %s", after, before)
	}
	check(request())

	stdout, stderr := g.Output()
	if strings.Contains(stdout+stderr, token) {
		t.Error("the log holds an assertion")
	}
}

// otherKey is the example of RFC 8037, appendix A.2.
func otherKey(t *testing.T) any {
	t.Helper()
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)); err != nil {
		t.Fatal(err)
	}
	return k.Key
}
