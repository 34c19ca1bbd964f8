package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestFleetMembers: a session and a verification code of one node are good on another. While the database is away, or answers
// nobody, a signed-in member can look, and everything that has to be written down is refused as unavailable: at once, as soon as
// the node knows.
func TestFleetMembers(t *testing.T) {
	t.Parallel()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	dsn, master, mail := server.Database(t), filepath.Join(t.TempDir(), "master.key"), newMailServer(t)
	node := func() *memberSite {
		s := &memberSite{url: "http://" + gatetest.FreeAddr(t), mail: mail, Gateway: gatetest.New(t)}
		s.Setenv("SMTP_PASSWORD=" + mailPassword)
		s.Setenv("KEYSTILE_TEST_DSN=" + dsn)
		s.Admin.Remember(mailPassword)
		s.WriteConfig(t, gatetest.Config{
			Keystile: "store postgres {env.KEYSTILE_TEST_DSN}\nmaster_key file " + master + "\nmax_staleness 10m\n" + gatetest.Catalog + fmt.Sprintf(`
				verification smtp
				smtp {
					host 127.0.0.1
					port %d
					from keys@example.com
					username keys
					password env SMTP_PASSWORD
					tls off
				}`, mail.addr.Port),
			Sites: s.url + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}",
		}.Text(s.Gateway))
		s.Start(t)
		return s
	}
	first, second := node(), node()
	owner := first.firstOwner(t)
	there := &browser{t: t, site: second, cookie: owner.cookie}
	second.Admin.Remember(strings.TrimPrefix(owner.cookie, "keystile_session="))
	second.Admin.Remember(ownerPassword)
	for deadline := time.Now().Add(fleetLimit); ; time.Sleep(5 * time.Millisecond) {
		if status, _, _ := there.call("GET", "/v1/session", nil); status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a session does not arrive at the other node")
		}
	}
	account := first.Admin.CreateAccount(t, "Shop", "")
	for deadline := time.Now().Add(fleetLimit); second.Admin.TryDo("GET", "/v1/accounts/"+account.ID, nil, nil) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an account does not arrive at the other node")
		}
	}
	body := map[string]any{"kind": "secret", "mode": "live", "account": account.ID}
	headers := owner.code("create_key", body)
	var key struct{ ID, Token string }
	there.ok("POST", "/v1/keys", body, &key, headers...)
	first.Admin.Remember(key.Token)
	owner.fails("POST", "/v1/keys", body, 403, "verification_invalid", headers...)

	// Signing in somewhere else needs a session to be written down, a code a place to stand.
	refused := func() {
		t.Helper()
		stranger := &browser{t: t, site: second}
		stranger.fails("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": ownerPassword}, 503, "store_unavailable")
		there.fails("POST", "/v1/verifications", map[string]any{"operation": "create_key", "body": body}, 503, "store_unavailable")
		there.fails("PATCH", "/v1/keys/"+key.ID, map[string]any{"note": "x"}, 503, "store_unavailable")
		there.fails("POST", "/v1/organizations", map[string]any{"name": "x"}, 503, "store_unavailable", "Idempotency-Key", "fleet-members")
		there.ok("GET", "/v1/session", nil, nil)
		there.ok("GET", "/v1/keys/"+key.ID, nil, nil)
		there.ok("GET", "/v1/nodes", nil, nil)
	}
	works := func() {
		t.Helper()
		for deadline := time.Now().Add(fleetLimit); ; time.Sleep(5 * time.Millisecond) {
			status, _, data := there.call("POST", "/v1/verifications", map[string]any{"operation": "create_key", "body": body})
			if status == 200 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the node does not go on: %d %s", status, data)
			}
		}
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	refused()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	works()

	// A database that refuses nobody and answers nobody: the first ones have to wait, those after them need not.
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	there.fails("PATCH", "/v1/keys/"+key.ID, map[string]any{"note": "x"}, 503, "store_unavailable")
	found := time.Now()
	for range 5 {
		refused()
	}
	rest := time.Since(found)
	t.Logf("the first change was refused after %v, twenty more and what was read beside them within %v", found.Sub(began), rest)
	if rest > 20*time.Second { // each of twenty would wait for five seconds and more
		t.Errorf("while the database is silent, refusals take %v", rest)
	}
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
	works()
}
