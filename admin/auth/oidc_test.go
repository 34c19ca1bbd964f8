package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// issuer is a small identity provider: it says of everybody what its claims say.
type issuer struct {
	*httptest.Server
	key, foreign *ecdsa.PrivateKey

	mu        sync.Mutex
	claims    map[string]any // over the usual ones
	forge     bool           // sign with another key
	challenge string         // of the last authorization
	nonce     string
}

const oidcSecret = "the secret of the client"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{claims: map[string]any{}}
	for _, key := range []**ecdsa.PrivateKey{&i.key, &i.foreign} {
		var err error
		if *key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // of a test
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{
			"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token", "jwks_uri": i.URL + "/keys",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &i.key.PublicKey, KeyID: "1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		_, secret, basic := r.BasicAuth()
		if !basic {
			secret = r.PostFormValue("client_secret")
		}
		secret, _ = url.QueryUnescape(secret)
		if base64.RawURLEncoding.EncodeToString(sum[:]) != i.challenge || secret != oidcSecret || r.PostFormValue("code") != "the code" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		answer(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": i.sign(t)})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) sign(t *testing.T) string {
	claims := map[string]any{
		"iss": i.URL, "aud": "keystile", "sub": "1", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"nonce": i.nonce, "email": "jenny@example.com", "email_verified": true, "name": "Jenny Rosen",
	}
	for name, value := range i.claims {
		claims[name] = value
	}
	key := i.key
	if i.forge {
		key = i.foreign
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
		return ""
	}
	signed, err := signer.Sign(body)
	if err != nil {
		t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return text
}

// TestOIDC: who is a member, or invited, comes in by a verified address; everything that is not this sign-in's own is refused.
func TestOIDC(t *testing.T) {
	t.Parallel()
	store := keystoretest.NewStore(t, keystore.Options{})
	sessions, err := auth.NewSessions(store, time.Now, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	by := keystore.Actor{Kind: "system"}
	owner := []keystore.Grant{{Role: keystore.RoleOwner}}
	member, _, err := store.InviteMember(t.Context(), by, keystore.MemberParams{Email: "jenny@example.com", Grants: owner}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t)
	provider, err := auth.NewOIDC(sessions, auth.OIDCOptions{Issuer: i.URL, ClientID: "keystile", ClientSecret: policy.TokenFrom(oidcSecret)})
	if err != nil {
		t.Fatal(err)
	}
	secure := func(r *http.Request) *http.Request {
		return r.WithContext(auth.WithClient(r.Context(), auth.Client{Secure: true}))
	}
	begin := func() (url.Values, *http.Cookie) {
		t.Helper()
		to, cookie, err := provider.Begin(secure(httptest.NewRequest("GET", "https://keys.example.com/v1/session/oidc", nil)))
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil || !strings.HasPrefix(to, i.URL+"/authorize?") {
			t.Fatalf("sent to %s", to)
		}
		q := u.Query()
		if cookie.Name != "__Host-keystile_oidc" || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode ||
			q.Get("redirect_uri") != "https://keys.example.com/v1/session/oidc/callback" || q.Get("code_challenge_method") != "S256" {
			t.Errorf("cookie %+v, query %v", cookie, q)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.challenge, i.nonce = q.Get("code_challenge"), q.Get("nonce")
		return q, cookie
	}
	finish := func(query string, cookies ...*http.Cookie) (*auth.Session, []*http.Cookie, error) {
		r := httptest.NewRequest("GET", "https://keys.example.com"+auth.OIDCCallbackPath+"?"+query, nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return provider.Finish(secure(r))
	}
	for what, test := range map[string]struct {
		claims map[string]any
		forge  bool
		query  func(state string) string
	}{
		"unverified":      {claims: map[string]any{"email_verified": false}},
		"verified as 1":   {claims: map[string]any{"email_verified": 1}},
		"no address":      {claims: map[string]any{"email": ""}},
		"a stranger":      {claims: map[string]any{"email": "stranger@example.com"}},
		"another nonce":   {claims: map[string]any{"nonce": "x"}},
		"another client":  {claims: map[string]any{"aud": "x"}},
		"another issuer":  {claims: map[string]any{"iss": "https://evil.example"}},
		"expired":         {claims: map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}},
		"a foreign key":   {forge: true},
		"another code":    {query: func(state string) string { return "code=x&state=" + state }},
		"another state":   {query: func(string) string { return "code=the+code&state=x" }},
		"two states":      {query: func(state string) string { return "code=the+code&state=" + state + "&state=x" }},
		"an error":        {query: func(state string) string { return "error=access_denied&state=" + state }},
		"an error, and a": {query: func(state string) string { return "error=access_denied&code=the+code&state=" + state }},
		"nothing":         {query: func(string) string { return "" }},
	} {
		q, cookie := begin()
		i.mu.Lock()
		i.forge = test.forge
		if i.claims = test.claims; i.claims == nil {
			i.claims = map[string]any{}
		}
		i.mu.Unlock()
		query := "code=the+code&state=" + q.Get("state")
		if test.query != nil {
			query = test.query(q.Get("state"))
		}
		if s, _, err := finish(query, cookie); err == nil {
			t.Errorf("%s: signed in as %s", what, s.Member.ID)
		}
	}
	i.mu.Lock()
	i.claims, i.forge = map[string]any{}, false
	i.mu.Unlock()
	q, cookie := begin()
	good := "code=the+code&state=" + q.Get("state") + "&scope=openid&authuser=0"
	if _, _, err := finish(good); err == nil {
		t.Error("signed in without the cookie")
	}
	bent := *cookie
	bent.Value = bent.Value[:20] + strings.Map(func(r rune) rune { return 'A' + ('z'-r)%26 }, bent.Value[20:24]) + bent.Value[24:]
	if _, _, err := finish(good, &bent); err == nil {
		t.Error("signed in with another cookie")
	}
	if store.Snapshot().Sessions(member.ID) != nil {
		t.Error("there is a session")
	}
	s, cookies, err := finish(good, cookie)
	if err != nil {
		t.Fatal(err)
	}
	if s.Member.ID != member.ID || !s.Member.Active || s.Member.Name != "Jenny Rosen" || s.Row.Method != keystore.SignInOIDC || len(cookies) != 2 || cookies[0].MaxAge >= 0 {
		t.Errorf("signed in as %+v with %v", s.Member, cookies)
	}
	if c := cookies[1]; c.Name != "__Host-keystile_session" || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Domain != "" || c.Path != "/" {
		t.Errorf("the session's cookie is %+v", c)
	}
	if now, _ := store.Snapshot().Member(member.ID); !now.EmailProven {
		t.Error("the provider's word for the address is not noted")
	}
	// Who has another address now proves it by the provider, and is alone then. A password may be of somebody who was there
	// before: with one the provider's word proves nothing.
	comeBack := func(email string) *keystore.Member {
		t.Helper()
		i.mu.Lock()
		i.claims = map[string]any{"email": email}
		i.mu.Unlock()
		q, cookie := begin()
		s, _, err := finish("code=the+code&state="+q.Get("state"), cookie)
		if err != nil {
			t.Fatal(err)
		}
		now, _ := store.Snapshot().Member(s.Member.ID)
		return now
	}
	if _, err := store.UpdateMember(t.Context(), by, member.ID, keystore.MemberPatch{Email: keystore.To("rosen@example.com")}); err != nil {
		t.Fatal(err)
	}
	if now, _ := store.Snapshot().Member(member.ID); now.EmailProven {
		t.Error("another address counts as proven")
	}
	if now := comeBack("rosen@example.com"); !now.EmailProven || len(store.Snapshot().Sessions(member.ID)) != 1 {
		t.Errorf("proven %v, with %d sessions", now.EmailProven, len(store.Snapshot().Sessions(member.ID)))
	}
	_, invitation, err := store.InviteMember(t.Context(), by, keystore.MemberParams{Email: "boss@example.com", Grants: owner}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	digest := invitation.Digest()
	if _, err := store.AcceptInvitation(t.Context(), by, &digest, keystore.Acceptance{Name: "x", Password: policy.TokenFrom("a hash")}); err != nil {
		t.Fatal(err)
	}
	if now := comeBack("boss@example.com"); now.EmailProven {
		t.Error("a password that somebody else may have set is left to a member whose address is proven")
	}
	// with no password, enrolling an app takes a fresh sign-in, not only a cookie
	if _, err := sessions.BeginTOTP(t.Context(), s, policy.Token{}); err != nil {
		t.Errorf("just signed in: %v", err)
	}
	old := *s.Row
	old.CreatedAt = old.CreatedAt.Add(-time.Hour)
	s.Row = &old
	if _, err := sessions.BeginTOTP(t.Context(), s, policy.Token{}); err == nil {
		t.Error("an hour later an app is enrolled without a question")
	}
}

func TestOIDCOptions(t *testing.T) {
	t.Parallel()
	for what, o := range map[string]auth.OIDCOptions{
		"clear":     {Issuer: "http://login.example.com", ClientID: "x"},
		"no issuer": {ClientID: "x"},
		"no client": {Issuer: "https://login.example.com"},
		"query":     {Issuer: "https://login.example.com?x", ClientID: "x"},
	} {
		if err := auth.CheckOIDC(&o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
