package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// validate does what `keystile validate` does.
func (c *caddyProcess) validate(config []byte) error {
	c.t.Helper()
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		c.t.Fatal(err)
	}
	return caddy.Validate(&parsed)
}

// TestRewritesBehindTheDecision: what is decided on must be what is served, unless the operator says otherwise.
func TestRewritesBehindTheDecision(t *testing.T) {
	c := newCaddy(t)
	const refused = "put `keystile` after the rewrite"
	for site, want := range map[string]string{
		// before the directive, in whatever order they are written
		"keystile\nrewrite /a /b\nreverse_proxy a:1":                                 "",
		"uri strip_prefix /api\nkeystile\nreverse_proxy a:1":                         "",
		"try_files {path} /index.html\nkeystile\nfile_server":                        "",
		"method GET\nkeystile\nreverse_proxy a:1":                                    "",
		"handle_path /api/* {\nkeystile\nreverse_proxy a:1\n}":                       "",
		"route {\nrewrite /a /b\nkeystile\nreverse_proxy a:1\n}":                     "",
		"handle_path /x/* {\nrespond x\n}\nhandle {\nkeystile\nreverse_proxy a:1\n}": "",
		"handle {\nkeystile\nreverse_proxy a:1\n}\nhandle_path /x/* {\nrespond x\n}": "",
		// the query takes no part in a decision
		"route {\nkeystile\nrewrite ?a=b\nreverse_proxy a:1\n}":                             "",
		"route {\nkeystile\nuri query a b\nreverse_proxy a:1\n}":                            "",
		"keystile\nreverse_proxy a:1 {\nrewrite ?a=b\n}":                                    "",
		"keystile\nforward_auth a:1 {\nuri /auth\n}\nreverse_proxy b:1":                     "",
		"keystile\nreverse_proxy a:1\nhandle_errors {\nrewrite /error.html\nfile_server\n}": "",
		"keystile {\nupstreams {\nlive a:1\n}\n}\nhandle_path /x/* {\nreverse_proxy a:1\n}": "",
		"keystile {\nrewrites allowed\n}\nhandle_path /x/* {\nreverse_proxy a:1\n}":         "",
		// behind it
		"keystile {\nopen /public/*\n}\nhandle_path /public/* {\nreverse_proxy a:1\n}\nreverse_proxy b:1": refused,
		"keystile\nhandle {\nrewrite /a /b\nreverse_proxy a:1\n}":                                         refused,
		"keystile\nhandle /x/* {\nroute {\nuri replace /a /b\nreverse_proxy a:1\n}\n}":                    refused,
		"route {\nkeystile\nuri strip_suffix .json\nreverse_proxy a:1\n}":                                 refused,
		"route {\nkeystile\nuri path_regexp /+ /\nreverse_proxy a:1\n}":                                   refused,
		"route {\nkeystile\nmethod GET\nreverse_proxy a:1\n}":                                             refused,
		"route {\nroute {\nkeystile\n}\nrewrite /x\nreverse_proxy a:1\n}":                                 refused,
		"keystile\nreverse_proxy a:1 {\nrewrite /v2{uri}\n}":                                              refused,
		"keystile\nreverse_proxy a:1 {\nmethod GET\n}":                                                    refused,
		"keystile {\nupstreams {\nlive a:1\nsandbox b:1 {\nrewrite /sandbox{uri}\n}\n}\n}":                refused,
		"keystile\nphp_fastcgi a:9000":                                                                    refused,
		"keystile\ninvoke moved":                                                                          refused,
	} {
		config := adapt(t, strings.Replace(string(placeCaddyfile), "SITE", site, 1))
		err := c.validate(config)
		switch {
		case want == "" && err != nil:
			t.Errorf("refused: %v\n%s", err, site)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "say `rewrites allowed`")):
			t.Errorf("error %v, want it to say %q\n%s", err, want, site)
		}
	}
}

const placeCaddyfile = `
{
	admin off
}
&(moved) {
	rewrite /elsewhere
	reverse_proxy a:1
}
http://other.example {
	rewrite /x
	respond x
}
http://site.example {
	SITE
}
`

