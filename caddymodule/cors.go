package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// crossOrigin answers browsers that ask on behalf of pages of other origins. Keys are sent in a header that scripts set
// themselves, never in cookies, so that any origin may be let in and credentials in the browser's sense are never
// allowed. It is immutable.
type crossOrigin struct {
	any     bool
	origins []string // lower case
	headers string   // what scripts may send
	expose  string   // what scripts may read
}

// Methods that a preflight allows; whether the key may use them is decided on the request itself.
const corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// corsMaxAge is how long a browser may keep the answer to a preflight, in seconds.
const corsMaxAge = "300"

// newCrossOrigin compiles the origins, "*" or none for any.
func newCrossOrigin(origins []string, names headerNames, keyHeader string) (*crossOrigin, error) {
	c := &crossOrigin{any: len(origins) == 0}
	for _, origin := range origins {
		if origin == "*" {
			c.any = true
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("cors_origins: %q is no origin; write scheme and host, as https://app.example.com", origin)
		}
		c.origins = append(c.origins, strings.ToLower(origin))
	}
	if c.any && len(c.origins) > 0 {
		return nil, fmt.Errorf("cors_origins: \"*\" lets every origin in, so that %q beside it says nothing", c.origins[0])
	}
	send := []string{
		"Authorization", "Content-Type", "Accept", "Idempotency-Key", names.account, names.context, names.version,
		"X-Stripe-Client-User-Agent", "X-Stripe-Client-Telemetry", "X-Requested-With",
	}
	if keyHeader != "" {
		send = append(send, keyHeader)
	}
	c.headers = strings.Join(send, ", ")
	c.expose = strings.Join([]string{
		"Request-Id", names.version, names.prefix + "Required-Permission", names.prefix + "Key-Expires",
		"Stripe-Should-Retry", "Retry-After", names.prefix + "Rate-Limited-Reason", "WWW-Authenticate",
	}, ", ")
	return c, nil
}

// preflight says whether the request is a browser's question before the real request (Fetch standard): it carries
// neither key nor data and is answered by the gateway itself.
func preflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) == 1 &&
		len(r.Header["Access-Control-Request-Method"]) == 1
}

// allowed answers what Access-Control-Allow-Origin says to this origin, "" for none.
func (c *crossOrigin) allowed(origin string) string {
	if c.any {
		return "*"
	}
	if slices.Contains(c.origins, origin) || slices.Contains(c.origins, strings.ToLower(origin)) {
		return origin
	}
	return ""
}

// answerPreflight writes the 204. What stamp adds to every answer (Access-Control-Allow-Origin, Request-Id) is not here.
func (c *crossOrigin) answerPreflight(w http.ResponseWriter, origin string) {
	h := w.Header()
	if c.allowed(origin) != "" {
		h["Access-Control-Allow-Methods"] = []string{corsMethods}
		h["Access-Control-Allow-Headers"] = []string{c.headers}
		h["Access-Control-Max-Age"] = []string{corsMaxAge}
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}

// stamp puts the two headers on an answer that lets a script of the origin read it. They replace the backend's: a
// browser refuses two. Where the answer depends on the origin, every answer says so, also one to a request without an
// origin ("" here): a cache would give it to the next script.
func (c *crossOrigin) stamp(h http.Header, origin string, values *valueArray) {
	if !c.any {
		h["Vary"] = append(h["Vary"], "Origin")
	}
	if origin == "" {
		return
	}
	allow := c.allowed(origin)
	delete(h, "Access-Control-Allow-Credentials")
	if allow == "" {
		delete(h, "Access-Control-Allow-Origin")
		return
	}
	h["Access-Control-Allow-Origin"] = values.one(allow)
	h["Access-Control-Expose-Headers"] = append(h["Access-Control-Expose-Headers"], c.expose)
}
