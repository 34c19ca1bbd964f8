package command

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// server is the real admin API over a real store and a real request log, mounted as Caddy's admin endpoint mounts it and as
// a keystile_admin site does.
type server struct {
	address string // host:port, for --address
	url     string // for --url
	store   *keystore.Store
	log     *requestlog.Log
	http    *httptest.Server
}

// adminToken is what the remote mount asks for. It has the shape of an admin token, and no value anywhere else.
const adminToken = "adm_0123456789abcdefghijABCDEFGHIJ0123456789"

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{store: keystoretest.NewStore(t, keystore.Options{})}
	var err error
	if s.log, err = requestlog.Open(requestlog.Options{Dir: t.TempDir(), Node: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.log.Close(); err != nil {
			t.Errorf("closing the request log: %v", err)
		}
	})
	catalog, err := policy.NewCatalog(nil, []policy.Rule{
		{Resource: "charges", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/charges"},
		{Resource: "charges", Access: policy.AccessWrite, Methods: []string{"POST"}, Pattern: "/v1/charges"},
		{Resource: "customers", Access: policy.AccessRead, Methods: []string{"GET"}, Pattern: "/v1/customers"},
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := &policy.Rules{Catalog: catalog, Live: true, Sandbox: true}
	config := api.Config{
		Store: s.store, Log: s.log, Node: "test",
		Catalog: func() *policy.Catalog { return catalog },
		Rules:   func(string) *policy.Rules { return rules },
	}
	local, remote := config, config
	local.Caller = func(*http.Request) (*auth.Caller, error) {
		return auth.Root(keystore.Actor{Kind: "local", Name: "admin endpoint"}), nil
	}
	remote.Caller = func(r *http.Request) (*auth.Caller, error) {
		if r.Header.Get("Authorization") != "Bearer "+adminToken {
			return nil, context.Canceled // any error: the API answers a bare 401
		}
		return auth.Root(keystore.Actor{Kind: "admin_token", Name: "test"}), nil
	}
	mux := http.NewServeMux()
	mux.Handle("/keystile/", http.StripPrefix("/keystile", mount(t, local)))
	mux.Handle("/v1/", mount(t, remote))
	s.http = httptest.NewServer(mux)
	t.Cleanup(s.http.Close)
	s.url = s.http.URL
	s.address = strings.TrimPrefix(s.http.URL, "http://")
	return s
}

func mount(t *testing.T, config api.Config) http.Handler {
	t.Helper()
	handler, err := api.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// result is what a command left behind.
type result struct {
	code           int
	stdout, stderr string
}

// root is the command tree as Caddy builds it.
func root() *cobra.Command {
	root := &cobra.Command{Use: "keystile", SilenceUsage: true}
	for _, c := range commands() {
		cmd := &cobra.Command{Use: c.Name + " " + c.Usage, Short: c.Short, Long: c.Long}
		c.CobraFunc(cmd)
		root.AddCommand(cmd)
	}
	return root
}

// buffer is a bytes.Buffer that a test may read while a command writes.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// execute runs a command line, with the exit code that Caddy's main would make of it.
func execute(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr buffer
	err := executeTo(t.Context(), stdin, &stdout, &stderr, args...)
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	switch {
	case err == nil:
	case err.Error() == "exiting with status 2":
		r.code = 2
	default:
		r.code = 1
	}
	return r
}

func executeTo(ctx context.Context, stdin string, stdout, stderr *buffer, args ...string) error {
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

// run runs a command against s and wants exit code 0. It returns standard output.
func (s *server) run(t *testing.T, args ...string) string {
	t.Helper()
	r := s.try(t, "", args...)
	if r.code != 0 {
		t.Fatalf("keystile %s: exit code %d, want 0\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// try runs a command against s.
func (s *server) try(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return execute(t, stdin, append(args, "--address", s.address)...)
}

// object runs a command with --json and decodes its answer.
func (s *server) object(t *testing.T, args ...string) map[string]any {
	t.Helper()
	out := s.run(t, append(args, "--json")...)
	var object map[string]any
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		t.Fatalf("keystile %s --json printed no JSON object: %v\n%s", strings.Join(args, " "), err, out)
	}
	return object
}

// account makes an account and returns its id.
func (s *server) account(t *testing.T) string {
	t.Helper()
	id, _ := s.object(t, "account", "create", "Shop")["id"].(string)
	if id == "" {
		t.Fatal("account create --json has no id")
	}
	return id
}

// restricted makes a restricted key and returns its id and token.
func (s *server) restricted(t *testing.T, account string) (id, token string) {
	t.Helper()
	k := s.object(t, "key", "create", "--account", account, "--mode", "live", "--kind", "restricted", "--name", "billing",
		"--permission", "charges=write")
	id, _ = k["id"].(string)
	token, _ = k["token"].(string)
	if id == "" || token == "" {
		t.Fatalf("key create --json has id %q and a token of %d characters, want both", id, len(token))
	}
	return id, token
}

// contains fails unless text has every part.
func contains(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s has no %q:\n%s", what, part, text)
		}
	}
}

// lacks fails if text has one of the parts.
func lacks(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%s has %q, and must not:\n%s", what, part, text)
		}
	}
}
