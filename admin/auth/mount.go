package auth

import (
	"net/http"
)

// Mount finds the callers of an API that is mounted where browsers and programs reach it.
type Mount struct {
	Sessions *Sessions
	Tokens   func(r *http.Request, client Client) (*Caller, error) // finds the holder of an admin token
}

// Caller finds who makes a request: whom this process says ([WithCaller]), else the signed-in member, else the holder of an
// admin token. A cookie that is no good does not stand in the way of a token.
func (m *Mount) Caller(r *http.Request) (*Caller, error) {
	if c := CallerFrom(r.Context()); c != nil {
		return c, nil
	}
	if HasCookie(r) {
		c, err := m.Sessions.Caller(r)
		if refusal, ok := asRefusal(err); !ok || refusal.Code != CodeRequired || r.Header.Get("Authorization") == "" {
			return c, err
		}
	}
	return m.Tokens(r, ClientFrom(r.Context()))
}
