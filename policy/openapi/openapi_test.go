package openapi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/policy/openapi"
)

// short writes rules as "METHOD pattern permission [publishable] line".
func short(rules []policy.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		mark := ""
		if r.Publishable {
			mark = " publishable"
		}
		fmt.Fprintf(&b, "%s %s %s_%s%s :%d\n", strings.Join(r.Methods, ","), r.Pattern, r.Resource, r.Access, mark, r.Line)
	}
	return b.String()
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, doc, want string }{
		{"extensions on operation and path", `
openapi: 3.1.0
paths:
  /v1/charges:
    x-keystile-resource: charges
    x-keystile-publishable: true
    get: {}
    post:
      x-keystile-access: read
      x-keystile-publishable: false
    delete:
      x-keystile-resource: admin
`, `
GET /v1/charges charges_read publishable :7
POST /v1/charges charges_read :8
DELETE /v1/charges admin_write publishable :11
`},
		{"sources of the resource, in order", `
openapi: 3.0.3
paths:
  /v1/a: {get: {tags: [Tagged], responses: {"200": {content: {application/json: {schema: {$ref: "#/components/schemas/a"}}}}}}}
  /v1/b: {get: {tags: ["Billing Portal"], responses: {"404": {content: {application/json: {schema: {$ref: "#/components/schemas/a"}}}}}}}
  /v1/things/{id}: {get: {tags: [], responses: {"204": {description: none}}}}
  /{tenant}/plain: {get: {}}
  /v1/list: {get: {responses: {"200": {content: {application/json: {schema: {type: array, items: {$ref: "#/components/schemas/a"}}}}}}}}
  /v1/two: {get: {tags: [t], responses: {"200": {content: {application/json: {schema: {anyOf: [{$ref: "#/components/schemas/a"}, {$ref: "#/components/schemas/b"}]}}}}}}}
  /v1/gone: {delete: {responses: {"200": {content: {application/json: {schema: {$ref: "#/components/schemas/deleted_b"}}}}}}}
  /v1/shared: {get: {responses: {"200": {$ref: "#/components/responses/r"}}}}
components:
  responses: {r: {content: {text/plain: {schema: {type: string}}, application/json: {schema: {$ref: "#/components/schemas/b"}}}}}
  schemas:
    a: {x-resourceId: billing_portal.session}
    b: {x-resourceId: PaymentIntent}
    deleted_b: {x-resourceId: deleted_PaymentIntent}
`, `
GET /v1/a billing_portal_session_read :4
GET /v1/b billing_portal_read :5
GET /v1/things/{id} things_read :6
GET /{tenant}/plain plain_read :7
GET /v1/list billing_portal_session_read :8
GET /v1/two t_read :9
DELETE /v1/gone payment_intent_write :10
GET /v1/shared payment_intent_read :11
`},
		{"base paths of servers", `
openapi: 3.1.0
servers:
  - url: https://{region}.example.com/{base}/
    variables: {region: {default: eu}, base: {default: api/v2}}
  - url: https://other.example.com/api/v2
paths:
  /users/{id}: {get: {}}
  /files:
    servers: [{url: /upload}, {url: "https://files.example.com"}]
    put: {}
    head: {servers: [{url: "//cdn.example.com/cdn?x=/y"}]}
`, `
GET /api/v2/users/{id} users_read :8
PUT /upload/files files_write :11
PUT /files files_write :11
HEAD /cdn/files files_read :12
`},
		{"JSON, with escapes that are no YAML", "{\t\"openapi\": \"3.0.0\",\n\t\"paths\": {\n\t\t\"\\/v1\\/a\": {\"get\": {\"summary\": \"\\ud83d\\ude00\"},\n\t\"post\":{}}\n}}", `
GET /v1/a a_read :3
POST /v1/a a_write :4
`},
		{"shared path items and extensions of others", `
openapi: 3.1.0
paths:
  x-other: {get: {}}
  /v1/a: {$ref: "#/components/pathItems/p"}
  /v1/b: {summary: text, parameters: [], x-mine: 1, options: {}, patch: {}}
components:
  pathItems:
    p:
      get: {}
`, `
GET /v1/a a_read :10
OPTIONS /v1/b b_write :6
PATCH /v1/b b_write :6
`},
		{"methods of OpenAPI 3.2", `
openapi: 3.2.0
paths:
  /v1/a: {query: {}, additionalOperations: {PURGE: {x-keystile-resource: caches}}}
`, `
QUERY /v1/a a_write :4
PURGE /v1/a caches_write :4
`},
		{"aliases", `
openapi: 3.1.0
x-common: &common {x-keystile-access: write}
paths:
  /v1/a: {get: *common}
`, `
GET /v1/a a_write :5
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rules, err := openapi.Parse("api.yaml", []byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := short(rules), strings.TrimPrefix(tt.want, "\n"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, doc, want string }{
		{"empty", "", "api.yaml:1: this is not an OpenAPI 3 document: "},
		{"text", "hello", "api.yaml:1: this is not an OpenAPI 3 document: "},
		{"list", "[1]", "api.yaml:1: this is not an OpenAPI 3 document: "},
		{"YAML syntax", "openapi: 3.1.0\npaths:\n  /a: {get: [}\n", "api.yaml:3: this is not an OpenAPI 3 document: "},
		{"JSON syntax", "{\"openapi\": \"3.1.0\",\n\"paths\": {\n}", "api.yaml:"},
		{"other version", "swagger: '2.0'\npaths: {}", "api.yaml:1: this is a Swagger 2.0 document: OpenAPI 3 is needed"},
		{"no paths", "openapi: 3.1.0", `api.yaml:1: the document has no "paths"`},
		{"paths of the wrong form", "openapi: 3.1.0\npaths: [1, 2]", `api.yaml:2: "paths" must be an object`},
		{"path of the wrong form", "openapi: 3.1.0\npaths:\n  /a: 7", "api.yaml:3: the path /a must be an object"},
		{"operation of the wrong form", "openapi: 3.1.0\npaths:\n  /a:\n    get: 7", "api.yaml:4: GET /a must be an object"},
		{"path without slash", "openapi: 3.1.0\npaths:\n  a: {}", `api.yaml:3: the path "a" must start with a slash`},
		{"path twice", `{"openapi": "3.1.0",` + "\n" + `"paths": {"/a": {"get": {}},` + "\n" + `"/a": {"post": {}}}}`, `api.yaml:3: "paths" has "/a" twice`},
		{"merge key", "openapi: 3.1.0\nx: &x {get: {}}\npaths:\n  /a:\n    <<: *x", "api.yaml:5: the path /a uses a YAML merge key"},
		{"unknown access", "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      x-keystile-access: admin", "api.yaml:5: x-keystile-access must be read or write"},
		{"no access", "openapi: 3.1.0\npaths:\n  /a:\n    get: {x-keystile-access: none}", "api.yaml:4: x-keystile-access must be read or write"},
		{"publishable as text", "openapi: 3.1.0\npaths:\n  /a:\n    get: {x-keystile-publishable: 'true'}", "api.yaml:4: x-keystile-publishable must be true or false"},
		{"bad resource", "openapi: 3.1.0\npaths:\n  /a:\n    x-keystile-resource: Charges", "api.yaml:4: x-keystile-resource must be a resource name"},
		{"misspelled extension", "openapi: 3.1.0\npaths:\n  /a:\n    get: {x-keystile-acess: write}", `api.yaml:4: unknown word "x-keystile-acess"`},
		{"extension in capitals", "openapi: 3.1.0\npaths:\n  /a:\n    get: {X-Keystile-Access: write}", `api.yaml:4: unknown word "X-Keystile-Access"`},
		{"method in capitals", "openapi: 3.1.0\npaths:\n  /a:\n    GET: {}", `api.yaml:4: the method "GET" must be written in lower case`},
		{"no resource", "openapi: 3.1.0\npaths:\n  /{a}:\n    get: {}", "api.yaml:4: GET /{a} tells no resource"},
		{"reference to the network", "openapi: 3.1.0\npaths:\n  /a: {$ref: 'http://127.0.0.1:1/x'}", "api.yaml:3: the reference \"http://127.0.0.1:1/x\" leads out of the file"},
		{"reference to a file", "openapi: 3.1.0\npaths:\n  /a: {$ref: './x.yaml'}", "api.yaml:3: the reference \"./x.yaml\" leads out of the file"},
		{"reference to nothing", "openapi: 3.1.0\npaths:\n  /a: {$ref: '#/x'}", "api.yaml:3: the reference \"#/x\" leads nowhere"},
		{"circle of references", "openapi: 3.1.0\npaths:\n  /a: {$ref: '#/paths/~1b'}\n  /b: {$ref: '#/paths/~1a'}", "a reference here leads in a circle"},
		{"reference with operations", "openapi: 3.1.0\npaths:\n  /a: {$ref: '#/paths/~1b', get: {}}\n  /b: {}", `api.yaml:3: the path /a has a reference and "get" beside it`},
		{"server without address", "openapi: 3.1.0\nservers: [{}]\npaths: {}", `api.yaml:2: a server must have a "url"`},
		{"server without slash", "openapi: 3.1.0\nservers: [{url: v1}]\npaths: {}", `api.yaml:2: the server "v1" must be a whole URL`},
		{"server with an open variable", "openapi: 3.1.0\nservers: [{url: 'https://x/{v}'}]\npaths: {}", `api.yaml:2: the server's variable "v" has no default`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rules, err := openapi.Parse("api.yaml", []byte(tt.doc))
			if err == nil {
				t.Fatalf("got rules %v, want an error", rules)
			}
			first, _, _ := strings.Cut(err.Error(), "\n")
			if !strings.Contains(first, tt.want) || !strings.HasPrefix(first, "api.yaml:") {
				t.Errorf("got %q, want %q", err, tt.want)
			}
		})
	}
}

