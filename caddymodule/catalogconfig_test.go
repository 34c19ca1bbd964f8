package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/policy"
)

const smallOpenAPI = `openapi: 3.0.3
info: {title: t, version: "1"}
paths:
  /v1/charges:
    get:
      x-keystile-resource: charges
      responses: {"200": {description: ok}}
    post:
      x-keystile-resource: charges
      responses: {"200": {description: ok}}
`

func TestCatalogCompile(t *testing.T) {
	t.Parallel()
	document := filepath.Join(t.TempDir(), "openapi.yaml")
	if err := os.WriteFile(document, []byte(smallOpenAPI), 0o600); err != nil {
		t.Fatal(err)
	}
	config := &CatalogConfig{
		OpenAPI: document,
		Resources: []ResourceConfig{
			{Name: "charges", Rules: []RuleConfig{
				{Rule: "read", Method: "POST", Paths: []string{"/v1/charges"}, At: "Caddyfile:7"},
				{Rule: "write", Method: "POST", Paths: []string{"/v1/charges/{id}/capture", "/v1/charges/{id}/refund"}},
			}},
			{Name: "tokens", Rules: []RuleConfig{{Rule: "publishable", Method: "POST", Paths: []string{"/v1/tokens"}}}},
		},
	}
	catalog, err := config.compile(caddy.NewReplacer())
	if err != nil {
		t.Fatalf("compiling: %v", err)
	}
	tests := []struct {
		method, path string
		resource     string
		access       policy.Access
		publishable  bool
	}{
		{"GET", "/v1/charges", "charges", policy.AccessRead, false},
		{"POST", "/v1/charges", "charges", policy.AccessRead, false}, // the override wins over the document
		{"POST", "/v1/charges/1/capture", "charges", policy.AccessWrite, false},
		{"POST", "/v1/charges/1/refund", "charges", policy.AccessWrite, false},
		{"POST", "/v1/tokens", "tokens", policy.AccessWrite, true},
	}
	for _, test := range tests {
		got := catalog.Match(test.method, test.path)
		if !got.Known || got.Resource != test.resource || got.Access != test.access || got.Publishable != test.publishable {
			t.Errorf("%s %s: got %+v, want %+v", test.method, test.path, got, test)
		}
	}
	if catalog.Match("GET", "/v1/other").Known {
		t.Error("knows a route that nobody named")
	}
}

func TestNoCatalogKnowsNothing(t *testing.T) {
	t.Parallel()
	var none *CatalogConfig
	catalog, err := none.compile(caddy.NewReplacer())
	if err != nil || catalog == nil {
		t.Fatalf("got %v, %v; want an empty catalog", catalog, err)
	}
	if catalog.Match("GET", "/").Known {
		t.Error("an empty catalog knows a route")
	}
}

// TestCatalogErrorsNameThePlace: whoever wrote the rule must find it.
func TestCatalogErrorsNameThePlace(t *testing.T) {
	t.Parallel()
	notOpenAPI := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(notOpenAPI, []byte("openapi: 3.0.3\npaths: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rule := func(word, method, at string, paths ...string) *CatalogConfig {
		return &CatalogConfig{Resources: []ResourceConfig{{Name: "charges", Rules: []RuleConfig{{Rule: word, Method: method, Paths: paths, At: at}}}}}
	}
	tests := []struct {
		name   string
		config *CatalogConfig
		want   []string
	}{
		{"bad pattern", rule("read", "GET", "Caddyfile:7", "v1/charges"), []string{"Caddyfile", "7"}},
		{"bad pattern in an imported file", rule("read", "GET", "/etc/caddy/catalog:12", "/v1/*/charges"), []string{"/etc/caddy/catalog", "12"}},
		{"bad pattern in JSON", rule("read", "GET", "", "/v1//charges"), []string{"apps.keystile.catalog.resources[0].rules[0]"}},
		{"bad method", rule("read", "GE T", "Caddyfile:7", "/v1/charges"), []string{"Caddyfile", "7"}},
		{"bad word", rule("delete", "GET", "Caddyfile:7", "/v1/charges"), []string{"Caddyfile:7", `"delete"`}},
		{"no paths", rule("read", "GET", "Caddyfile:7"), []string{"Caddyfile:7", "no paths"}},
		{"no name", &CatalogConfig{Resources: []ResourceConfig{{At: "Caddyfile:3"}}}, []string{"Caddyfile:3", "no name"}},
		{"missing document", &CatalogConfig{OpenAPI: "/nowhere/openapi.yaml"}, []string{"/nowhere/openapi.yaml"}},
		{"broken document", &CatalogConfig{OpenAPI: notOpenAPI}, []string{notOpenAPI}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := test.config.compile(caddy.NewReplacer())
			if err == nil {
				t.Fatal("compiles, want an error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want it to contain %q", err, want)
				}
			}
		})
	}
}

func TestVersionsCompile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config *VersionsConfig
		yes    []string
		no     []string
		err    string
	}{
		{name: "default", yes: []string{"2026-01-31", "2026-01-31.basil"}, no: []string{"", "v1", "2026-1-31"}},
		{name: "list", config: &VersionsConfig{List: []string{"v1", "v2"}}, yes: []string{"v1", "v2"}, no: []string{"v", "v3", "2026-01-31"}},
		{name: "pattern matches whole", config: &VersionsConfig{Pattern: "v[0-9]|w"}, yes: []string{"v1", "w"}, no: []string{"v10", "xw", "v1w"}},
		{name: "bad pattern", config: &VersionsConfig{Pattern: "v["}, err: "api_versions"},
		{name: "both", config: &VersionsConfig{Pattern: "v1", List: []string{"v1"}}, err: "exclude each other"},
		{name: "neither", config: &VersionsConfig{}, err: "neither a pattern nor a list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rule, err := test.config.compile()
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want it to contain %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range test.yes {
				if !rule.Match(v) {
					t.Errorf("refuses %q", v)
				}
			}
			for _, v := range test.no {
				if rule.Match(v) {
					t.Errorf("accepts %q", v)
				}
			}
		})
	}
}
