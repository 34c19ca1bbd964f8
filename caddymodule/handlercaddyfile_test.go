package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func parse(text string) (*Handler, error) {
	h := new(Handler)
	err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
	return h, err
}

func TestHandlerCaddyfile(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"alone", "keystile", `{}`},
		{"empty block", "keystile {\n}", `{}`},
		{"all words", `keystile {
			mode live
			open /healthz /public/*
			open /version
			rewrites allowed
			key_header X-Api-Key
			cors_origins https://a.example https://b.example
			on_overload deny
			denials handle_errors
			doc_url https://docs.example/errors#{code}
		}`, `{"mode":"live","open":["/healthz","/public/*","/version"],"allow_rewrites":true,"key_header":"X-Api-Key","cors_origins":["https://a.example","https://b.example"],"on_overload":"deny","denials":"handle_errors","doc_url":"https://docs.example/errors#{code}"}`},
		{"upstreams", `keystile {
			upstreams {
				live backend:8080 other:8080
				sandbox https://sandbox.example
			}
		}`, `{"upstreams":{"live":{"handler":"reverse_proxy","upstreams":[{"dial":"backend:8080"},{"dial":"other:8080"}]},"sandbox":{"handler":"reverse_proxy","transport":{"protocol":"http","tls":{}},"upstreams":[{"dial":"sandbox.example:443"}]}}}`},
		{"upstreams with options", `keystile {
			upstreams {
				sandbox localhost:12111 {
					header_up Authorization "Bearer sk_test_123"
				}
				live localhost:12112
			}
			mode any
		}`, `{"mode":"any","upstreams":{"live":{"handler":"reverse_proxy","upstreams":[{"dial":"localhost:12112"}]},"sandbox":{"handler":"reverse_proxy","headers":{"request":{"set":{"Authorization":["Bearer sk_test_123"]}}},"upstreams":[{"dial":"localhost:12111"}]}}}`},
		{"capture", `keystile {
			capture {
				request_headers User-Agent content-type
				response_headers
				request_body
				response_body 16KiB
				redact_header X-Internal X-Other
				redact_field note
				query limit expand[]
				only errors
			}
			mode live
		}`, `{"mode":"live","capture":{"request_headers":["User-Agent","content-type"],"response_headers":["*"],"request_body":4096,"response_body":16384,"redact_headers":["X-Internal","X-Other"],"redact_fields":["note"],"query":["limit","expand[]"],"only":"errors"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h, err := parse(test.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(h)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("JSON\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestHandlerCaddyfileErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"keystile live": "wrong argument count", "keystile {\nmode\n}": "wrong argument count", "keystile {\nmode live sandbox\n}": "wrong argument count",
		"keystile {\nmode test\n}":                                          `mode: "test" is none of live, sandbox, any`,
		"keystile {\nmode live\nmode live\n}":                               `duplicate subdirective "mode"`,
		"keystile {\nrewrites\n}":                                           "wrong argument count",
		"keystile {\nrewrites forbidden\n}":                                 `"forbidden" is none of allowed`,
		"keystile {\nmodus live\n}":                                         `unrecognized subdirective "modus"`,
		"keystile {\nopen\n}":                                               "wrong argument count",
		"keystile {\nrate_limit live 100\n}":                                `unrecognized subdirective "rate_limit"`,
		"keystile {\non_overload wait\n}":                                   `"wait" is none of drop, deny`,
		"keystile {\ndenials html\n}":                                       `"html" is none of json, handle_errors`,
		"keystile {\ncors_origins\n}":                                       "wrong argument count",
		"keystile {\nupstreams {\n}\n}":                                     "none given",
		"keystile {\nupstreams x {\nlive a:1\n}\n}":                         "wrong argument count",
		"keystile {\nupstreams {\ntest a:1\n}\n}":                           `unrecognized mode "test"`,
		"keystile {\nupstreams {\nlive a:1\nlive b:1\n}\n}":                 `duplicate upstreams for "live"`,
		"keystile {\nupstreams {\nlive\n}\n}":                               "no upstream address given",
		"keystile {\nupstreams {\nlive a:1 {\nheader_upp x y\n}\n}\n}":      "header_upp",
		"keystile {\nupstreams {\nlive a:1\n}\nupstreams {\nlive a:1\n}\n}": `duplicate subdirective "upstreams"`,
		"keystile {\nkey_header X-Api-Key Y\n}":                             "wrong argument count",
		"keystile {\ndoc_url a b\n}":                                        "wrong argument count",
		"keystile {\ncapture\n}":                                            "capture: nothing is asked for",
		"keystile {\ncapture {\n}\n}":                                       "capture: nothing is asked for",
		"keystile {\ncapture all\n}":                                        "wrong argument count",
		"keystile {\ncapture {\nbodies\n}\n}":                               `unrecognized capture option "bodies"`,
		"keystile {\ncapture {\nrequest_body\nrequest_body\n}\n}":           `duplicate capture option "request_body"`,
		"keystile {\ncapture {\nrequest_body 1MiB\n}\n}":                    "request_body: 1048576 bytes; it may be 1 to 65536",
		"keystile {\ncapture {\nrequest_body 0\n}\n}":                       `request_body: "0" is no size`,
		"keystile {\ncapture {\nrequest_body lots\n}\n}":                    `request_body: "lots" is no size`,
		"keystile {\ncapture {\nrequest_body 1KiB 2KiB\n}\n}":               "wrong argument count",
		"keystile {\ncapture {\nrequest_headers * Accept\n}\n}":             "* is all of them",
		"keystile {\ncapture {\nrequest_headers a:b\n}\n}":                  `request_headers: "a:b" is no header name`,
		"keystile {\ncapture {\nrequest_headers\nredact_header\n}\n}":       "wrong argument count",
		"keystile {\ncapture {\nrequest_headers\nonly some\n}\n}":           `"some" is none of errors, all`,
		"keystile {\ncapture {\nquery limit\nonly errors\n}\n}":             "none are asked for",
		"keystile {\ncapture {\nquery access_token\n}\n}":                   `the values of "access_token" are never kept`,
		"keystile {\ncapture {\nrequest_headers {\nAccept\n}\n}\n}":         "Accept",
	} {
		_, err := parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want it to say %q", text, err, want)
		}
	}
}

// TestHandlerValidate: what only JSON could say wrong, or only the whole site shows.
func TestHandlerValidate(t *testing.T) {
	t.Parallel()
	for want, h := range map[string]*Handler{
		"mode:": {Mode: "test"}, "on_overload:": {OnOverload: "x"}, "denials:": {Denials: "x"},
		"key_header: \"a b\" is no header name":            {KeyHeader: "a b"},
		"key_header: Authorization has a meaning":          {KeyHeader: "authorization"},
		"key_header: Stripe-Context has a meaning":         {KeyHeader: "stripe-context"},
		"key_header: Keystile-Key has a meaning":           {KeyHeader: "Keystile-Key"},
		"key_header: Cookie has a meaning":                 {KeyHeader: "Cookie"},
		"key_header: Upgrade has a meaning":                {KeyHeader: "upgrade"},
		"key_header: Te has a meaning":                     {KeyHeader: "TE"},
		"key_header: Trailer has a meaning":                {KeyHeader: "Trailer"},
		"key_header: Proxy-Authorization has a meaning":    {KeyHeader: "Proxy-Authorization"},
		"key_header: Request-Id has a meaning":             {KeyHeader: "Request-ID"},
		"key_header: X-Http-Method-Override has a meaning": {KeyHeader: "X-HTTP-Method-Override"},
		"key_header: Http2-Settings has a meaning":         {KeyHeader: "HTTP2-Settings"},
		"key_header: Caddy drops headers":                  {KeyHeader: "X_Key"},
		"doc_url:":                                         {DocURL: "errors#{code}"},
		"upstreams: none is for mode \"live\"":             {Mode: "live", Upstreams: &Upstreams{SandboxRaw: json.RawMessage(`{}`)}},
	} {
		err := h.compile(&settings{headers: testHeaders})
		if err == nil {
			err = h.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want it to say %q", h, err, want)
		}
	}
	bad := &Handler{Open: []string{"no/slash"}}
	if err := bad.compile(&settings{headers: testHeaders}); err == nil || !strings.HasPrefix(err.Error(), "open: ") {
		t.Errorf("a bad pattern: %v", err)
	}
}

// TestDirectiveOrder: everything that can serve data, or that judges identities, runs after the directive wherever it
// stands in the site.
func TestDirectiveOrder(t *testing.T) {
	t.Parallel()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte(":1 {\nrespond ok\nfile_server\nreverse_proxy a:1\nencode gzip\nroute /x {\nrespond x\n}\nrewrite /a /b\nkeystile\n}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	text := string(config)
	at := strings.Index(text, `"handler":"keystile"`)
	for _, later := range []string{"static_response", "file_server", "reverse_proxy", "encode"} {
		if i := strings.Index(text, `"handler":"`+later+`"`); i < at || at < 0 {
			t.Errorf("%s runs before keystile:\n%s", later, text)
		}
	}
	if i := strings.Index(text, `"handler":"rewrite"`); i < 0 || i > at {
		t.Errorf("rewrite runs after keystile:\n%s", text)
	}
}
