package api

import (
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/admin/auth"
)

// operation is what the document says of a call beside its input and output types.
type operation struct {
	method, path string
	id           string // operationId: verb_noun
	tag          string // the resource it belongs to
	summary      string
	description  string
	status       int      // of success; 0: 200
	errors       []int    // beside those that any call can answer
	query        []extra  // query parameters that the call reads for itself
	headers      []extra  // request headers that the call reads for itself
	etag         bool     // the answer has an ETag
	precondition bool     // If-Match is honoured
	unkept       bool     // a POST with a password or a code in its body: no Idempotency-Key, since its fingerprint would be a fast hash of them at rest
	media        string   // content types of success, separated by spaces, if it is not JSON of the output type
	_            struct{} // keyed literals only
}

// extra is a query parameter or a header that is no field of the input struct.
type extra struct{ name, doc string }

// handle registers one call: its route and its part of the document. fn answers the output, which is written as JSON.
func handle[In, Out any](a *API, op operation, fn func(*call, *In) (Out, error)) {
	if op.status == 0 {
		op.status = http.StatusOK
	}
	b := a.newOperation(op, reflect.TypeFor[In](), reflect.TypeFor[Out]())
	a.router.add(op.method, op.path, func(c *call) {
		if err := c.enter(op.id); err != nil {
			c.fail(err)
			return
		}
		in := new(In)
		var data []byte
		if op.method != http.MethodGet {
			var err error
			if data, err = c.readBody(); err != nil {
				c.fail(err)
				return
			}
		}
		if err := b.bind(c, in, data); err != nil {
			c.fail(err)
			return
		}
		if err := c.askFirst(op.id, in); err != nil {
			c.fail(err)
			return
		}
		run := func() (answer, error) {
			if err := c.verifiedBody(op.id, in, data); err != nil {
				return answer{}, err
			}
			out, err := fn(c, in)
			if err != nil {
				return answer{}, err
			}
			return answer{status: op.status, revision: c.revision, body: marshal(out)}, nil
		}
		switch {
		case op.unkept && len(c.r.Header.Values(idempotencyHeader)) > 0:
			c.fail(badParam(idempotencyHeader, "this call takes no Idempotency-Key: nothing that is made of a password or a code is kept"))
			return
		case op.method == http.MethodPost && !op.unkept:
			c.once(data, run)
			return
		}
		done, err := run()
		if err != nil {
			c.fail(err)
			return
		}
		c.write(done)
	})
}

// stream registers a GET whose answer is not JSON of a type: the document itself, its page, the event stream.
func stream[In any](a *API, op operation, fn func(*call, *In) error) {
	if op.status == 0 {
		op.status = http.StatusOK
	}
	b := a.newOperation(op, reflect.TypeFor[In](), nil)
	a.router.add(op.method, op.path, func(c *call) {
		if err := c.enter(op.id); err != nil {
			c.fail(err)
			return
		}
		in := new(In)
		if err := b.bind(c, in, nil); err != nil {
			c.fail(err)
			return
		}
		if err := fn(c, in); err != nil {
			c.fail(err)
		}
	})
}

// newDocument starts the OpenAPI document.
func (a *API) newDocument() {
	a.registry = huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	server := a.BasePath
	if server == "" {
		server = "/"
	}
	a.document = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:       "Keystile admin API",
			Version:     "1",
			Description: documentIntroduction,
		},
		Servers: []*huma.Server{{URL: server}},
		Components: &huma.Components{
			Schemas: a.registry,
			Responses: map[string]*huma.Response{"Error": {
				Description: "Every error has this shape",
				Headers:     map[string]*huma.Header{"Request-Id": requestIDHeader()},
				Content: map[string]*huma.MediaType{"application/json": {
					Schema: a.registry.Schema(reflect.TypeFor[ErrorBody](), true, ""),
				}},
			}},
		},
	}
	if a.Tokens {
		a.document.Components.SecuritySchemes = map[string]*huma.SecurityScheme{securityScheme: {
			Type: "http", Scheme: "bearer", BearerFormat: "adm_…", Description: "An admin token, as keystile token create prints it",
		}}
	}
	if a.Sessions != nil {
		if a.document.Components.SecuritySchemes == nil {
			a.document.Components.SecuritySchemes = map[string]*huma.SecurityScheme{}
		}
		a.document.Components.SecuritySchemes[sessionScheme] = &huma.SecurityScheme{
			Type: "apiKey", In: "cookie", Name: auth.SecureCookieName, Description: "The session of a signed-in member, as POST /v1/session sets it; without TLS the name has no __Host-",
		}
	}
}

// The names of the credentials in the document.
const (
	securityScheme = "admin_token"
	sessionScheme  = "session"
)

