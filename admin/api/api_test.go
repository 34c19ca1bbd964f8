package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func TestNewNeedsItsParts(t *testing.T) {
	t.Parallel()
	whole := func() api.Config {
		f := newFixture(t)
		return api.Config{
			Store: f.store, Log: f.log, Catalog: func() *policy.Catalog { return nil }, Rules: func(string) *policy.Rules { return nil },
			Caller: func(*http.Request) (*auth.Caller, error) { return auth.Root(keystore.Actor{}), nil },
		}
	}()
	if _, err := api.New(whole); err != nil {
		t.Fatalf("New with all parts: %v", err)
	}
	for name, remove := range map[string]func(*api.Config){
		"Store":   func(c *api.Config) { c.Store = nil },
		"Log":     func(c *api.Config) { c.Log = nil },
		"Catalog": func(c *api.Config) { c.Catalog = nil },
		"Rules":   func(c *api.Config) { c.Rules = nil },
		"Caller":  func(c *api.Config) { c.Caller = nil },
	} {
		c := whole
		remove(&c)
		if _, err := api.New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New without %s: %v", name, err)
		}
	}
}

func TestFraming(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	restricted := f.restricted(account.ID)
	long := `{"name":"` + strings.Repeat("x", 1<<20) + `"}`
	deep := `{"metadata":` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40) + `}`
	for _, test := range []struct {
		name, method, target string
		body                 any
		headers              []string
		status               int
		code, param          string
		says                 string
	}{
		{"unknown path", "GET", "/v1/nothing", nil, nil, 404, "path_unknown", "", "/v1/docs"},
		{"trailing slash", "GET", "/v1/keys/", nil, nil, 404, "path_unknown", "", ""},
		{"double slash", "GET", "//v1/keys", nil, nil, 404, "path_unknown", "", ""},
		{"dot segment", "GET", "/v1/../v1/keys", nil, nil, 404, "path_unknown", "", ""},
		{"other case", "GET", "/V1/keys", nil, nil, 404, "path_unknown", "", ""},
		{"encoded slash is no separator", "POST", "/v1/keys/" + restricted.ID + "%2Freveal", nil, nil, 405, "method_not_allowed", "", "DELETE"},
		{"root", "GET", "/", nil, nil, 404, "path_unknown", "", ""},
		{"method", "PUT", "/v1/keys", nil, nil, 405, "method_not_allowed", "", "GET, HEAD, POST"},
		{"a literal is no id", "GET", "/v1/keys/import", nil, nil, 405, "method_not_allowed", "", "POST"},
		{"options", "OPTIONS", "/v1/keys", nil, nil, 405, "method_not_allowed", "", ""},
		{"unknown query parameter", "GET", "/v1/keys?acount=x", nil, nil, 400, "parameter_unknown", "acount", "did you mean account?"},
		{"query parameter twice", "GET", "/v1/keys?limit=1&limit=2", nil, nil, 400, "parameter_invalid", "limit", "twice"},
		{"query parameter on a POST", "POST", "/v1/organizations?name=x", `{"name":"x"}`, nil, 400, "parameter_unknown", "name", ""},
		{"malformed query", "GET", "/v1/keys?limit=%zz", nil, nil, 400, "parameter_invalid", "", "malformed"},
		{"limit 0", "GET", "/v1/keys?limit=0", nil, nil, 400, "parameter_invalid", "limit", ""},
		{"limit 101", "GET", "/v1/keys?limit=101", nil, nil, 400, "parameter_invalid", "limit", ""},
		{"limit junk", "GET", "/v1/keys?limit=ten", nil, nil, 400, "parameter_invalid", "limit", "whole number"},
		{"limit empty", "GET", "/v1/keys?limit=", nil, nil, 400, "parameter_invalid", "limit", ""},
		{"not in the enumeration", "GET", "/v1/keys?mode=test", nil, nil, 400, "parameter_invalid", "mode", "live"},
		{"unknown cursor", "GET", "/v1/keys?starting_after=key_nowhere", nil, nil, 400, "parameter_invalid", "starting_after", ""},
		{"curl without a content type", "POST", "/v1/organizations", `{"name":"x"}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "content_type_unsupported", "Content-Type", "curl"},
		{"no content type", "POST", "/v1/organizations", `{"name":"x"}`, []string{"Content-Type", ""}, 415, "content_type_unsupported", "Content-Type", ""},
		{"text", "POST", "/v1/organizations", `{"name":"x"}`, []string{"Content-Type", "text/plain"}, 415, "content_type_unsupported", "Content-Type", ""},
		{"charset", "POST", "/v1/organizations", `{"name":"x"}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "content_type_unsupported", "Content-Type", ""},
		{"gzip", "POST", "/v1/organizations", `{"name":"x"}`, []string{"Content-Encoding", "gzip"}, 415, "content_type_unsupported", "Content-Encoding", ""},
		{"too large", "POST", "/v1/organizations", long, nil, 413, "body_too_large", "", "1048576"},
		{"too deep", "PATCH", "/v1/keys/" + restricted.ID, deep, nil, 400, "body_invalid", "metadata" + strings.Repeat("[0]", 16), ""},
		{"no JSON", "POST", "/v1/organizations", `name=x`, nil, 400, "body_invalid", "", "byte"},
		{"cut JSON", "POST", "/v1/organizations", `{"name":"x"`, nil, 400, "body_invalid", "", ""},
		{"trailing data", "POST", "/v1/organizations", `{"name":"x"} {}`, nil, 400, "body_invalid", "", "after the end"},
		{"trailing junk", "POST", "/v1/organizations", `{"name":"x"}}`, nil, 400, "body_invalid", "", ""},
		{"a list", "POST", "/v1/organizations", `[]`, nil, 400, "body_invalid", "", "object"},
		{"null", "POST", "/v1/organizations", `null`, nil, 400, "body_invalid", "", "object"},
		{"not UTF-8", "POST", "/v1/organizations", "{\"name\":\"\xff\"}", nil, 400, "body_invalid", "", "UTF-8"},
		{"name twice", "POST", "/v1/organizations", `{"name":"x","name":"y"}`, nil, 400, "body_invalid", "name", "twice"},
		{"name twice, inside", "PATCH", "/v1/keys/" + restricted.ID, `{"permissions":{"charges":"read","charges":"write"}}`, nil, 400, "body_invalid", "permissions.charges", "twice"},
		{"unknown field", "POST", "/v1/organizations", `{"nmae":"x"}`, nil, 400, "parameter_unknown", "nmae", "did you mean name?"},
		{"other case of a field", "POST", "/v1/organizations", `{"Name":"x"}`, nil, 400, "parameter_unknown", "Name", "did you mean name?"},
		{"missing field", "POST", "/v1/organizations", `{}`, nil, 400, "parameter_missing", "name", "required"},
		{"missing body", "POST", "/v1/organizations", nil, nil, 400, "parameter_missing", "name", ""},
		{"field of another type", "POST", "/v1/organizations", `{"name":5}`, nil, 400, "parameter_invalid", "name", "string"},
		{"null where it is not", "POST", "/v1/organizations", `{"name":null}`, nil, 400, "parameter_invalid", "name", "null"},
		{"fields where none are", "POST", "/v1/keys/" + restricted.ID + "/reveal", `{"force":true}`, nil, 400, "parameter_unknown", "force", "no fields"},
		{"body on a delete", "DELETE", "/v1/keys/" + restricted.ID, `{"force":true}`, nil, 400, "parameter_unknown", "force", ""},
		{"wait", "DELETE", "/v1/keys/" + restricted.ID + "?wait=all", nil, nil, 400, "parameter_invalid", "wait", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := f.do(test.method, test.target, test.body, test.headers...)
			a.t = t
			e := a.fails(test.status, test.code, test.param)
			if !strings.Contains(e.Message, test.says) {
				t.Errorf("message %q does not say %q", e.Message, test.says)
			}
			if test.status == 405 && a.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	f.ok("GET", "/v1/keys/"+restricted.ID, nil).has("status", `"active"`)
}

func TestAcceptedFramings(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.ok("POST", "/v1/organizations", `{"name":"x"}`, "Content-Type", "application/json; charset=UTF-8")
	f.ok("POST", "/v1/organizations", ` {"name":"x"} `+"\r\n")
	f.ok("HEAD", "/v1/organizations", nil)
	account := f.account("Acme")
	var sandboxSecret string
	for _, k := range account.Keys {
		if k.Kind == "secret" && k.Mode == "sandbox" {
			sandboxSecret = k.ID
		}
	}
	f.ok("POST", "/v1/keys/"+sandboxSecret+"/reveal", nil)
	f.ok("POST", "/v1/keys/"+sandboxSecret+"/reveal", `{}`)
	f.ok("POST", "/v1/keys/"+sandboxSecret+"/reveal", "  \n", "Content-Type", "")
}

func TestCallerDecides(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refuse = errRefused
	for _, target := range []string{"/v1/docs", "/v1/openapi.json"} {
		if a := f.do("GET", target, nil); a.status != 200 {
			t.Errorf("%s needs a credential: %d", target, a.status)
		}
	}
	for _, target := range []string{"/v1/keys", "/v1/request_logs/tail", "/v1/keys/key_1"} {
		a := f.do("GET", target, nil)
		e := a.fails(401, "authentication_required", "")
		if strings.Contains(e.Message, "secret detail") {
			t.Errorf("the message repeats the cause: %q", e.Message)
		}
		if a.header.Get("WWW-Authenticate") == "" {
			t.Error("401 without WWW-Authenticate")
		}
	}
	f.refuse = &api.Error{Status: 403, Type: api.TypeInvalidRequest, Code: "role_insufficient", Message: "viewers cannot do this"}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest("GET", "/v1/keys", nil))
	if w.Code != 403 || !strings.Contains(w.Body.String(), "role_insufficient") {
		t.Errorf("an *Error of Caller: %d %s", w.Code, w.Body)
	}
}

func TestPanicIsABare500(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		c.Catalog = func() *policy.Catalog { panic("a secret detail") }
	})
	e := f.do("GET", "/v1/resources", nil).fails(500, "internal_error", "")
	if strings.Contains(e.Message, "secret") {
		t.Errorf("message %q", e.Message)
	}
}
