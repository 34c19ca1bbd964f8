package api

import (
	"encoding/base64"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/keystore"
)

// KeySetPath is where the public keys are served that verify the gateway's assertions.
const KeySetPath = "/.well-known/jwks.json"

// keySetMaxAge is how long the key set may be kept, in a Cache-Control header. It bounds how soon a new key may sign: not
// before every copy of the set without it has expired.
const keySetMaxAge = "public, max-age=300"

// KeySet is a JSON Web Key Set (RFC 7517).
type KeySet struct {
	Keys []PublicKey `json:"keys" nullable:"false" doc:"Newest first: the newest signs, all verify. Empty until an assertion is asked for"`
}

// PublicKey is a public signing key as a JSON Web Key, in the form of RFC 8037.
type PublicKey struct {
	KeyType   string `json:"kty" enum:"OKP" doc:"Kind of key"`
	Curve     string `json:"crv" enum:"Ed25519" doc:"Curve of the key"`
	Use       string `json:"use" enum:"sig" doc:"What the key is for"`
	Algorithm string `json:"alg" enum:"EdDSA" doc:"Algorithm of the signatures"`
	ID        string `json:"kid" doc:"Id of the key: its RFC 7638 thumbprint. Assertions name it in their header"`
	X         string `json:"x" doc:"The public key, base64url"`
}

// JWKS serves the public keys that verify the gateway's assertions, at KeySetPath, and nothing else. It asks nobody for a
// credential: mount it in front of whatever does. The handler of New serves the same path, without a credential too.
func JWKS(store *keystore.Store, logger *zap.Logger) http.Handler {
	if logger == nil {
		logger = zap.NewNop()
	}
	a := &API{Config: Config{Store: store, Now: time.Now, Logger: logger}}
	a.newDocument()
	a.registerKeySet()
	return a
}

type keySetInput struct{}

func (a *API) registerKeySet() {
	handle(a, operation{
		method: http.MethodGet, path: KeySetPath, id: "get_key_set", tag: "assertions",
		summary: "Get the keys that verify assertions",
		description: "The public keys of the Ed25519 signatures in the assertion header that backends receive from sites with `sign on`, " +
			"as a JSON Web Key Set. It needs no credential, and may be kept for five minutes.",
	}, a.getKeySet)
}

func (a *API) getKeySet(c *call, _ *keySetInput) (*KeySet, error) {
	keys, err := a.Store.VerificationKeys(c.ctx)
	if err != nil {
		return nil, err
	}
	set := &KeySet{Keys: make([]PublicKey, 0, len(keys))}
	for _, k := range keys {
		set.Keys = append(set.Keys, PublicKey{
			KeyType: "OKP", Curve: "Ed25519", Use: "sig", Algorithm: "EdDSA",
			ID: k.ID, X: base64.RawURLEncoding.EncodeToString(k.Public),
		})
	}
	if len(keys) > 0 { // an empty set is about to change
		c.w.Header().Set("Cache-Control", keySetMaxAge)
	}
	return set, nil
}
