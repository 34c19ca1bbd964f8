package api

import (
	"html/template"
	"net/http"
	"reflect"

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
		return c.told(err)
	}
	c.setCookie(cookie)
	c.started = true
	http.Redirect(c.w, c.r, to, http.StatusFound)
	return nil
}

// signedInPage goes on to the site by itself. A redirect would not do: browsers leave a strict cookie out of a request that
// another site, the provider, has begun.
var signedInPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>{{if .OK}}<meta http-equiv="refresh" content="0; url=../../../">{{end}}</head>
<body><h1>{{.Title}}</h1><p>{{.Text}}</p><p><a href="../../../">Go on</a></p></body></html>
`))

func (a *API) finishOIDC(c *call) {
	_, cookies, err := a.OIDC.Finish(c.r)
	for _, cookie := range cookies {
		c.setCookie(cookie)
	}
	page := struct {
		Title, Text string
		OK          bool
	}{"Signed in", "You are signed in.", true}
	status := http.StatusOK
	if err != nil {
		e, cause := asError(c.told(err))
		if cause != nil {
			c.fail(err)
			return
		}
		page.Title, page.Text, page.OK = "Not signed in", e.Message, false
		status = e.Status
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.started = true
	c.w.WriteHeader(status)
	_ = signedInPage.Execute(c.w, page) // the status is on the wire
}
