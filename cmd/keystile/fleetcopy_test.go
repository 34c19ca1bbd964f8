package main_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestStoreCopy moves a gateway from its file to a database and back: its keys work there, and nothing goes over what is
// there already.
func TestStoreCopy(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	backend := gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	g.Setenv("KEYSTILE_TEST_DSN=" + dsn)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("http://:%d {\n\tkeystile {\n\t\tmode any\n\t}\n\treverse_proxy %s\n}\n", port, backend.Addr)
	m := &fleetMember{Gateway: g, site: fmt.Sprintf("127.0.0.1:%d", port)}
	file := gatetest.Config{Keystile: gatetest.Catalog, Sites: site}.Text(g)
	g.WriteConfig(t, file)
	g.Start(t)
	account := g.Admin.CreateAccount(t, "A", "").ID
	good := g.Admin.DefaultKey(t, account, "secret", "live")
	gone := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "gone"})
	g.Admin.DeleteKey(t, gone.ID)

	copying := []string{"store", "copy", "--from", "bolt:" + g.StorePath(), "--to", "postgres:{env.KEYSTILE_TEST_DSN}"}
	if r := g.Run(t, copying...); r.Code != 1 || !strings.Contains(r.Stderr, "in use") {
		t.Errorf("copying a store in use: %+v", r)
	}
	g.Stop(t)
	if r := g.Run(t, copying...); r.Code != 0 || !strings.Contains(r.Stdout, "copied and compared") {
		t.Fatalf("copying: %+v", r)
	}
	if r := g.Run(t, copying...); r.Code != 1 || !strings.Contains(r.Stderr, "holds a store already") {
		t.Errorf("copying again: %+v", r)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: "store postgres {env.KEYSTILE_TEST_DSN}\n" + gatetest.Catalog, Sites: site}.Text(g))
	g.Start(t)
	m.becomes(t, good.Token, 200)
	m.becomes(t, gone.Token, 401)
	more := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "more"})
	if _, config, err := g.Admin.Call("GET", "/../config/apps/keystile", nil); err == nil && strings.Contains(string(config), pgtest.Password) {
		t.Error("the configuration shows the database's password")
	}
	back := filepath.Join(g.Dir, "back.db")
	returning := []string{"store", "copy", "--from", "postgres:{env.KEYSTILE_TEST_DSN}", "--to", "bolt:" + back}
	if r := g.Run(t, returning...); r.Code != 1 || !strings.Contains(r.Stderr, "stop all gateways") {
		t.Errorf("copying from under a gateway: %+v", r)
	}
	g.Stop(t)
	if r := g.Run(t, returning...); r.Code != 0 {
		t.Fatalf("copying back: %+v", r)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: "store bolt " + back + "\n" + gatetest.Catalog, Sites: site}.Text(g))
	g.Start(t)
	m.becomes(t, good.Token, 200)
	m.becomes(t, more.Token, 200)
	m.becomes(t, gone.Token, 401)

	for name, args := range map[string][]string{
		"no target":     {"--from", "bolt:x"},
		"another kind":  {"--from", "sqlite:x", "--to", "bolt:y"},
		"the same":      {"--from", "bolt:x", "--to", "bolt:x"},
		"no such store": {"--from", "bolt:" + back + ".not", "--to", "bolt:y"},
	} {
		r := g.Run(t, append([]string{"store", "copy"}, args...)...)
		if want := 2; name == "no such store" && r.Code != 1 || name != "no such store" && r.Code != want {
			t.Errorf("%s: %+v", name, r)
		}
	}
	_, stderr := g.Output()
	if strings.Contains(stderr, pgtest.Password) {
		t.Error("the database's password stands in the log")
	}
}