// What the grammar of patterns cannot say must not become a wider rule.
func TestPartialTemplate(t *testing.T) {
	t.Parallel()
	rules, err := openapi.Parse("api.yaml", []byte("openapi: 3.1.0\npaths:\n  /v1/{name}:cancel:\n    post: {tags: [jobs]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = policy.NewCatalog(rules, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "api.yaml:4: ") || !strings.Contains(err.Error(), "braces") {
		t.Errorf("got %v, want an error about braces at api.yaml:4", err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("openapi: 3.1.0\npaths: {/a: {get: {}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := openapi.Load(good)
	if err != nil || len(rules) != 1 || rules[0].File != good || rules[0].Line != 2 {
		t.Errorf("got %v, %v, want one rule of %s:2", rules, err, good)
	}

	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, openapi.MaxFileSize+1); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "absent.yaml"): "no such file or directory",
		dir:                               "not a regular file",
		"/dev/zero":                       "not a regular file",
		large:                             "larger than 32 MiB",
	} {
		_, err := openapi.Load(file)
		if err == nil || !strings.HasPrefix(err.Error(), file+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one sentence with %q", file, err, want)
		}
	}
}

// A file whose aliases multiply must be refused, or read in no more than its own size.
func TestAliasBomb(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("openapi: 3.1.0\na0: &a0 {x-resourceId: lol}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&b, "a%d: &a%d {anyOf: [*a%d, *a%d, *a%d]}\n", i, i, i-1, i-1, i-1)
	}
	b.WriteString("paths: {/v1/a: {get: {responses: {'200': {content: {application/json: {schema: *a39}}}}}}}\n")
	rules, err := openapi.Parse("api.yaml", []byte(b.String()))
	if err == nil && len(rules) != 1 {
		t.Errorf("got %d rules, want 1", len(rules))
	}
}

func TestResourceName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"charge":                  "charge",
		"billing_portal.session":  "billing_portal_session",
		"v2.core.event":           "v2_core_event",
		"PaymentIntent":           "payment_intent",
		"APIKey":                  "api_key",
		"OAuth2 Clients":          "o_auth2_clients",
		"  Spaces -- and dashes ": "spaces_and_dashes",
		"Größe":                   "gr_e",
		"2fa":                     "",
		"日本":                      "",
		"":                        "",
		strings.Repeat("a", 65):   "",
	} {
		if got := openapi.ResourceName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzParse: whatever the file is, the answer is rules that name it or an error that does, never a crash.
func FuzzParse(f *testing.F) {
	f.Add([]byte("openapi: 3.1.0\npaths: {/v1/a: {get: {tags: [x]}, x-keystile-access: read}}"))
	f.Add([]byte(`{"openapi":"3.0.3","servers":[{"url":"https://{h}/v1","variables":{"h":{"default":"x"}}}],"paths":{"/a":{"$ref":"#/x"}},"x":{"get":{}}}`))
	f.Add([]byte("openapi: 3.1.0\nx: &x [*x]\npaths: {/a: *x}"))
	f.Add([]byte("openapi: 3.1.0\npaths: &p\n  /a: *p\n"))
	f.Add([]byte("openapi: 3.1.0\npaths: {/a: {get: {responses: {'200': {content: {j: {schema: &s {anyOf: [*s]}}}}}}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := openapi.Parse("f.yaml", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") {
				t.Errorf("the error %q does not name the file", err)
			}
			return
		}
		for _, r := range rules {
			if !policy.IsResourceName(r.Resource) || r.Access == policy.AccessNone || r.Line < 1 || !strings.HasPrefix(r.Pattern, "/") {
				t.Errorf("bad rule %+v", r)
			}
		}
		if _, err := policy.NewCatalog(rules, nil); err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("the error %q does not name the file", err)
		}
	})
}