// TestRewritesInJSON: routes of JSON need not be terminal.
func TestRewritesInJSON(t *testing.T) {
	c := newCaddy(t)
	rewritten := `{"handle":[{"handler":"rewrite","strip_path_prefix":"/v1"},{"handler":"static_response"}]`
	for routes, refused := range map[string]bool{
		`{"handle":[{"handler":"keystile"}]},` + rewritten + `}`:                                                                true,
		`{"handle":[{"handler":"keystile","allow_rewrites":true}]},` + rewritten + `}`:                                          false,
		`{"handle":[{"handler":"keystile"}],"terminal":true},` + rewritten + `}`:                                                false,
		`{"handle":[{"handler":"keystile"}],"match":[{"host":["a"]}]},` + rewritten + `,"match":[{"host":["b"]}]}`:              false,
		`{"handle":[{"handler":"keystile"}],"match":[{"host":["a"]}]},` + rewritten + `,"match":[{"host":["A"]}]}`:              true,
		`{"handle":[{"handler":"keystile"}],"match":[{"host":["a"]}]},` + rewritten + `,"match":[{"host":["*"]}]}`:              true,
		`{"handle":[{"handler":"keystile"}],"group":"g"},` + rewritten + `,"group":"g"}`:                                        false,
		`{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"keystile"}]}]}]},` + rewritten + `}`:                 true,
		`{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"keystile"}],"terminal":true}]}]},` + rewritten + `}`: false,
		rewritten + `},{"handle":[{"handler":"keystile"}]}`:                                                                     false,
	} {
		err := c.validate([]byte(`{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":[":0"],"routes":[` + routes + `]}}}}}`))
		if (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "rewrites allowed") {
			t.Errorf("error %v, want refused %v\n%s", err, refused, routes)
		}
	}
}

// TestKeyHeaderThatWouldBeLogged: where the key cannot be kept out of Caddy's logs, the configuration is refused.
func TestKeyHeaderThatWouldBeLogged(t *testing.T) {
	c := newCaddy(t)
	for _, test := range []struct{ global, site, want string }{
		{"debug", "rewrite /a /b\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok", "set the log's level to INFO"},
		{"debug", "handle_path /x/* {\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok\n}", "set the log's level to INFO"},
		{"", "rewrite /a /b\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok", ""},
		{"debug", "rewrite /a /b\nkeystile\nrespond ok", ""},
		{"debug", "keystile {\nkey_header X-Api-Key\n}\nrespond ok", ""},
		{"debug", "handle_path /x/* {\nrespond x\n}\nhandle {\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok\n}", ""},
		{"log {\nlevel DEBUG\nexclude http.handlers.rewrite\n}", "rewrite /a /b\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok", ""},
		{"debug\nservers {\nlog_credentials\n}", "rewrite /a /b\nlog\nkeystile {\nkey_header X-Api-Key\n}\nrespond ok", ""},
	} {
		err := c.validate(c.config(test.global, "", test.site))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("error %v, want %q\n%s\n%s", err, test.want, test.global, test.site)
		}
	}
	inSubroute := `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":[":0"],"routes":[{"handle":[{"handler":"subroute",
		"errors":{"routes":[{"handle":[{"handler":"static_response"}]}]},"routes":[{"handle":[{"handler":"keystile","key_header":"X-Api-Key"}]}]}]}]}}}}}`
	if err := c.validate([]byte(inSubroute)); err == nil || !strings.Contains(err.Error(), "handle_errors") {
		t.Errorf("error routes of a subroute: %v", err)
	}
}

// TestPathMatcherIsWarnedOf: once for each place, and again by the next configuration.
func TestPathMatcherIsWarnedOf(t *testing.T) {
	c := newCaddy(t)
	file := filepath.Join(t.TempDir(), "log")
	global := "log {\noutput file " + file + "\n}"
	for site, want := range map[string]int{
		"keystile /v1/* {\n}\nrespond ok":                                         1,
		"@api path_regexp ^/v1/\nkeystile @api {\n}\nrespond ok":                  1,
		"@api {\nmethod GET\npath /v1/* /v2/*\n}\nkeystile @api {\n}\nrespond ok": 1,
		"@api not path /static/*\nkeystile @api {\n}\nrespond ok":                 1,
		"keystile /v1/*\nkeystile /v2/*\nrespond ok":                              2,
		"@api method GET\nkeystile @api {\n}\nrespond ok":                         0,
		"keystile {\nopen /public/*\n}\nrespond ok":                               0,
	} {
		_ = os.Truncate(file, 0)
		c.anew()
		c.mustLoad(c.config(global, "", site))
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "reach other handlers unchecked"); got != want {
			t.Errorf("%d warnings, want %d:\n%s\n%s", got, want, site, text)
		}
	}
}
