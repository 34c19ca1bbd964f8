package auth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Wrong passwords lock an e-mail address out for a while, and anybody can type wrong passwords. A browser in which a member has
// signed in before keeps a cookie that says so, and has a count of its own: others' guesses do not keep the member out of it.
// The cookie signs nobody in, and saves nobody a step.

const (
	deviceCookieName = "keystile_device"
	devicePurpose    = "device of a member"
	// deviceLifetime is how long a browser is remembered.
	deviceLifetime = 180 * 24 * time.Hour
)

// device is what the cookie says, sealed.
type device struct {
	Member string    `json:"m"`
	ID     string    `json:"d"`
	Until  time.Time `json:"u"`
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
	plain, err := json.Marshal(device{Member: s.Member.ID, ID: id, Until: a.Now().Add(deviceLifetime)})
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
func (a *Sessions) deviceOf(r *http.Request, member string) string {
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
	if json.Unmarshal(plain, &d) != nil || d.Member != member || !a.Now().Before(d.Until) {
		return ""
	}
	return d.ID
}
