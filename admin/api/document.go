package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// documentIntroduction is what a reader of the document needs to know before the first call.
const documentIntroduction = `Manages organizations, accounts, sandboxes and API keys, and reads the request log.

Times are RFC 3339 in UTC. Lists answer {"object":"list","data":[…],"has_more":bool}, newest first; ask for the next page with starting_after.
Unknown fields and unknown query parameters are refused. Fields of an object are always present, null where there is nothing; what may be absent says so.
In a PATCH, an absent field stays as it is, null and empty are two further things, and each field says what they mean.
Errors answer {"error":{"type","code","message","request_id","param"?,"doc_url"?}}. Every answer has a Request-Id.
Every object answered alone has an ETag; a PATCH with If-Match is made only if the object has not changed since.
A POST with an Idempotency-Key can be repeated for 24 hours and is done once. Answers 503 say that nothing was done, and do not use the key up.`

type documentInput struct{}

// registerDocument adds the two calls that describe all the others, and renders both once: what they show is fixed.
func (a *API) registerDocument() error {
	const tag = "documentation"
	stream(a, operation{
		method: http.MethodGet, path: "/v1/openapi.json", id: "get_openapi", tag: tag, summary: "This document", media: "application/json",
	}, func(c *call, _ *documentInput) error {
		c.write(answer{status: http.StatusOK, body: a.openapi})
		return nil
	})
	stream(a, operation{
		method: http.MethodGet, path: "/v1/docs", id: "get_docs", tag: tag, summary: "This document as a page", media: "text/html",
	}, func(c *call, _ *documentInput) error {
		writeDocs(c, a.docs)
		return nil
	})
	for _, s := range a.registry.Map() {
		allowNull(s)
	}
	a.openAnswers()
	plain, err := json.Marshal(a.document)
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, plain, "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	a.openapi = indented.Bytes()
	a.docs, err = renderDocs(a)
	return err
}

// allowNull puts null into the enumerations of nullable fields: in JSON Schema the type alone does not let it through.
func allowNull(s *huma.Schema) {
	for _, p := range s.Properties {
		if p.Nullable && len(p.Enum) > 0 && !slices.Contains(p.Enum, nil) {
			p.Enum = append(p.Enum, nil)
		}
	}
}

// openAnswers lets the objects of answers have further fields in the document: fields are added over time, and a client
// that was generated from today's document must not fail on tomorrow's answer. Bodies of requests stay closed.
func (a *API) openAnswers() {
	closed := map[string]bool{}
	for _, o := range a.operations {
		if o.RequestBody != nil {
			for _, media := range o.RequestBody.Content {
				a.markNamed(media.Schema, closed)
			}
		}
	}
	for name, s := range a.registry.Map() {
		if refused, ok := s.AdditionalProperties.(bool); ok && !refused && !closed[name] {
			s.AdditionalProperties = nil
		}
	}
}

// markNamed marks the named schemas that s is made of.
func (a *API) markNamed(s *huma.Schema, marked map[string]bool) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		if marked[name] {
			return
		}
		marked[name] = true
		s = resolve(a.registry, s)
	}
	a.markNamed(s.Items, marked)
	for _, p := range s.Properties {
		a.markNamed(p, marked)
	}
	for _, branch := range s.OneOf {
		a.markNamed(branch, marked)
	}
}
