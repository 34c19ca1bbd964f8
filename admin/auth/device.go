package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

// Wrong passwords lock an e-mail address out for a while, and anybody can type wrong passwords. A browser in which a member has
// signed in before keeps a cookie that says so, and has a count of its own: others' guesses do not keep the member out of it.
// The cookie signs nobody in, and saves nobody a step. It ends with the password: whoever has known one can sign in any number of times,
// and must not keep as many counts to guess the next one with.

const (
	deviceCookieName = "keystile_device"
	devicePurpose    = "device of a member"
	// deviceLifetime is how long a browser is remembered.
	deviceLifetime = 180 * 24 * time.Hour
)

// device is what the cookie says, sealed.
type device struct {
	Member   string    `json:"m"`
	ID       string    `json:"d"`
	Until    time.Time `json:"u"`
	Password []byte    `json:"p"`
}

// passwordMark tells passwords apart by their hashes.
func (a *Sessions) passwordMark(m *keystore.Member) ([]byte, error) {
	creds, err := a.Store.MemberCredentials(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(creds.Password.Reveal()))
	return sum[:16], nil
}

func deviceCookie(c Client, value string) *http.Cookie {
	out := &http.Cookie{
		Name: deviceCookieName, Value: value, Path: "/", HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteStrictMode,
		MaxAge: int(deviceLifetime / time.Second),
	}
	if c.Secure {
		out.Name = "__Host-" + out.Name
	}
	return out
}

// DeviceCookie is the cookie by which the browser of a session that has just begun is known again.
func (a *Sessions) DeviceCookie(s *Session) (*http.Cookie, error) {
	id, err := randomText("", 16)
	if err != nil {
		return nil, err
	}
	m, ok := a.Store.Snapshot().Member(s.Member.ID) // its hash may have been made anew while the member signed in
	if !ok {
		return nil, errors.New("the member is gone")
	}
	password, err := a.passwordMark(m)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(device{Member: m.ID, ID: id, Until: a.Now().Add(deviceLifetime), Password: password})
	if err != nil {
		return nil, fmt.Errorf("encoding a device: %w", err)
	}
	sealed, err := a.Store.SealText(devicePurpose, plain)
	if err != nil {
		return nil, err
	}
	return deviceCookie(s.client, base64.RawURLEncoding.EncodeToString(sealed)), nil
}

// deviceOf is the id of the browser that a member has signed in with before, "" if it is none.
func (a *Sessions) deviceOf(r *http.Request, m *keystore.Member) string {
	cookies := r.CookiesNamed(deviceCookie(ClientFrom(r.Context()), "").Name)
	if len(cookies) != 1 || len(cookies[0].Value) > 1024 {
		return ""
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookies[0].Value)
	if err != nil {
		return ""
	}
	plain, err := a.Store.OpenText(devicePurpose, sealed)
	if err != nil {
		return ""
	}
	var d device
	if json.Unmarshal(plain, &d) != nil || d.Member != m.ID || !a.Now().Before(d.Until) {
		return ""
	}
	if password, err := a.passwordMark(m); err != nil || !bytes.Equal(d.Password, password) {
		return ""
	}
	return d.ID
}
