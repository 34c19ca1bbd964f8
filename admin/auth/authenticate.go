package auth

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// Tokens authenticates calls by admin token.
type Tokens struct {
	Store *keystore.Store
	Now   func() time.Time
}

// Caller finds who makes a request that comes from the address, by its one Authorization header. The error is always a
// *[Refusal].
func (a *Tokens) Caller(r *http.Request, from netip.Addr) (*Caller, error) {
	credential, err := bearer(r.Header)
	if err != nil {
		return nil, err
	}
	if !policy.IsAdminToken(credential) {
		return nil, unknown()
	}
	if a.Store.Stale(a.Now()) {
		return nil, &Refusal{
			Status: http.StatusServiceUnavailable, Code: string(keystore.CodeUnavailable),
			Message: "this node has been cut off from the key store for too long to know which admin tokens are still good",
		}
	}
	digest := policy.DigestOf(credential)
	find := func() (*keystore.AdminToken, bool) { return a.Store.Snapshot().AdminTokenByDigest(&digest) }
	token, ok := find()
	if !ok {
		return nil, unknown()
	}
	now := a.Now()
	if token.Expired(now) {
		return nil, &Refusal{Status: http.StatusUnauthorized, Code: CodeExpired, Message: "the admin token has expired"}
	}
	a.Store.TouchAdminToken(token, now, from)
	actor := keystore.Actor{Kind: "admin_token", ID: token.ID, Name: token.Name}
	if from.IsValid() {
		actor.Address = from.String()
	}
	return &Caller{
		Actor: actor, Role: token.Role, Organization: token.Organization, Account: token.Account, ExpiresAt: token.ExpiresAt,
		valid: func() bool {
			t, ok := find()
			now := a.Now()
			return ok && !t.Expired(now) && !a.Store.Stale(now)
		},
	}, nil
}

// bearer reads the credential. One line, one scheme, one word: anything else has two readings. What was sent is not
// repeated anywhere.
func bearer(h http.Header) (string, error) {
	lines := h.Values("Authorization")
	if len(lines) == 0 {
		return "", &Refusal{
			Status: http.StatusUnauthorized, Code: CodeRequired,
			Message: "this call needs an admin token: Authorization: Bearer adm_…",
		}
	}
	scheme, credential, ok := strings.Cut(lines[0], " ")
	if len(lines) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", unknown()
	}
	return strings.Trim(credential, " "), nil
}

// unknown is the answer to every credential that is not ours, whatever is wrong with it.
func unknown() *Refusal {
	return &Refusal{
		Status: http.StatusUnauthorized, Code: CodeInvalid, Guess: true,
		Message: "the credential is not a valid admin token; it is sent as Authorization: Bearer adm_…",
	}
}
