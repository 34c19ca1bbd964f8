package auth

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/zap"
	"golang.org/x/oauth2"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

const (
	// OIDCCallbackPath is where the identity provider sends members back to.
	OIDCCallbackPath = "/v1/session/oidc/callback"

	oidcTime       = 10 * time.Minute // from the way out to the way back
	oidcNetTime    = 10 * time.Second
	oidcSay        = time.Minute     // between log lines of a provider that stays away: anybody can have it asked
	oidcRetry      = 5 * time.Second // after a provider could not be found; the calls meanwhile do not wait for it one after the other
	oidcCookieName = "keystile_oidc"
	oidcPurpose    = "identity provider"
)

// OIDCOptions say which identity provider signs members in.
type OIDCOptions struct {
	Issuer       string // URL
	ClientID     string
	ClientSecret policy.Token // zero: a public client
}

// OIDC signs members in by an identity provider (OpenID Connect, authorization code with PKCE). Who they are is said by an
// e-mail address that the provider has verified, and only members who are there, or are invited, come in by it. What else a
// member has to show, such as a second factor, is the provider's to ask for.
type OIDC struct {
	sessions *Sessions
	o        OIDCOptions
	client   *http.Client

	mu       sync.Mutex
	provider *oidc.Provider // nil: not found yet
	lost     error          // why it was not found, at the last try
	asked    time.Time      // when that was
	said     time.Time      // when the log was told last that the provider cannot be asked
}

// NewOIDC checks the options. It connects to nothing: a provider that is away must not keep the gateway from starting.
func NewOIDC(sessions *Sessions, o OIDCOptions) (*OIDC, error) {
	if err := CheckOIDC(&o); err != nil {
		return nil, err
	}
	return &OIDC{sessions: sessions, o: o, client: &http.Client{Timeout: oidcNetTime}}, nil
}

// CheckOIDC says what is wrong with options.
func CheckOIDC(o *OIDCOptions) error {
	u, err := url.Parse(o.Issuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("issuer: want the provider's URL, such as https://login.example.com")
	case u.Scheme == "http" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1":
		return errors.New("issuer: want https")
	case o.ClientID == "":
		return errors.New("client_id is missing")
	}
	return nil
}

// oidcState is what has to come back. It is sealed into a cookie, so that any node can take it.
type oidcState struct {
	State, Nonce, Verifier string
	Redirect               string
	Expires                time.Time
}

func (o *OIDC) find(ctx context.Context) (*oidc.Provider, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider != nil {
		return o.provider, nil
	}
	if since := o.sessions.Now().Sub(o.asked); o.lost != nil && since >= 0 && since < oidcRetry {
		return nil, o.lost
	}
	// Not the request's context: the provider keeps it for fetching keys later.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), o.client), o.o.Issuer)
	if o.lost = err; err != nil {
		o.asked = o.sessions.Now()
		return nil, err
	}
	o.provider = provider
	return provider, nil
}

