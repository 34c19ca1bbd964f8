package main_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// dsnBed is a PostgreSQL with a role of its own for a gateway, and a gateway with all of its log on.
type dsnBed struct {
	*gatetest.Gateway
	server   *pgtest.Server
	database string
	site     string
}

func newDSNBed(t *testing.T) *dsnBed {
	t.Helper()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // after the gateway, which is searched at its end
	dsn, err := url.Parse(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	b := &dsnBed{Gateway: gatetest.New(t), server: server, database: strings.TrimPrefix(dsn.Path, "/"), site: gatetest.FreeAddr(t)}
	b.Setenv("CADDY_ADMIN=" + b.AdminAddr)
	return b
}

// role makes a user of the database.
func (b *dsnBed) role(t *testing.T, name, password string) {
	t.Helper()
	if err := b.server.Exec(fmt.Sprintf(`CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s'`, name, password)); err != nil {
		t.Fatal(err)
	}
}

// dsn is the address of the database with a user and what stands for a password, as it is to be written.
func (b *dsnBed) dsn(user, password string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", user, password, b.server.Port, b.database)
}

// configure writes a Caddyfile with both databases. Caddy keeps it, as it does unless it is told not to.
func (b *dsnBed) configure(t *testing.T, keystile string) {
	t.Helper()
	_, port, _ := strings.Cut(b.site, ":")
	text := gatetest.Config{
		Global: "debug\nmetrics\n", Keystile: keystile + gatetest.Catalog,
		Sites: "http://:" + port + " {\n\tbind 127.0.0.1\n\tlog\n\tkeystile {\n\t\tmode any\n\t}\n\trespond ok\n}\n",
	}.Text(b.Gateway)
	b.WriteConfig(t, strings.Replace(text, "\tpersist_config off\n", "", 1))
}

// saved is the configuration as Caddy keeps it.
func (b *dsnBed) saved(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(b.Dir, "config", "caddy", "autosave.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestDatabasePasswordIsNowhere: the password of the databases of keys and records, given by placeholders, stands in nothing that
// the process gives out or keeps: while all is well, without the server, with a wrong password, and for an address that cannot be
// read. Where the configuration is shown, the placeholder is.
func TestDatabasePasswordIsNowhere(t *testing.T) {
	t.Parallel()
	const password, wrong, cut, rest = "the/password@of:the?database", "a-wrong-password-of-it", "first-half-of-it", "second-half-of-it"
	b := newDSNBed(t)
	for _, secret := range []string{password, url.QueryEscape(password), url.PathEscape(password), wrong, cut, rest} {
		b.Admin.Remember(secret)
	}
	b.role(t, "gate", password)
	whole := filepath.Join(t.TempDir(), "dsn") // beside the home, which is searched
	if err := os.WriteFile(whole, []byte(b.dsn("gate", url.QueryEscape(password))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Setenv("DSN_PASSWORD=" + url.QueryEscape(password))
	part := b.dsn("gate", "{env.DSN_PASSWORD}")
	run := func(code int, args ...string) gatetest.Result {
		t.Helper()
		r := b.Run(t, args...)
		if r.Code != code {
			t.Errorf("%q: exit code %d, want %d\n%s%s", args, r.Code, code, r.Stdout, r.Stderr)
		}
		if err := b.FindTokens(args[0], []byte(r.Stdout+r.Stderr)); err != nil {
			t.Error(err)
		}
		return r
	}

	// Addresses that do not work: nothing of them is said.
	for name, dsn := range map[string]string{
		"wrong password": b.dsn("gate", wrong), "another database": strings.Replace(b.dsn("gate", url.QueryEscape(password)), b.database, "none", 1),
		"not escaped": b.dsn("gate", cut+"/"+rest), "not escaped @": b.dsn("gate", cut+"@"+rest), "no port": "postgres://gate:" + cut + ":" + rest + "@127.0.0.1:port/x",
		"pairs": "host=127.0.0.1 password=" + cut + " " + rest + " dbname=x",
	} {
		b.Setenv("BAD_DSN=" + dsn) // the later one counts
		for _, option := range []string{"store postgres {env.BAD_DSN}\n", "request_log postgres {env.BAD_DSN}\n"} {
			b.configure(t, option)
			r := b.Run(t, "validate", "--config", b.ConfigPath())
			if err := b.FindTokens("validate: "+name, []byte(r.Stdout+r.Stderr)); err != nil {
				t.Error(err)
			}
			run(0, "adapt", "--config", b.ConfigPath(), "--pretty")
			if strings.HasPrefix(option, "request_log") && r.Code == 0 {
				continue // starts, and says that the database is away
			}
			if err := b.TryStart(); err == nil {
				t.Errorf("%s: the gateway has started with %s", name, option)
				b.Stop(t)
			} else if err := b.FindTokens("start: "+name, []byte(err.Error())); err != nil {
				t.Error(err)
			}
		}
		run(1, "store", "copy", "--from", "bolt:"+filepath.Join(b.Dir, "none.db"), "--to", "postgres:{env.BAD_DSN}")
		run(1, "store", "copy", "--from", "postgres:{env.BAD_DSN}", "--to", "bolt:"+filepath.Join(b.Dir, "none.db"))
	}

	b.configure(t, "store postgres {file."+whole+"}\nrequest_log postgres "+part+"\n")
	run(0, "validate", "--config", b.ConfigPath())
	adapted := run(0, "adapt", "--config", b.ConfigPath())
	b.Start(t)
	key := b.Admin.DefaultKey(t, b.Admin.CreateAccount(t, "Shop", "").ID, "secret", "live")
	ask := func() int {
		t.Helper()
		answer, err := gatetest.Send(b.site, "", get("/v1/customers", key.Token))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status
	}
	if status := ask(); status != http.StatusOK {
		t.Fatalf("a request is answered %d", status)
	}
	(&fleetMember{Gateway: b.Gateway}).awaitDrained(t)
	everywhere(t, b.Gateway)
	run(0, "node", "list")
	run(0, "log", "stats")
	run(0, "reload", "--config", b.ConfigPath())
	for what, data := range map[string][]byte{"adapt": []byte(adapted.Stdout), "/config/": fetch(t, "http://"+b.AdminAddr+"/config/"), "autosave.json": b.saved(t)} {
		if !gatetest.Shows(data, "{file."+whole+"}") || !gatetest.Shows(data, part) {
			t.Errorf("%s does not show the placeholders: %s", what, data)
		}
	}

	// The server goes away under the running gateway, and it starts without it.
	if err := b.server.Kill(); err != nil {
		t.Fatal(err)
	}
	failing := func() {
		t.Helper()
		for _, call := range [][2]string{{"POST", "/v1/accounts"}, {"GET", "/v1/request_logs"}, {"GET", "/v1/events"}, {"GET", "/v1/nodes"}} {
			var body any
			if call[0] == "POST" {
				body = gatetest.Fields{"name": "Another"}
			}
			status, data, err := b.Admin.Call(call[0], call[1], body)
			if err != nil || call[1] != "/v1/nodes" && status != http.StatusServiceUnavailable {
				t.Errorf("%s %s without the database: %d %s, %v", call[0], call[1], status, data, err)
			}
			if err := b.FindTokens(call[1], data); err != nil {
				t.Error(err)
			}
		}
		for _, path := range []string{"/metrics", "/debug/pprof/goroutine?debug=2"} {
			if err := b.FindTokens(path, fetch(t, "http://"+b.AdminAddr+path)); err != nil {
				t.Error(err)
			}
		}
	}
	failing()
	b.Stop(t)
	b.Start(t) // from its copy of the keys
	ask()
	failing()
	run(0, "validate", "--config", b.ConfigPath())
	if err := b.server.Start(); err != nil {
		t.Fatal(err)
	}
	(&fleetMember{Gateway: b.Gateway}).awaitDrained(t)
	_, stderr := b.Output() // the first start prints a sandbox key to the other, which the harness knows
	if err := b.FindTokens("the log", []byte(stderr)); err != nil {
		t.Error(err)
	}
	// The search would have found it there: the address without its password is.
	if place := fmt.Sprintf("127.0.0.1:%d/%s", b.server.Port, b.database); !gatetest.Shows([]byte(stderr), place) || !b.Holds(place) {
		t.Error("the log does not name the database: the test shows nothing")
	}
}

// TestWrittenPasswordShows is the other side: a password that is written into the configuration, or filled in by {$NAME} when it
// is read, stands wherever Caddy shows its configuration. It is warned of, and Keystile's own output does not hold it all the same.
func TestWrittenPasswordShows(t *testing.T) {
	t.Parallel()
	const password = "a-password-that-is-written"
	b := newDSNBed(t)
	b.role(t, "gate", password)
	b.Setenv("WHEN_READ=" + password)
	const warning = "Caddy shows and keeps its configuration"
	for _, written := range []string{password, "{$WHEN_READ}"} {
		b.configure(t, "request_log postgres "+b.dsn("gate", written)+"\n")
		if adapted := b.Run(t, "adapt", "--config", b.ConfigPath()); !gatetest.Shows([]byte(adapted.Stdout), password) {
			t.Errorf("adapt does not show the password: the search for it is worth nothing\n%s", adapted.Stdout)
		}
		validated := b.Run(t, "validate", "--config", b.ConfigPath())
		wants(t, validated, 0, warning, "request_log")
		if gatetest.Shows([]byte(validated.Stdout+validated.Stderr), password) {
			t.Error("validate shows the password")
		}
	}
	b.Start(t)
	for what, data := range map[string][]byte{"/config/": fetch(t, "http://"+b.AdminAddr+"/config/"), "autosave.json": b.saved(t)} {
		if !gatetest.Shows(data, password) {
			t.Errorf("%s does not show the password: the search for it is worth nothing", what)
		}
	}
	stdout, stderr := b.Output()
	if gatetest.Shows([]byte(stdout+stderr), password) {
		t.Error("the output shows the password")
	}
	if !strings.Contains(stderr, warning) {
		t.Error("the log has no warning")
	}
	for path, shows := range map[string]bool{"/metrics": false, "/debug/pprof/goroutine?debug=2": false, "/debug/pprof/cmdline": false, "/config/": true} {
		if got := gatetest.Shows(fetch(t, "http://"+b.AdminAddr+path), password); got != shows {
			t.Errorf("%s shows the password: %v, want %v", path, got, shows)
		}
	}
	b.Stop(t)
	b.Setenv("DSN_PASSWORD=" + password)
	b.configure(t, "request_log postgres "+b.dsn("gate", "{env.DSN_PASSWORD}")+"\n")
	if r := b.Run(t, "validate", "--config", b.ConfigPath()); r.Code != 0 || strings.Contains(r.Stdout+r.Stderr, warning) {
		t.Errorf("a placeholder is warned of, or refused: %d %s", r.Code, r.Stderr)
	}
}
