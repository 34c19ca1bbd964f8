package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // for the template and the style
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docsPolicy lets the page do nothing but show itself: no script, no request to anywhere, and of styles only the one that
// is in it, by its digest.
var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// docsPage is what the template shows. Everything in it comes from the document.
type docsPage struct {
	Title   string
	Intro   []string
	Style   template.CSS
	Groups  []docsGroup
	Schemas []docsSchema
}

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description string

	Params   []docsField
	Body     []docsField
	Answer   docsType
	Statuses string // of errors
}

type docsSchema struct {
	Name, Description string
	Fields            []docsField
}

type docsField struct {
	Name, Doc, In string
	Required      bool
	Type          docsType
}

// docsType is a type in words, with a link where it is a named schema.
type docsType struct{ Text, Link string }

// renderDocs makes the page.
func renderDocs(a *API) ([]byte, error) {
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, err
	}
	page := docsPage{
		Title: a.document.Info.Title,
		Intro: strings.Split(a.document.Info.Description, "\n"),
		Style: template.CSS(docsStyle), // our own file, embedded
	}
	for _, o := range a.operations {
		i := slices.IndexFunc(page.Groups, func(g docsGroup) bool { return g.Name == o.Tags[0] })
		if i < 0 {
			i = len(page.Groups)
			page.Groups = append(page.Groups, docsGroup{Name: o.Tags[0]})
		}
		page.Groups[i].Operations = append(page.Groups[i].Operations, a.docsOperation(o))
	}
	for _, name := range slices.Sorted(maps.Keys(a.registry.Map())) {
		s := a.registry.Map()[name]
		page.Schemas = append(page.Schemas, docsSchema{Name: name, Description: s.Description, Fields: fieldsOf(s)})
	}
	var b bytes.Buffer
	if err := t.Execute(&b, page); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (a *API) docsOperation(o *huma.Operation) docsOperation {
	out := docsOperation{ID: o.OperationID, Method: o.Method, Path: o.Path, Summary: o.Summary, Description: o.Description}
	for _, p := range o.Parameters {
		out.Params = append(out.Params, docsField{Name: p.Name, In: p.In, Doc: p.Description, Required: p.Required, Type: typeOf(p.Schema)})
	}
	if o.RequestBody != nil {
		if media := o.RequestBody.Content["application/json"]; media != nil {
			out.Body = fieldsOf(resolve(a.registry, media.Schema))
		}
	}
	var statuses []string
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[status]
		if r.Ref != "" {
			statuses = append(statuses, status)
			continue
		}
		if content := r.Content["application/json"]; content != nil {
			out.Answer = typeOf(content.Schema)
			continue
		}
		out.Answer = docsType{Text: strings.Join(slices.Sorted(maps.Keys(r.Content)), ", ")}
	}
	out.Statuses = strings.Join(statuses, ", ")
	return out
}

// fieldsOf lists the fields of an object: required ones first, then by name.
func fieldsOf(s *huma.Schema) []docsField {
	var out []docsField
	for name, p := range s.Properties {
		out = append(out, docsField{Name: name, Doc: p.Description, Required: slices.Contains(s.Required, name), Type: typeOf(p)})
	}
	slices.SortFunc(out, func(a, b docsField) int {
		if a.Required != b.Required {
			if a.Required {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return out
}

// typeOf says a schema in words.
func typeOf(s *huma.Schema) docsType {
	switch {
	case s == nil:
		return docsType{Text: "any"}
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		return docsType{Text: name, Link: name}
	case s.OneOf != nil:
		var texts []string
		for _, branch := range s.OneOf {
			texts = append(texts, typeOf(branch).Text)
		}
		return docsType{Text: strings.Join(texts, " or ")}
	}
	out := docsType{Text: s.Type}
	switch {
	case s.Type == huma.TypeArray:
		item := typeOf(s.Items)
		out = docsType{Text: "list of " + item.Text, Link: item.Link}
	case s.Format == "date-time":
		out.Text = "time"
	case s.Type == huma.TypeObject && s.AdditionalProperties != nil:
		if value, ok := s.AdditionalProperties.(*huma.Schema); ok {
			out.Text = "map of " + typeOf(value).Text
		}
	case len(s.Enum) > 0 && s.Type == huma.TypeString:
		var words []string
		for _, e := range s.Enum {
			if word, ok := e.(string); ok {
				words = append(words, word)
			}
		}
		out.Text = strings.Join(words, " | ")
	}
	if s.Nullable {
		out.Text += " or null"
	}
	return out
}

// writeDocs sends the page.
func writeDocs(c *call, page []byte) {
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", docsPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	c.started = true
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(page)
}