func (o *OIDC) config(p *oidc.Provider, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: o.o.ClientID, ClientSecret: o.o.ClientSecret.Reveal(), Endpoint: p.Endpoint(), RedirectURL: redirect,
		Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// Begin answers the URL of the provider to go to, and the cookie that has to come back with its answer.
func (o *OIDC) Begin(r *http.Request) (string, *http.Cookie, error) {
	client := ClientFrom(r.Context())
	provider, err := o.find(r.Context())
	if err != nil {
		return "", nil, o.away(err)
	}
	scheme := "http"
	if client.Secure {
		scheme = "https"
	}
	// The host is the client's word; a provider sends nobody to where it was not told of before.
	s := oidcState{Redirect: scheme + "://" + r.Host + client.Prefix + OIDCCallbackPath, Verifier: oauth2.GenerateVerifier(), Expires: o.sessions.Now().Add(oidcTime)}
	for _, text := range []*string{&s.State, &s.Nonce} {
		if *text, err = randomText("", 32); err != nil {
			return "", nil, err
		}
	}
	plain, err := json.Marshal(s)
	if err != nil {
		return "", nil, fmt.Errorf("encoding a state: %w", err)
	}
	sealed, err := o.sessions.Store.SealText(oidcPurpose, plain)
	if err != nil {
		return "", nil, err
	}
	to := o.config(provider, s.Redirect).AuthCodeURL(s.State, oidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier))
	return to, oidcCookie(client, base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// oidcCookie has to come back when another site, the provider, sends the browser here: SameSite is Lax therefore. It signs
// nobody in.
func oidcCookie(c Client, value string) *http.Cookie {
	name := oidcCookieName
	if c.Secure {
		name = "__Host-" + name
	}
	out := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode, MaxAge: int(oidcTime / time.Second)}
	if value == "" {
		out.MaxAge = -1
	}
	return out
}

// Finish signs in who comes back from the provider. The cookies are to be set in any case.
func (o *OIDC) Finish(r *http.Request) (s *Session, cookies []*http.Cookie, err error) {
	ctx, now := r.Context(), o.sessions.Now()
	client := ClientFrom(ctx)
	cookies = []*http.Cookie{oidcCookie(client, "")}
	if err := o.sessions.cutOff(now); err != nil {
		return nil, cookies, err
	}
	if err := o.sessions.lockedOut(ctx, "", now); err != nil {
		return nil, cookies, err
	}
	state, err := o.state(r, cookies[0].Name, now)
	if err != nil {
		return nil, cookies, err
	}
	email, name, err := o.exchange(ctx, state, r.URL.Query().Get("code"))
	if err != nil {
		o.sessions.failed(ctx, "", now)
		return nil, cookies, err
	}
	m, ok := o.sessions.Store.Snapshot().MemberByEmail(email)
	if ok && !m.Active && m.Invited(now) {
		actor := keystore.Actor{Kind: "member", ID: m.ID, Name: m.Name}
		if client.Address.IsValid() {
			actor.Address = client.Address.String()
		}
		if m, err = o.sessions.Store.ActivateMember(context.WithoutCancel(ctx), actor, m.ID, email, name); err != nil {
			return nil, cookies, err
		}
	}
	if !ok || !m.Active {
		return nil, cookies, forbidden(CodeCredentials, "nobody with the e-mail address that your identity provider names is a member here: ask the owner for an invitation")
	}
	s, cookie, err := o.sessions.start(r, m, keystore.SignInOIDC)
	if err != nil {
		return nil, cookies, err
	}
	// A password was set by somebody who has not shown the address to be theirs, and would still open: then nothing is proven.
	if !m.EmailProven && !m.HasPassword {
		if err := o.sessions.Store.ProveEmail(context.WithoutCancel(ctx), s.Actor(), m.ID, email, s.Row.ID); err != nil {
			return nil, cookies, err
		}
	}
	return s, append(cookies, cookie), nil
}

// state opens the cookie and compares it with what the provider sends back.
func (o *OIDC) state(r *http.Request, name string, now time.Time) (*oidcState, error) {
	again := forbidden(CodeSignInAgain, "this sign-in was begun elsewhere, or too long ago: begin again")
	found := r.CookiesNamed(name)
	query := r.URL.Query()
	if len(found) != 1 || len(query["state"]) != 1 || len(query["code"]) > 1 {
		return nil, again
	}
	sealed, err := base64.RawURLEncoding.DecodeString(found[0].Value)
	if err != nil {
		return nil, again
	}
	plain, err := o.sessions.Store.OpenText(oidcPurpose, sealed)
	if err != nil {
		return nil, again
	}
	s := new(oidcState)
	if err := json.Unmarshal(plain, s); err != nil || !now.Before(s.Expires) ||
		subtle.ConstantTimeCompare([]byte(s.State), []byte(query.Get("state"))) != 1 {
		return nil, again
	}
	if query.Has("error") || !query.Has("code") {
		return nil, forbidden(CodeCredentials, "the identity provider did not sign you in")
	}
	return s, nil
}

// exchange asks the provider who came, and believes what it has signed for this sign-in.
func (o *OIDC) exchange(ctx context.Context, s *oidcState, code string) (email, name string, err error) {
	provider, err := o.find(ctx)
	if err != nil {
		return "", "", o.away(err)
	}
	ctx = oidc.ClientContext(ctx, o.client)
	token, err := o.config(provider, s.Redirect).Exchange(ctx, code, oauth2.VerifierOption(s.Verifier))
	if err != nil {
		return "", "", o.away(errors.New("the exchange of the code failed")) // the library's text may hold the answer
	}
	refused := forbidden(CodeCredentials, "what the identity provider said of you cannot be believed: begin again")
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return "", "", refused
	}
	id, err := provider.Verifier(&oidc.Config{ClientID: o.o.ClientID, Now: o.sessions.Now}).Verify(ctx, raw)
	if err != nil || subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(s.Nonce)) != 1 {
		return "", "", refused
	}
	var claims struct {
		Email    string `json:"email"`
		Verified any    `json:"email_verified"` // some providers send it as text
		Name     string `json:"name"`
	}
	if err := id.Claims(&claims); err != nil {
		return "", "", refused
	}
	if claims.Email == "" || claims.Verified != true && claims.Verified != "true" {
		return "", "", forbidden(CodeCredentials, "your identity provider has not verified your e-mail address")
	}
	return claims.Email, strings.TrimSpace(claims.Name), nil
}

func (o *OIDC) away(err error) error {
	if o.say(o.sessions.Now()) {
		o.sessions.Logger.Error("asking the identity provider", zap.String("issuer", o.o.Issuer), zap.Error(err))
	}
	return &Refusal{Status: http.StatusServiceUnavailable, Code: CodeProviderAway, Message: "the identity provider cannot be asked at this moment: try again"}
}

// say says whether the log is to be told that the provider cannot be asked.
func (o *OIDC) say(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if since := now.Sub(o.said); !o.said.IsZero() && since >= 0 && since < oidcSay {
		return false
	}
	o.said = now
	return true
}
