package api

import (
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/requestlog"
)

// binder fills an input struct from a call. It is made once for each operation, of the struct's tags:
//
//	ID    string `path:"id"`
//	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"10"`
//	Body  T      // the JSON body
//
// The same tags, and others of the schema generator, make the operation's part of the document.
type binder struct {
	registry huma.Registry
	params   []boundParam
	extra    []string // further query parameters that the operation reads for itself
	body     int      // index of Body, -1: the call takes no fields
	schema   *huma.Schema
}

// boundParam is one field that comes from the path or the query.
type boundParam struct {
	index    int
	in, name string
	doc      string
	required bool
	schema   *huma.Schema
}

func newBinder(registry huma.Registry, input reflect.Type, extra []string) *binder {
	b := &binder{registry: registry, body: -1, extra: extra}
	for i := range input.NumField() {
		f := input.Field(i)
		if f.Name == "Body" {
			b.body = i
			b.schema = registry.Schema(f.Type, true, "")
			continue
		}
		for _, in := range []string{"path", "query"} {
			name, ok := f.Tag.Lookup(in)
			if !ok {
				continue
			}
			schema := huma.SchemaFromField(registry, f, "")
			schema.Description = ""
			b.params = append(b.params, boundParam{
				index: i, in: in, name: name, doc: f.Tag.Get("doc"), schema: schema,
				required: in == "path" || f.Tag.Get("required") == "true",
			})
		}
	}
	return b
}

// bind fills input, a pointer to the struct. data is the body, nil if there is none.
func (b *binder) bind(c *call, input any, data []byte) error {
	v := reflect.ValueOf(input).Elem()
	if err := b.bindQuery(c); err != nil {
		return err
	}
	for _, p := range b.params {
		text, given := c.path[p.name], true
		if p.in == "query" {
			text, given = c.query.Get(p.name), c.query.Has(p.name)
		} else if err := refuseToken(p.name, text); err != nil {
			return err
		}
		if !given {
			if p.required {
				return newError(http.StatusBadRequest, codeParameterMissing, p.name, "the query parameter %s is required", p.name)
			}
			if p.schema.Default != nil {
				v.Field(p.index).Set(reflect.ValueOf(p.schema.Default).Convert(v.Field(p.index).Type()))
			}
			continue
		}
		if err := b.setParam(v.Field(p.index), p, text); err != nil {
			return err
		}
	}
	if b.body < 0 {
		return refuseFields(data)
	}
	return decodeBody(b.registry, b.schema, data, v.Field(b.body).Addr().Interface())
}

// bindQuery parses the query and refuses what the operation does not know, and what is said twice.
func (b *binder) bindQuery(c *call) error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return newError(http.StatusBadRequest, codeParameterInvalid, "", "the query string is malformed: percent-encode it, and separate parameters by &")
	}
	known := slices.Clone(b.extra)
	for _, p := range b.params {
		if p.in == "query" {
			known = append(known, p.name)
		}
	}
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(known, name) {
			return newError(http.StatusBadRequest, codeParameterUnknown, shown(name), "unknown query parameter %s%s", shown(name), suggestion(name, known))
		}
		if len(query[name]) > 1 {
			return badParam(name, "the query parameter %s is given twice", name)
		}
		if err := refuseToken(name, query.Get(name)); err != nil {
			return err
		}
	}
	c.query = query
	return nil
}

// refuseToken refuses what looks like a token in a URL, and does not repeat it. It is there by mistake, and a URL stands in
// logs and histories on its way to us: whoever made the call must hear of it, rather than that there is no such object.
func refuseToken(name, text string) error {
	if !requestlog.LooksLikeToken(text) {
		return nil
	}
	return badParam(name, "%s looks like a token: tokens do not belong in URLs, which are logged; name a key by its id, key_…, and replace the key if the token was a real one", name)
}

func (b *binder) setParam(field reflect.Value, p boundParam, text string) error {
	var value any = text
	switch field.Kind() { // of our own input structs: string, int or bool
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return badParam(p.name, "%s must be a whole number", p.name)
		}
		value = n
	case reflect.Bool:
		if text != "true" && text != "false" {
			return badParam(p.name, "%s must be true or false", p.name)
		}
		value = text == "true"
	}
	if err := validate(b.registry, p.schema, p.name, value); err != nil {
		return err
	}
	field.Set(reflect.ValueOf(value).Convert(field.Type()))
	return nil
}

// document is the operation's parameters as the document lists them.
func (b *binder) document() []*huma.Param {
	var out []*huma.Param
	for _, p := range b.params {
		out = append(out, &huma.Param{Name: p.name, In: p.in, Description: p.doc, Required: p.required, Schema: p.schema})
	}
	return out
}

// refuseFields is for calls without fields: no body, or an empty object.
func refuseFields(data []byte) error {
	if data == nil {
		return nil
	}
	object, err := parseJSON(data)
	if err != nil {
		return err
	}
	for name := range object {
		return newError(http.StatusBadRequest, codeParameterUnknown, shown(name), "this call takes no fields: send no body, or {}")
	}
	return nil
}

// suggestion is ": did you mean …?" if a name is close to a known one, else "".
func suggestion(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		d := editDistance(strings.ToLower(name), k, distance)
		if d < distance || strings.EqualFold(strings.ReplaceAll(name, "_", ""), strings.ReplaceAll(k, "_", "")) {
			best, distance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// editDistance is the Levenshtein distance, or bound if it is not smaller: names that a caller sends may be long.
func editDistance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return min(row[len(b)], bound)
}
