package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

const (
	assertionIssuer = "keystile"
	// assertionLife is how long a backend may accept an assertion: long enough for a clock that is a little off, too short
	// to be of use to whoever finds one in a log.
	assertionLife = 60 * time.Second
)

// claims are what an assertion says: the facts of the identity headers under their names, and what ties it to one
// request. What says nothing is left out, as with the headers.
type claims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"` // the key's id, never its token
	Audience  string `json:"aud,omitempty"`
	IssuedAt  int64  `json:"iat"`
	Expires   int64  `json:"exp"`
	RequestID string `json:"jti"`
	Kind      string `json:"kind"`
	Mode      string `json:"mode"`
	Account   string `json:"account"`
	Owner     string `json:"owner,omitempty"`
	Connected bool   `json:"connected,omitempty"`
	Sandbox   string `json:"sandbox,omitempty"`
	Resource  string `json:"resource,omitempty"`
	Access    string `json:"access,omitempty"`
	Version   string `json:"version,omitempty"`
	Method    string `json:"method"`
	Path      string `json:"path"`
}

// asserter writes the signed assertion of the sites with `sign on`; the others have none.
type asserter struct {
	header string // canonical name
	last   atomic.Pointer[tokenSigner]
}

// tokenSigner makes JSON Web Tokens with one of the store's signers.
type tokenSigner struct {
	of   *keystore.Signer
	jose jose.Signer
}

// newAsserter makes the asserter of a site, nil if it does not sign.
func newAsserter(sign bool, prefix string) *asserter {
	if !sign {
		return nil
	}
	return &asserter{header: http.CanonicalHeaderKey(prefix + "Assertion")}
}

// prepareSigning makes sure that the key is there before the first request wants it, if any site signs: a store that
// cannot give it stops the config from loading.
func (a *App) prepareSigning(g *gate) error {
	a.run.sites.mu.Lock()
	defer a.run.sites.mu.Unlock()
	for _, h := range a.run.sites.handlers {
		if h.asserts == nil {
			continue
		}
		if _, err := g.store.Signer(a.run.ctx); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		return nil
	}
	return nil
}

// assert adds the assertion to a request that is about to be handed on, where the site wants one and a key was checked.
// If it cannot be made, the request is refused: a backend that does not insist on it would take it for unsigned traffic of
// another way in (fail closed).
func (x *exchange) assert(r *http.Request) bool {
	a := x.handler.asserts
	if a == nil || x.verdict.key == nil {
		return true
	}
	token, err := a.token(r.Context(), x.gate.store, x.claims(r.Host))
	if err != nil {
		x.verdict.decision.Reason = policy.ReasonGatewayUnavailable
		x.complain(x.handler.unsigned, "cannot sign the assertion", err)
		return false
	}
	r.Header[a.header] = x.values.one(token)
	return true
}

// claims are the facts of this request. See [exchange.identify], which must say the same.
func (x *exchange) claims(host string) *claims {
	d, key := &x.verdict.decision, x.verdict.key
	c := &claims{
		Issuer: assertionIssuer, Subject: key.ID, Audience: audience(host),
		IssuedAt: x.start.Unix(), Expires: x.start.Add(assertionLife).Unix(), RequestID: x.verdict.requestID,
		Kind: key.Kind.String(), Mode: key.Mode.String(), Account: d.Account, Connected: d.Connected, Sandbox: d.Sandbox,
		Access: routeAccess(d), Version: d.Version, Method: x.question.Method, Path: x.question.Path,
	}
	if d.Owner != d.Account {
		c.Owner = d.Owner
	}
	if d.Route.Known {
		c.Resource = d.Route.Resource
	}
	return c
}

// audience is the host that a request is for: in lower case, without port, and without the brackets of IPv6.
func audience(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// token signs the claims with the newest key of the store.
func (a *asserter) token(ctx context.Context, store *keystore.Store, c *claims) (string, error) {
	signer, err := store.Signer(ctx)
	if err != nil {
		return "", err
	}
	maker := a.last.Load()
	if maker == nil || maker.of != signer {
		if maker, err = newTokenSigner(signer); err != nil {
			return "", err
		}
		a.last.Store(maker)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signed, err := maker.jose.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func newTokenSigner(signer *keystore.Signer) (*tokenSigner, error) {
	options := new(jose.SignerOptions).WithType("JWT")
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: opaqueKey{signer}}, options)
	if err != nil {
		return nil, err
	}
	return &tokenSigner{of: signer, jose: s}, nil
}

// opaqueKey lets the library sign without ever holding the private key.
type opaqueKey struct{ signer *keystore.Signer }

// Public names the key in the header of what it signs.
func (k opaqueKey) Public() *jose.JSONWebKey {
	return &jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.signer.KeyID(), Algorithm: string(jose.EdDSA), Use: "sig"}
}

// Algs are the algorithms that the key can sign with.
func (k opaqueKey) Algs() []jose.SignatureAlgorithm { return []jose.SignatureAlgorithm{jose.EdDSA} }

// SignPayload signs. The library has checked the algorithm against Algs.
func (k opaqueKey) SignPayload(payload []byte, _ jose.SignatureAlgorithm) ([]byte, error) {
	return k.signer.Sign(payload), nil
}

// Interface guard
var _ jose.OpaqueSigner = opaqueKey{}
