package caddymodule

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestResolveHeaders(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		app  App
		want headerNames
		err  string
	}{
		{name: "defaults", want: headerNames{"Keystile-", "Stripe-Context", "Stripe-Account", "Stripe-Version"}},
		{
			name: "own names in any case",
			app:  App{HeaderPrefix: "x-GATE-", ContextHeader: "acme-context", AccountHeader: "ACME-ACCOUNT", VersionHeader: "Acme-version"},
			want: headerNames{"X-Gate-", "Acme-Context", "Acme-Account", "Acme-Version"},
		},
		{name: "no dash at the end", app: App{HeaderPrefix: "Gate"}, err: "a dash at the end"},
		{name: "only a dash", app: App{HeaderPrefix: "-"}, err: "no header name"},
		{name: "one letter", app: App{HeaderPrefix: "X-"}, err: "at least two characters"},
		{name: "underscore", app: App{HeaderPrefix: "Gate_"}, err: "no header name"},
		{name: "dot", app: App{ContextHeader: "Acme.Context"}, err: "context_header"},
		{name: "space", app: App{VersionHeader: "Acme Version"}, err: "version_header"},
		{name: "not ASCII", app: App{AccountHeader: "Konto-Ä"}, err: "account_header"},
		{name: "line end", app: App{AccountHeader: "A\r\nB"}, err: "account_header"},
		{name: "too long", app: App{AccountHeader: strings.Repeat("a", 65)}, err: "account_header"},
		{name: "two alike", app: App{ContextHeader: "stripe-account"}, err: `context_header and account_header are both "Stripe-Account"`},
		{name: "an input under the prefix", app: App{HeaderPrefix: "Stripe-"}, err: `"Stripe-Context" lies under the header prefix "Stripe-"`},
		{name: "an input that is HTTP's", app: App{ContextHeader: "authorization"}, err: `"Authorization" has a meaning of its own`},
		{name: "an input that is a method override", app: App{ContextHeader: "X-HTTP-Method-Override"}, err: `"X-Http-Method-Override" has a meaning of its own`},
		{name: "an input that a proxy writes", app: App{VersionHeader: "X-Forwarded-Uri"}, err: `"X-Forwarded-Uri" has a meaning of its own`},
		{name: "a prefix over WebSocket's headers", app: App{HeaderPrefix: "Sec-"}, err: "would strip the header"},
		{name: "a prefix over a client address", app: App{HeaderPrefix: "True-Client-"}, err: "would strip the header"},
		{name: "a prefix over HTTP's headers", app: App{HeaderPrefix: "Content-"}, err: "would strip the header"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.app.resolveHeaders()
			if test.err != "" {
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("the error holds a password: %v", err)
				}
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want it to contain %q", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestResolvePlaces(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("KEYSTILE_TEST_DIR", "/srv/keystile")
	t.Setenv("KEYSTILE_TEST_DSN", "postgres://keystile:pw@db.example.com/keys")
	t.Chdir(data)
	tests := []struct {
		name string
		app  App
		want resolved
		err  string
	}{
		{
			name: "defaults",
			want: resolved{
				store: storePlace{file: filepath.Join(data, "caddy/keystile/keys.db")}, staleness: time.Minute,
				requests:   logPlace{dir: filepath.Join(data, "caddy/keystile/requests")},
				masterFile: filepath.Join(data, "caddy/keystile/master.key"),
			},
		},
		{
			name: "placeholders, relative paths, the environment",
			app: App{
				Store:      &StoreConfig{Backend: "bolt", Path: "{env.KEYSTILE_TEST_DIR}/keys.db"},
				RequestLog: &RequestLogConfig{Dir: "log"},
				MasterKey:  &MasterKeyConfig{Env: "KEYSTILE_MASTER_KEY"},
			},
			want: resolved{store: storePlace{file: "/srv/keystile/keys.db"}, staleness: time.Minute, requests: logPlace{dir: filepath.Join(data, "log")}, masterEnv: "KEYSTILE_MASTER_KEY"},
		},
		{
			name: "a database by a placeholder",
			app: App{
				Store: &StoreConfig{Backend: "postgres", DSN: "{env.KEYSTILE_TEST_DSN}"}, MaxStaleness: caddy.Duration(5 * time.Second),
				MasterKey: &MasterKeyConfig{Env: "KEYSTILE_MASTER_KEY"},
			},
			want: resolved{
				store: storePlace{dsn: "postgres://keystile:pw@db.example.com/keys"}, staleness: 5 * time.Second,
				requests: logPlace{dir: filepath.Join(data, "caddy/keystile/requests")}, masterEnv: "KEYSTILE_MASTER_KEY",
			},
		},
		{name: "store of a later version", app: App{Store: &StoreConfig{Backend: "etcd"}}, err: `store: unknown backend "etcd"`},
		{name: "a database without an address", app: App{Store: &StoreConfig{Backend: "postgres"}}, err: "store: dsn: the address of the database is missing"},
		{name: "an address that is none", app: App{Store: &StoreConfig{Backend: "postgres", DSN: "postgres://u:secret@h:port/"}}, err: "store: dsn: the address of the database cannot be read"},
		{name: "an empty placeholder in an address", app: App{Store: &StoreConfig{Backend: "postgres", DSN: "{env.KEYSTILE_TEST_NOT_SET}"}}, err: "store: dsn: "},
		{name: "a file with an address", app: App{Store: &StoreConfig{DSN: "postgres://h/d"}}, err: `store: dsn is of a "postgres" store`},
		{name: "a database with a file", app: App{Store: &StoreConfig{Backend: "postgres", Path: "x", DSN: "postgres://h/d"}}, err: `store: path is of a "bolt" store`},
		{name: "a staleness that is too short", app: App{MaxStaleness: caddy.Duration(time.Millisecond)}, err: "max_staleness: 1ms is not from"},
		{
			name: "a log in a database",
			app: App{
				RequestLog: &RequestLogConfig{Backend: "postgres", DSN: " {env.KEYSTILE_TEST_DSN}\n", Journal: "{env.KEYSTILE_TEST_DIR}/journal"},
				MasterKey:  &MasterKeyConfig{Env: "KEYSTILE_MASTER_KEY"},
			},
			want: resolved{
				store: storePlace{file: filepath.Join(data, "caddy/keystile/keys.db")}, staleness: time.Minute,
				requests: logPlace{dir: "/srv/keystile/journal", dsn: "postgres://keystile:pw@db.example.com/keys"}, masterEnv: "KEYSTILE_MASTER_KEY",
			},
		},
		{name: "log of a later version", app: App{RequestLog: &RequestLogConfig{Backend: "clickhouse"}}, err: `request_log: unknown backend "clickhouse"`},
		{name: "a log without an address", app: App{RequestLog: &RequestLogConfig{Backend: "postgres"}}, err: "request_log: dsn: the address of the database is missing"},
		{name: "a log at an address that is none", app: App{RequestLog: &RequestLogConfig{Backend: "postgres", DSN: "postgres://u:secret@h:port/"}}, err: "request_log: dsn: the address of the database cannot be read"},
		{name: "an archive with an address", app: App{RequestLog: &RequestLogConfig{DSN: "postgres://h/d"}}, err: `request_log: dsn and journal are of a "postgres" request log`},
		{name: "a log in a database with a directory", app: App{RequestLog: &RequestLogConfig{Backend: "postgres", Dir: "x", DSN: "postgres://h/d"}}, err: `request_log: dir is of a "archive" request log`},
		{name: "empty placeholder", app: App{Store: &StoreConfig{Path: "{env.KEYSTILE_TEST_NOT_SET}/keys.db"}}, err: "store: path: "},
		{name: "two master keys", app: App{MasterKey: &MasterKeyConfig{File: "a", Env: "B"}}, err: "exclude each other"},
		{name: "two master keys, one of a service", app: App{MasterKey: &MasterKeyConfig{File: "a", KMS: "aws-kms://x"}}, err: "exclude each other"},
		{name: "no key of a service", app: App{MasterKey: &MasterKeyConfig{KMS: "aws-kms://alias/x"}}, err: "want aws-kms://arn"},
		{name: "a master key in the config", app: App{MasterKey: &MasterKeyConfig{Env: "{$SECRET}"}}, err: "takes the name"},
		{
			name: "the master key is the store",
			app:  App{Store: &StoreConfig{Path: "/srv/a"}, MasterKey: &MasterKeyConfig{File: "/srv/x/../a"}},
			err:  "is the store itself",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.app.resolve(caddy.NewReplacer())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want it to contain %q", err, test.err)
				}
				return
			}
			got.headers = headerNames{}
			if text := fmt.Sprintf("%v %+v %#v", got.requests, got.requests, got.requests); strings.Contains(text, "pw@") {
				t.Errorf("the place of the log can be printed with its password: %s", text)
			}
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}
