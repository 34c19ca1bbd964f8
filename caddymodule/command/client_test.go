package command

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

// TestRemote: --url with the admin token from the environment or from standard input.
func TestRemote(t *testing.T) {
	s := newServer(t)
	id := s.account(t)
	t.Setenv(adminTokenVariable, adminToken)
	r := execute(t, "", "account", "get", id, "--url", s.url)
	if r.code != 0 {
		t.Fatalf("token from the environment: exit code %d\n%s", r.code, r.stderr)
	}
	contains(t, "account get", r.stdout, id)

	t.Setenv(adminTokenVariable, "adm_wrong")
	if r = execute(t, adminToken+"\n", "account", "get", id, "--url", s.url+"/", "--token-stdin"); r.code != 0 {
		t.Errorf("token from standard input: exit code %d\n%s", r.code, r.stderr)
	}
	r = execute(t, "", "account", "get", id, "--url", s.url)
	if r.code != 1 {
		t.Errorf("wrong token: exit code %d, want 1", r.code)
	}
	contains(t, "the refusal", r.stderr, "authentication_required")

	// Standard input cannot give the admin token and the file.
	r = execute(t, adminToken+"\n", "key", "import", "-", "--url", s.url, "--token-stdin")
	if r.code != 2 {
		t.Errorf("two readers of standard input: exit code %d, want 2", r.code)
	}
	contains(t, "the refusal", r.stderr, "cannot give both")

	// In explain, --token-stdin is the key.
	t.Setenv(adminTokenVariable, adminToken)
	r = execute(t, "sk_test_unknown\n", "explain", "--token-stdin", "GET", "/v1/charges", "--url", s.url)
	if r.code != 0 {
		t.Errorf("explain --url --token-stdin: exit code %d\n%s", r.code, r.stderr)
	}
	contains(t, "explain", r.stdout, "api_key_invalid")
}

// TestRedirectsAreNotFollowed: neither would a changed method be seen, nor would the token stay where it belongs.
func TestRedirectsAreNotFollowed(t *testing.T) {
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++ }))
	defer elsewhere.Close()
	first := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer first.Close()
	t.Setenv(adminTokenVariable, adminToken)
	r := execute(t, "", "key", "list", "--url", first.URL)
	if r.code != 1 || asked != 0 {
		t.Errorf("exit code %d and %d requests elsewhere, want 1 and none", r.code, asked)
	}
	contains(t, "standard error", r.stderr, "redirect")
}

// TestForeignServers: what answers at the address need not be a keystile.
func TestForeignServers(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"another Caddy", 404, "404 page not found\n", "has no keystile"},
		{"Caddy's own error", 403, `{"error":"host not allowed: evil"}`, "answered 403: host not allowed: evil"},
		{"a page with control characters", 500, "<b>\x1b[31mboom", "answered 500 Internal Server Error"},
		{"our error with control characters", 400, `{"error":{"code":"parameter_invalid","message":"bad \u001b[31m name.","param":"name"}}`,
			"bad [31m name (parameter_invalid: name)"},
		{"a server error keeps its request id", 500, `{"error":{"code":"internal_error","message":"Sorry.","request_id":"req_1"}}`,
			"Sorry (internal_error, request req_1)"},
		{"an error that repeats a token", 400, `{"error":{"code":"x","message":"no sk_live_abcdefgh"}}`, "no sk_live_**** (x)"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}))
			defer server.Close()
			r := execute(t, "", "key", "list", "--address", strings.TrimPrefix(server.URL, "http://"))
			if r.code != 1 || r.stdout != "" {
				t.Errorf("exit code %d and output %q, want 1 and nothing", r.code, r.stdout)
			}
			contains(t, "standard error", r.stderr, test.want)
			if lines := strings.Count(r.stderr, "\n"); lines != 1 || strings.Contains(r.stderr, "\x1b") {
				t.Errorf("standard error is %q, want one clean line", r.stderr)
			}
		})
	}
	t.Run("no JSON at all", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
		defer server.Close()
		if r := execute(t, "", "key", "list", "--address", strings.TrimPrefix(server.URL, "http://")); r.code != 1 {
			t.Errorf("exit code %d, want 1", r.code)
		}
	})
}

// TestNobodyListens: the message says how to start, or which flag names another place.
func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{closed, "unix/" + filepath.Join(t.TempDir(), "missing.sock")} {
		r := execute(t, "", "key", "list", "--address", address)
		if r.code != 1 {
			t.Errorf("%s: exit code %d, want 1", address, r.code)
		}
		contains(t, "standard error", r.stderr, "nothing listens at "+address, "keystile run", "--address")
	}
}

// TestUnixSocket: the admin endpoint may be a socket, with its permissions behind the path.
func TestUnixSocket(t *testing.T) {
	s := newServer(t)
	id := s.account(t)
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.http.Config.Handler}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	r := execute(t, "", "account", "get", id, "--address", "unix/"+path+"|0220")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "account get", r.stdout, id)
}

// TestAddressFromConfig: the admin endpoint's address is found in a config file, as by Caddy's own commands.
func TestAddressFromConfig(t *testing.T) {
	s := newServer(t)
	path := writeFile(t, t.TempDir(), "caddy.json", []byte(`{"admin":{"listen":"`+s.address+`"}}`))
	if r := execute(t, "", "account", "list", "--config", path); r.code != 0 {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// The shape of errors is the API's: this fails to compile or to match if it changes.
func TestErrorShape(t *testing.T) {
	t.Parallel()
	want := api.Error{Status: 400, Code: "parameter_invalid", Message: "It is wrong.", Param: "name", RequestID: "req_1"}
	c := &client{where: "here"}
	err := c.decodeError(400, []byte(`{"error":{"type":"invalid_request_error","code":"`+want.Code+`","message":"`+want.Message+
		`","param":"`+want.Param+`","request_id":"req_1"}}`))
	if got := err.Error(); got != "It is wrong (parameter_invalid: name)" {
		t.Errorf("the error reads %q", got)
	}
}
