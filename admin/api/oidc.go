package api

import (
	"html/template"
	"net/http"
	"reflect"
	"strings"

	"github.com/keystile/keystile/admin/auth"
)

// registerOIDC adds the two calls by which browsers sign in by an identity provider. They are followed as links, so that
// their answers are for people, and the second takes whatever further query parameters a provider likes to send.
func (a *API) registerOIDC() {
	const tag = "sessions"
	stream(a, operation{
		method: http.MethodGet, path: "/v1/session/oidc", id: "begin_oidc", tag: tag, summary: "Sign in by the identity provider", media: "text/html",
		description: "Redirects the browser to the provider.", status: http.StatusFound,
	}, a.beginOIDC)
	op := operation{
		method: http.MethodGet, path: auth.OIDCCallbackPath, id: "finish_oidc", tag: tag, summary: "Come back from the identity provider", media: "text/html",
		description: "Signs in who is a member, or is invited, by an e-mail address that the provider has verified. The answer sets the session's cookie.",
		query:       []extra{{"code", "Of the provider"}, {"state", "As it was sent there"}}, status: http.StatusOK,
	}
	a.newOperation(op, reflect.TypeFor[noInput](), nil)
	a.router.add(op.method, op.path, func(c *call) {
		if err := c.enter(op.id); err != nil {
			c.fail(err)
			return
		}
		a.finishOIDC(c)
	})
}

func (a *API) beginOIDC(c *call, _ *noInput) error {
	to, cookie, err := a.OIDC.Begin(c.r)
	if err != nil {
		c.showOIDC(err, "../../")
		return nil
	}
	c.setCookie(cookie)
	c.started = true
	http.Redirect(c.w, c.r, to, http.StatusFound)
	return nil
}

// oidcPage is what somebody sees who comes back from the provider, or does not get there.
type oidcPage struct {
	Title, Text string
	OK          bool
	Root        string // of the site, relative: it may be mounted below any path
	Style       template.CSS
}

// oidcTemplate goes on to the site by itself once all is well. A redirect would not do: browsers leave a strict cookie out of a
// request that another site, the provider, has begun.
var oidcTemplate = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}} · Keystile</title>{{if .OK}}<meta http-equiv="refresh" content="0; url={{.Root}}">{{end}}<style>{{.Style}}</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p><p>{{if .OK}}<a href="{{.Root}}">Go on</a>{{else}}<a href="{{.Root}}sign_in">Back to the sign-in page</a>{{end}}</p></main></body></html>
`))

func (a *API) finishOIDC(c *call) {
	_, cookies, err := a.OIDC.Finish(c.r)
	for _, cookie := range cookies {
		c.setCookie(cookie)
	}
	c.showOIDC(err, "../../../")
}

// showOIDC says how a sign-in went. Only what is nobody's to mend is answered as to programs.
func (c *call) showOIDC(err error, root string) {
	page := oidcPage{Title: "Signed in", Text: "You are signed in.", OK: true, Root: root, Style: template.CSS(docsStyle)}
	status := http.StatusOK
	if err != nil {
		e, cause := asError(c.told(err))
		if cause != nil {
			c.fail(err)
			return
		}
		page.Title, page.Text, page.OK = "Not signed in", textSentence(e.Message), false
		status = e.Status
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", docsPolicy)
	c.started = true
	c.w.WriteHeader(status)
	_ = oidcTemplate.Execute(c.w, page) // the status is on the wire
}

// textSentence makes a sentence of an error's text.
func textSentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
