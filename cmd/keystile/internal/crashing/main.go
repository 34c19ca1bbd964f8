// Command crashing is keystile with a directive more, crash, which panics where a request tells it to: around the gateway and
// behind it, while the gateway has a token in hand. It is for tests of what stands in the log then.
//
//	crash outer | inner
//
// The request says in the header X-Crash what is to happen: writer, reader and url are of an outer one, handler and body of an inner.
package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/keystile/keystile"
)

func main() { caddycmd.Main() }

func init() {
	caddy.RegisterModule(crash{})
	httpcaddyfile.RegisterHandlerDirective("crash", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		c := new(crash)
		h.Next() // consume directive name
		if !h.AllArgs(&c.Place) {
			return nil, h.ArgErr()
		}
		return c, nil
	})
}

type crash struct {
	Place string `json:"place"` // outer or inner
}

// CaddyModule returns the Caddy module information.
func (crash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.crash", New: func() caddy.Module { return new(crash) }}
}

// mark is how the panics of this program begin.
const mark = "crashed on purpose: "

// ServeHTTP panics, or sees to it that somebody else does.
func (c crash) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	how := r.Header.Get("X-Crash")
	switch {
	case c.Place == "inner" && how == "handler":
		panic(fmt.Sprint(mark, r.Header, r.URL, r.TLS)) // all that it was given, as a careless handler would
	case c.Place == "inner" && how == "body":
		body, err := io.ReadAll(r.Body) // and so did the gateway, which captures it
		panic(fmt.Sprint(mark, "read ", len(body), " bytes ", err))
	case c.Place == "inner":
	case how == "writer":
		w = &writer{w}
	case how == "reader":
		r.Body = &reader{ReadCloser: r.Body}
	case how == "url":
		r.URL = nil // a fault of the runtime, in the middle of the decision
	}
	return next.ServeHTTP(w, r)
}

// writer panics when somebody answers.
type writer struct{ http.ResponseWriter }

// WriteHeader panics.
func (w *writer) WriteHeader(status int) { panic(fmt.Errorf(mark+"writing status %d", status)) }

// Write panics.
func (w *writer) Write([]byte) (int, error) { panic(mark + "writing a body") }

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// reader panics once all was read, when whoever reads has it in hand. Where that is a goroutine of a proxy's, the process ends.
type reader struct{ io.ReadCloser }

// Read panics at the end.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && n == 0 {
		panic(mark + "reading a body")
	}
	return n, nil
}
