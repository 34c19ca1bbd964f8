package caddymodule

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// stdoutOf is what f prints to standard output.
func stdoutOf(t *testing.T, f func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stdout
	os.Stdout = w
	read := make(chan string)
	go func() {
		out, _ := io.ReadAll(r)
		read <- string(out)
	}()
	defer func() { os.Stdout = old }()
	f()
	os.Stdout = old
	w.Close()
	return <-read
}

// TestWelcome: the first start of a new store makes the demo account and prints a key and a curl line that work. Later
// starts and reloads say nothing.
func TestWelcome(t *testing.T) {
	c := newCaddy(t)
	config := c.config("", oneResource, "keystile\nrespond hello")
	var g *gate
	out := stdoutOf(t, func() { g = c.mustLoad(config) })

	match := regexp.MustCompile(`(?m)^  curl (\S+) -u (sk_test_[0-9A-Za-z]{38}):$`).FindStringSubmatch(out)
	if match == nil {
		t.Fatalf("no curl line in %q", out)
	}
	if want := "http://" + c.site + "/v1/charges"; match[1] != want {
		t.Errorf("curl asks for %s, want %s", match[1], want)
	}
	if status, body := c.get(match[1], "Authorization", "Bearer "+match[2]); status != 200 || body != "hello" {
		t.Errorf("the curl line gets %d %q", status, body)
	}
	if strings.Contains(out, "_live_") {
		t.Errorf("a live key is shown: %q", out)
	}
	if keys := demoKeys(t, g.store); len(keys) != 4 {
		t.Errorf("%d keys, want 4", len(keys))
	}

	if out := stdoutOf(t, func() { c.mustLoad(c.config("", oneResource, "keystile\nrespond again")) }); out != "" {
		t.Errorf("a reload prints %q", out)
	}
	stopCaddy(t)
	if out := stdoutOf(t, func() { g = c.mustLoad(config) }); out != "" {
		t.Errorf("the second start prints %q", out)
	}
	accounts, _, err := g.store.Snapshot().Accounts("", keystore.Page{Limit: 10})
	if err != nil || len(accounts) != 1 {
		t.Errorf("%d accounts, %v; want 1", len(accounts), err)
	}

	// the key is on the terminal and nowhere in the files
	err = filepath.WalkDir(filepath.Dir(c.data), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(match[2])) {
			t.Errorf("%s holds the key in clear", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWelcomeLeavesAStoreAlone: a store that has held something is not new, whatever it holds now.
func TestWelcomeLeavesAStoreAlone(t *testing.T) {
	c := newCaddy(t)
	config := c.config("", "", "keystile")
	app := &App{run: &running{stdout: io.Discard}}
	g := c.mustLoad(config)
	if _, err := g.store.CreateOrganization(t.Context(), testActor, keystore.OrganizationParams{Name: "mine"}); err != nil {
		t.Fatal(err)
	}
	before := g.store.Snapshot().Revision()
	if err := app.welcome(g); err != nil {
		t.Fatal(err)
	}
	if after := g.store.Snapshot().Revision(); after != before {
		t.Error("a store in use was changed")
	}
}

func TestDemoURL(t *testing.T) {
	c := newCaddy(t)
	tests := []struct {
		name  string
		sites string
		want  string
	}{
		{"plain port", "http://:8089 {\n\tkeystile\n}", "http://localhost:8089/v1/charges"},
		{"no site", "http://:8089 {\n\trespond hello\n}", ""},
		{"the site that serves sandbox keys", "http://live.localhost:8089 {\n\tkeystile {\n\t\tmode live\n\t}\n}\nhttp://test.localhost:8089 {\n\tkeystile {\n\t\tmode sandbox\n\t}\n}", "http://test.localhost:8089/v1/charges"},
		{"inside a route", "http://:8089 {\n\troute {\n\t\thandle /v1/* {\n\t\t\tkeystile\n\t\t}\n\t}\n}", "http://localhost:8089/v1/charges"},
		{"an address", "http://127.0.0.1:8089 {\n\tkeystile\n}", "http://127.0.0.1:8089/v1/charges"},
		{"IPv6", "http://[::1]:8089 {\n\tkeystile\n}", "http://[::1]:8089/v1/charges"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := c.load(adapt(t, "{\n\tadmin "+adminAddress()+"\n\tpersist_config off\n\tkeystile {\n"+oneResource+"\n}\n}\n"+test.sites))
			if err != nil {
				t.Fatal(err)
			}
			app, err := activeApp()
			if err != nil {
				t.Fatal(err)
			}
			if got := app.demoURL(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPrintWelcomeWithoutSite(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := printWelcome(&b, "acct_1", policy.TokenFrom("sk_test_abc"), "", policy.Token{}); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "curl") || !strings.Contains(got, "sk_test_abc") {
		t.Errorf("got %q, want the key and no curl line", got)
	}
}

func TestRulesFor(t *testing.T) {
	c := newCaddy(t)
	err := c.load(adapt(t, `{
		admin `+adminAddress()+`
		persist_config off
		keystile
	}
	http://live.localhost:8089 {
		keystile {
			mode live
		}
	}
	http://*.localhost:8089 {
		keystile {
			mode sandbox
		}
	}
	http://any.localhost:8089, http://other.localhost:8089 {
		keystile
	}
	http://none.localhost:8090 {
		respond hello
	}`))
	if err != nil {
		t.Fatal(err)
	}
	app, err := activeApp()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host          string
		live, sandbox bool
		none          bool
	}{
		{host: "live.localhost", live: true},
		{host: "LIVE.localhost", live: true},
		{host: "any.localhost", live: true, sandbox: true},
		{host: "other.localhost", live: true, sandbox: true},
		{host: "x.localhost", sandbox: true},
		{host: "x.y.localhost", none: true},
		{host: "example.com", none: true},
		{host: "", live: true, sandbox: true},
	}
	for _, test := range tests {
		rules := app.rulesFor(test.host)
		switch {
		case rules == nil && !test.none:
			t.Errorf("%q: no rules", test.host)
		case rules != nil && test.none:
			t.Errorf("%q: rules %+v, want none", test.host, rules)
		case rules != nil && (rules.Live != test.live || rules.Sandbox != test.sandbox):
			t.Errorf("%q: live %t, sandbox %t; want %t, %t", test.host, rules.Live, rules.Sandbox, test.live, test.sandbox)
		}
	}
}
