package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// identityProvider is a small OpenID Connect provider with a page on which one says who one is. It insists on PKCE: a code is
// exchanged only with the verifier of the challenge that it was asked for with.
type identityProvider struct {
	*httptest.Server

	t   *testing.T
	key *ecdsa.PrivateKey

	mu        sync.Mutex
	codes     map[string]url.Values // what was asked for, and who came, by code
	exchanged int
	refused   []string // why an exchange was refused
	secrets   []string // what it was sent, and what it gave out, beside its client's secret

	loud atomic.Bool // it refuses each exchange, and says back all that it was sent
	junk atomic.Bool // it answers with what is no answer, and says back all that it was sent
}

const providerSecret = "secret-of-the-client-at-the-provider"

// providerPage is where one signs in at the provider.
var providerPage = template.Must(template.New("").Parse(`<!doctype html><html lang="en"><title>Provider</title><main><h1>The identity provider</h1>
<form method="post" action="/authorize"><input type="hidden" name="asked" value="{{.}}"><label>E-mail <input id="as" name="email"></label>
<label><input type="checkbox" id="unverified" name="unverified" value="yes">not verified</label><button id="yes">Continue</button><button id="no" name="deny" value="yes">Deny</button></form></main></html>`))

func newIdentityProvider(t *testing.T) *identityProvider {
	t.Helper()
	p := &identityProvider{t: t, codes: map[string]url.Values{}}
	var err error
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // the gateway's loss, which the test sees
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &p.key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /authorize", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = providerPage.Execute(w, r.URL.RawQuery)
	})
	mux.HandleFunc("POST /authorize", p.authorize)
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		asked, why := p.exchange(r)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.secrets = append(p.secrets, r.PostFormValue("code_verifier"))
		if echo := fmt.Sprintf(`{"error":%q,"error_description":%q}`, r.Header, r.PostForm); p.loud.Load() || p.junk.Load() {
			if p.loud.Load() {
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = io.WriteString(w, echo) // the gateway's loss, which the test sees
			return
		}
		if why != "" {
			p.refused = append(p.refused, why)
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		p.exchanged++
		given := p.sign(asked)
		p.secrets = append(p.secrets, given)
		answer(w, map[string]any{"access_token": "of no use", "token_type": "Bearer", "id_token": given})
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// authorize sends the browser back with a code, or with an error.
func (p *identityProvider) authorize(w http.ResponseWriter, r *http.Request) {
	asked, err := url.ParseQuery(r.PostFormValue("asked"))
	if err != nil || asked.Get("response_type") != "code" || asked.Get("code_challenge_method") != "S256" || asked.Get("client_id") != "keystile" {
		p.t.Errorf("asked for %v (%v)", asked, err)
	}
	back := url.Values{"state": {asked.Get("state")}}
	if r.PostFormValue("deny") != "" {
		back.Set("error", "access_denied")
	} else {
		asked.Set("email", r.PostFormValue("email"))
		asked.Set("unverified", r.PostFormValue("unverified"))
		code := rand.Text()
		back.Set("code", code)
		p.mu.Lock()
		p.codes[code] = asked
		p.mu.Unlock()
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+back.Encode(), http.StatusSeeOther)
}

// exchange finds what a code stands for, or says why not.
func (p *identityProvider) exchange(r *http.Request) (url.Values, string) {
	code := r.PostFormValue("code")
	p.mu.Lock()
	asked := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	_, secret, basic := r.BasicAuth()
	if !basic {
		secret = r.PostFormValue("client_secret")
	}
	switch {
	case asked == nil:
		return nil, "unknown code"
	case base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge"):
		return nil, "the verifier is not that of the challenge"
	case r.PostFormValue("redirect_uri") != asked.Get("redirect_uri"):
		return nil, "another address to come back to"
	case secret != providerSecret:
		return nil, "wrong secret"
	}
	return asked, ""
}

func (p *identityProvider) sign(asked url.Values) string {
	claims, err := json.Marshal(map[string]any{
		"iss": p.URL, "aud": "keystile", "sub": asked.Get("email"), "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"nonce": asked.Get("nonce"), "email": asked.Get("email"), "email_verified": asked.Get("unverified") == "", "name": "Jenny Rosen",
	})
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: p.key, KeyID: "1"}}, nil)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		p.t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}
