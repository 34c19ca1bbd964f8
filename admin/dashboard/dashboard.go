package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
)

// Config is what the dashboard needs of the process around it.
type Config struct {
	// API is the admin API. It must take the caller of a call from the context, by [auth.CallerFrom]. It must be set.
	API http.Handler

	// Visitor says who looks at a page. An *auth.Refusal with status 401 means nobody: the pages for guests are shown. It must
	// be set; see [Visitors].
	Visitor func(*http.Request) (Visitor, error)

	// Seal and Open seal a short text that goes to the browser and comes back: a password, between the two steps of signing in.
	// Without them both steps are one form.
	Seal, Open func(purpose string, text []byte) ([]byte, error)

	// OIDC says that the API signs members in by an identity provider, too.
	OIDC bool

	// Owners names the people who can give rights in a scope, for who has to ask them. Default: nobody is named.
	Owners func(auth.Scope) []string

	// ExampleURL is the address of a request that any key may make, for the code examples. Default: one that means nothing.
	ExampleURL func() string

	// Prefix is the part of the address before the dashboard's own paths, without a slash at its end: "/keys" if a site
	// serves it below that and takes it off the path. Default: none.
	Prefix func(*http.Request) string

	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// Logger takes what the viewer must not see: the causes of 500s. Default: none.
	Logger *zap.Logger
}

// Dashboard serves the pages. It is safe for concurrent use.
type Dashboard struct {
	Config

	root, scoped *http.ServeMux // of pages of the installation, and of an account or organization
	templates    templates
	files        files
	reveals      *reveals
	guard        *http.CrossOriginProtection
}

// route is one page or one action: a pattern of the mux, what the viewer must be allowed to do to see it, and what serves
// it.
type route struct {
	pattern   string // "GET /{owner}/{mode}/keys"
	operation string // of the API, as its table of roles names it; "": a page for guests, too
	serve     func(*request) error
}

// routes lists everything that is served. Each file of pages has its own list.
func (d *Dashboard) routes() []route {
	var all []route
	for _, list := range [][]route{
		homePages(), keyPages(), keyCreatePages(), keyEditPages(), keyRangePages(), metadataPages(), keyRotatePages(), keyUsePages(),
		accountPages(), organizationPages(), sandboxPages(), logPages(), explainPages(),
		eventPages(), tokenPages(), webhookPages(), webhookEditPages(), memberPages(), nodePages(), signInPages(), profilePages(), appPages(),
	} {
		all = append(all, list...)
	}
	return all
}

// New checks the config, reads the templates and builds the handler.
func New(c Config) (*Dashboard, error) {
	switch {
	case c.API == nil:
		return nil, errors.New("dashboard: API is missing")
	case c.Visitor == nil:
		return nil, errors.New("dashboard: Visitor is missing")
	}
	if c.Prefix == nil {
		c.Prefix = func(*http.Request) string { return "" }
	}
	if c.ExampleURL == nil {
		c.ExampleURL = func() string { return exampleAddress }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	d := &Dashboard{
		Config: c, root: http.NewServeMux(), scoped: http.NewServeMux(), reveals: newReveals(), guard: http.NewCrossOriginProtection(),
	}
	var err error
	if d.files, err = readFiles(); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	if d.templates, err = parseTemplates(); err != nil {
		return nil, fmt.Errorf("dashboard: %w", err)
	}
	for _, r := range d.routes() {
		mux := d.root
		if strings.Contains(r.pattern, "/{owner}/{mode}/") {
			mux = d.scoped
		}
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, hr *http.Request) { d.serve(r, w, hr) })
	}
	return d, nil
}

// ServeHTTP answers one request.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if err := d.guard.Check(r); err != nil {
		d.newRequest(w, r).fail(&refusedError{
			status: http.StatusForbidden, title: "This form came from another site",
			text: "A page of another site sent this request, and nothing was done. If you sent it yourself, open the page here and send it again.",
		})
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/static/"); ok {
		d.files.serve(w, r, name)
		return
	}
	mux := d.root
	if inScope(r.URL.Path) {
		mux = d.scoped
	}
	// The mux would answer a path that is not clean with a redirect that knows no prefix.
	if path.Clean(r.URL.Path) != r.URL.Path {
		d.newRequest(w, r).recognise().fail(notFoundError())
		return
	}
	if _, pattern := mux.Handler(r); pattern == "" {
		d.unknown(w, r, mux)
		return
	}
	mux.ServeHTTP(w, r)
}

// unknown answers what no page is for: a wrong path, or a wrong method on a right one.
func (d *Dashboard) unknown(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" && method != r.Method {
			w.Header().Set("Allow", method)
			d.newRequest(w, r).recognise().fail(&refusedError{
				status: http.StatusMethodNotAllowed, title: "That is not how this page is asked for",
				text: "This address takes " + method + " only. Go back, and use the button on the page.",
			})
			return
		}
	}
	d.newRequest(w, r).recognise().fail(notFoundError())
}

// setHeaders sets what every answer carries. A page may do nothing but show itself, load our own style, scripts and
// pictures, follow our own event stream, and send forms to us. Nobody may frame it, and it tells nobody where a reader came
// from.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}