// newOperation adds one operation to the document and makes the binder of its input.
func (a *API) newOperation(op operation, in, out reflect.Type) *binder {
	names := make([]string, 0, len(op.query))
	for _, q := range op.query {
		names = append(names, q.name)
	}
	b := newBinder(a.registry, in, names)
	o := &huma.Operation{
		Method: op.method, Path: op.path, OperationID: op.id, Tags: []string{op.tag},
		Summary: op.summary, Description: op.description,
		Parameters: b.document(),
		Responses:  map[string]*huma.Response{strconv.Itoa(op.status): a.success(op, out)},
	}
	for _, q := range op.query {
		o.Parameters = append(o.Parameters, &huma.Param{Name: q.name, In: "query", Description: q.doc, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	o.Parameters = append(o.Parameters, headerParams(op)...)
	if b.schema != nil {
		o.RequestBody = &huma.RequestBody{
			Required: len(resolve(a.registry, b.schema).Required) > 0,
			Content:  map[string]*huma.MediaType{"application/json": {Schema: b.schema}},
		}
	}
	for _, status := range possibleErrors(op) {
		o.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/Error"}
	}
	if rule, _ := auth.RuleOf(op.id); !rule.Public {
		if a.Tokens && !rule.Self {
			o.Security = append(o.Security, map[string][]string{securityScheme: {}})
		}
		if a.Sessions != nil {
			o.Security = append(o.Security, map[string][]string{sessionScheme: {}})
		}
	}
	a.document.AddOperation(o)
	a.operations = append(a.operations, o)
	return b
}

// success is the answer of an operation that went well.
func (a *API) success(op operation, out reflect.Type) *huma.Response {
	r := &huma.Response{
		Description: http.StatusText(op.status),
		Headers:     map[string]*huma.Header{"Request-Id": requestIDHeader()},
	}
	if op.etag {
		r.Headers["ETag"] = &huma.Header{Description: "The object's revision, for If-Match", Schema: &huma.Schema{Type: huma.TypeString}}
	}
	if op.method == http.MethodPost && !op.unkept {
		r.Headers["Idempotent-Replayed"] = &huma.Header{
			Description: "true if this is the saved answer of an earlier call with the same Idempotency-Key", Schema: &huma.Schema{Type: huma.TypeString},
		}
	}
	media, schema := op.media, &huma.Schema{Type: huma.TypeString}
	if out != nil {
		media, schema = "application/json", a.registry.Schema(out, true, "")
	} else if media == "application/json" {
		schema = &huma.Schema{Type: huma.TypeObject}
	}
	r.Content = map[string]*huma.MediaType{}
	for _, m := range strings.Fields(media) {
		r.Content[m] = &huma.MediaType{Schema: schema}
	}
	return r
}

func requestIDHeader() *huma.Header {
	return &huma.Header{Description: "Names this call in logs", Schema: &huma.Schema{Type: huma.TypeString}}
}

func headerParams(op operation) []*huma.Param {
	var out []*huma.Param
	if op.method == http.MethodPost && !op.unkept {
		most := maxIdempotencyKey
		out = append(out, &huma.Param{
			Name: idempotencyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &most},
			Description: "Makes the call safe to repeat: for 24 h the same key with the same body gets the same answer",
		})
	}
	for _, h := range op.headers {
		out = append(out, &huma.Param{Name: h.name, In: "header", Description: h.doc, Schema: &huma.Schema{Type: huma.TypeString}})
	}
	if _, ok := guards[op.id]; ok {
		for name, doc := range map[string]string{
			auth.VerificationHeader:     "Of signed-in members: the id of a verification for this call",
			auth.VerificationCodeHeader: "Of signed-in members: its code",
		} {
			out = append(out, &huma.Param{Name: name, In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: doc})
		}
		slices.SortFunc(out, func(a, b *huma.Param) int { return strings.Compare(a.Name, b.Name) })
	}
	if op.precondition {
		out = append(out, &huma.Param{
			Name: "If-Match", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "The ETag of an earlier answer: the change is made only if the object has not changed since",
		})
	}
	return out
}

// possibleErrors lists the error statuses that an operation can answer.
func possibleErrors(op operation) []int {
	out := []int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if rule, known := auth.RuleOf(op.id); !known || !rule.Public {
		out = append(out, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	if strings.Contains(op.path, "{") {
		out = append(out, http.StatusNotFound)
	}
	if op.method != http.MethodGet {
		out = append(out, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if op.method == http.MethodPost {
		out = append(out, http.StatusConflict)
	}
	if op.precondition {
		out = append(out, http.StatusPreconditionFailed)
	}
	return append(out, op.errors...)
}
