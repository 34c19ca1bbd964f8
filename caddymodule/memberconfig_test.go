package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestSecretSource(t *testing.T) {
	t.Setenv("KEYSTILE_TEST_SECRET", " from the environment\n")
	t.Setenv("KEYSTILE_TEST_EMPTY", "  ")
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "secret"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{file: "from a file\n", empty: "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		source *SecretSource
		want   string
		fails  bool
	}{
		{nil, "", false},
		{&SecretSource{Env: "KEYSTILE_TEST_SECRET"}, "from the environment", false},
		{&SecretSource{File: file}, "from a file", false},
		{&SecretSource{}, "", true},
		{&SecretSource{Env: "A", File: "B"}, "", true},
		{&SecretSource{Env: "KEYSTILE_TEST_NOT_SET"}, "", true},
		{&SecretSource{Env: "KEYSTILE_TEST_EMPTY"}, "", true},
		{&SecretSource{Env: "{env.X}"}, "", true},
		{&SecretSource{File: empty}, "", true},
		{&SecretSource{File: dir}, "", true},
		{&SecretSource{File: filepath.Join(dir, "none")}, "", true},
	} {
		got, err := test.source.read()
		if got.Reveal() != test.want || (err != nil) != test.fails {
			t.Errorf("%+v: %v", test.source, err)
		}
	}
}

// TestResolveMembers: what cannot work is refused at load, by the name of its option.
func TestResolveMembers(t *testing.T) {
	t.Setenv("KEYSTILE_TEST_SECRET", "a secret of some length")
	s := &settings{now: time.Now, logger: zap.NewNop()}
	secret := &SecretSource{Env: "KEYSTILE_TEST_SECRET"}
	smtp := func() *SMTPConfig { return &SMTPConfig{Host: "localhost", From: "keys@example.com"} }
	for what, test := range map[string]struct {
		app    App
		method string // of the sender; "": none
		fails  string
	}{
		"nothing":          {App{}, "", ""},
		"totp":             {App{Verification: &VerificationConfig{Method: "totp"}}, "", ""},
		"log":              {App{Verification: &VerificationConfig{Method: "log"}}, "log", ""},
		"smtp":             {App{Verification: &VerificationConfig{Method: "smtp"}, SMTP: smtp()}, "email", ""},
		"http":             {App{Verification: &VerificationConfig{Method: "http", URL: "https://sms.example.com/", Secret: secret}}, "http", ""},
		"oidc":             {App{OIDC: &OIDCConfig{Issuer: "https://login.example.com", ClientID: "x", ClientSecret: secret}}, "", ""},
		"smtp, no server":  {App{Verification: &VerificationConfig{Method: "smtp"}}, "", "verification: there is no server"},
		"unknown":          {App{Verification: &VerificationConfig{Method: "sms"}}, "", "verification: unknown method"},
		"http, no secret":  {App{Verification: &VerificationConfig{Method: "http", URL: "https://sms.example.com/"}}, "", "verification: http: the secret"},
		"http, clear":      {App{Verification: &VerificationConfig{Method: "http", URL: "http://sms.example.com/", Secret: secret}}, "", "want https"},
		"url without http": {App{Verification: &VerificationConfig{Method: "totp", URL: "https://sms.example.com/"}}, "", "go with method"},
		"smtp, password":   {App{SMTP: &SMTPConfig{Host: "localhost", From: "keys@example.com", Password: secret}}, "", "smtp: username and password"},
		"smtp, no from":    {App{SMTP: &SMTPConfig{Host: "localhost"}}, "", "smtp: from"},
		"oidc, clear":      {App{OIDC: &OIDCConfig{Issuer: "http://login.example.com", ClientID: "x"}}, "", "oidc: issuer"},
		"oidc, no secret":  {App{OIDC: &OIDCConfig{Issuer: "https://login.example.com", ClientID: "x", ClientSecret: &SecretSource{Env: "KEYSTILE_TEST_NONE"}}}, "", "oidc: client_secret"},
	} {
		m, err := test.app.resolveMembers(s)
		switch {
		case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)), test.fails == "" && err != nil:
			t.Errorf("%s: %v, want %q", what, err, test.fails)
		case err == nil && (m.codes == nil) != (test.method == ""), err == nil && m.codes != nil && m.codes.Method() != test.method:
			t.Errorf("%s: sends by %v", what, m.codes)
		}
	}
}

// TestCheckLoopback: with codes in the log, every address that the site listens on is this machine's own.
func TestCheckLoopback(t *testing.T) {
	t.Parallel()
	app := &App{Verification: &VerificationConfig{Method: verificationLog}}
	for _, test := range []struct {
		listen []string
		ok     bool
	}{
		{[]string{"127.0.0.1:8081"}, true},
		{[]string{"tcp/127.8.9.1:8081", "[::1]:8081", "localhost:8081"}, true},
		{[]string{"unix//run/keystile.sock"}, true},
		{[]string{":8081"}, false},
		{[]string{"0.0.0.0:8081"}, false},
		{[]string{"[::]:8081"}, false},
		{[]string{"127.0.0.1:8081", "192.0.2.1:8081"}, false},
		{[]string{"keys.example.com:8081"}, false},
		{[]string{"localhost.example.com:8081"}, false},
		{nil, false},
	} {
		if err := app.checkLoopback(&caddyhttp.Server{Listen: test.listen}); (err == nil) != test.ok {
			t.Errorf("%v: %v", test.listen, err)
		}
	}
	if app.checkLoopback(nil) == nil {
		t.Error("without a server: accepted")
	}
	if err := new(App).checkLoopback(nil); err != nil {
		t.Errorf("without codes in the log: %v", err)
	}
}

func TestForwardedTLS(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]bool{"https": true, "HTTPS": true, "http": false, "": false, "https\nhttps": false, "https, http": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for line := range strings.SplitSeq(lines, "\n") {
			if line != "" {
				r.Header.Add("X-Forwarded-Proto", line)
			}
		}
		if got := forwardedTLS(r); got != want {
			t.Errorf("%q: %v", lines, got)
		}
	}
}
