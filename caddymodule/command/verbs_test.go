package command

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/policy"
)

// TestOrganizationsAndAccounts goes through the verbs of org, account and sandbox against the real API.
func TestOrganizationsAndAccounts(t *testing.T) {
	s := newServer(t)
	org, _ := s.object(t, "org", "create", "Group")["id"].(string)
	contains(t, "org list", s.run(t, "org", "list"), "ID ", org, "Group")
	contains(t, "org edit", s.run(t, "org", "edit", org, "--name", "Holding"), org, "Holding")
	contains(t, "org get", s.run(t, "org", "get", org), "Holding")

	created := s.run(t, "account", "create", "--name", "Shop", "--organization", org, "--default-api-version", "2026-01-31")
	contains(t, "account create", created, "Shop", org, "2026-01-31", "sk_live_****", "sk_test_****", "pk_live_", "pk_test_")
	shop := strings.Fields(created)[1]
	supplier := s.account(t)
	contains(t, "account list", s.run(t, "account", "list"), shop, supplier)
	if of := s.run(t, "account", "list", "--organization", org); strings.Contains(of, supplier) || !strings.Contains(of, shop) {
		t.Errorf("account list --organization has the wrong accounts:\n%s", of)
	}
	contains(t, "account connect", s.run(t, "account", "connect", shop, supplier), "connections:", supplier)
	contains(t, "account get", s.run(t, "account", "get", shop), supplier)
	lacks(t, "account disconnect", s.run(t, "account", "disconnect", shop, supplier), supplier)
	edited := s.run(t, "account", "edit", shop, "--name", "Shop 2", "--organization", "", "--default-api-version", "")
	contains(t, "account edit", edited, "Shop 2")
	lacks(t, "account edit", edited, org, "2026-01-31")

	made := s.run(t, "sandbox", "create", "staging", "--account", shop)
	contains(t, "sandbox create", made, "staging", shop, "sk_test_****", "pk_test_")
	sandbox := strings.Fields(made)[1]
	contains(t, "sandbox list", s.run(t, "sandbox", "list", "--account", shop), sandbox, "default", "staging")
	contains(t, "sandbox delete", s.run(t, "sandbox", "delete", sandbox, "--account", shop), "deleted "+sandbox)
	if r := s.try(t, "", "sandbox", "delete", sandbox, "--account", shop); r.code != 1 {
		t.Errorf("deleting a deleted sandbox: exit code %d, want 1", r.code)
	}
}

// TestKeyLife follows a restricted key from its creation to its end.
func TestKeyLife(t *testing.T) {
	s := newServer(t)
	account := s.account(t)
	out := s.run(t, "key", "create", "--account", account, "--mode", "live", "--kind", "restricted", "--name", "billing",
		"--permission", "charges=write", "--permission", "customers=read", "--ip", "100.10.38.255", "--note", "vault: billing",
		"--metadata", "team=payments", "--expire-in", "30d")
	contains(t, "key create", out, "rk_live_", "charges=write customers=read", "100.10.38.255", "vault: billing", "team=payments",
		time.Now().UTC().AddDate(0, 0, 30).Format("2006-01-02"), "expiring")
	id := strings.Fields(out)[1]

	got := s.run(t, "key", "get", id)
	contains(t, "key get", got, "rk_live_****", "charges=write customers=read")
	contains(t, "key list", s.run(t, "key", "list", "--kind", "restricted"), id, "rk_live_****", "billing")
	lacks(t, "key list --kind secret", s.run(t, "key", "list", "--kind", "secret", "--all"), id)

	edited := s.run(t, "key", "edit", id, "--permissions", "none", "--no-ip-restriction", "--no-expiry", "--note", "", "--metadata", "team=")
	contains(t, "key edit", edited, "permissions:", "none", "active")
	lacks(t, "key edit", edited, "100.10.38.255", "vault: billing", "payments", "charges")
	r := s.try(t, "", "key", "edit", id, "--permissions", "charges=read")
	contains(t, "key edit --permissions", r.stdout, "charges=read")

	if r = s.try(t, "", "key", "reveal", id); r.code != 1 {
		t.Errorf("revealing a live restricted key: exit code %d, want 1", r.code)
	}
	contains(t, "reveal's error", r.stderr, "keystile key reveal: ", "not_revealable")

	twin := s.run(t, "key", "duplicate", id, "--name", "billing 2")
	contains(t, "key duplicate", twin, "billing 2", "charges=read", "rk_live_")

	rotated := s.run(t, "key", "rotate", id, "--expire-in", "24h")
	contains(t, "key rotate", rotated, "replaces:", id, "rk_live_", "billing")
	successor := strings.Fields(rotated)[1]
	contains(t, "key get of the old key", s.run(t, "key", "get", id), "expiring", "replaced by:", successor)
	token := strings.TrimSpace(s.run(t, "key", "rotate", successor, "--token-only"))
	if _, _, class := policy.ParseToken(token); class != policy.TokenOurs {
		t.Error("key rotate --token-only prints something else than a token")
	}

	contains(t, "key delete", s.run(t, "key", "delete", id), "deleted "+id)
	contains(t, "key get of a deleted key", s.run(t, "key", "get", id), "deleted")
	if r = s.try(t, "", "key", "edit", id, "--name", "x"); r.code != 1 {
		t.Errorf("editing a deleted key: exit code %d, want 1", r.code)
	}
	contains(t, "edit's error", r.stderr, "key_ended")
}

// TestKeyWithoutPermissions: the answer says that the key can do nothing, on standard error, and --json stays JSON.
func TestKeyWithoutPermissions(t *testing.T) {
	s := newServer(t)
	args := []string{"key", "create", "--account", s.account(t), "--mode", "live", "--kind", "restricted", "--name", "empty"}
	r := s.try(t, "", args...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "standard error", r.stderr, "no permissions")
	k := s.object(t, args...)
	if p, ok := k["permissions"].(map[string]any); !ok || len(p) != 0 {
		t.Errorf("permissions are %v, want an empty object", k["permissions"])
	}
}

// TestOrganizationKeyRights: no flag is unrestricted, none is an empty object, all lifts.
func TestOrganizationKeyRights(t *testing.T) {
	s := newServer(t)
	org, _ := s.object(t, "org", "create", "Group")["id"].(string)
	create := []string{"key", "create", "--organization", org, "--mode", "live", "--kind", "organization", "--name", "reports"}
	contains(t, "without a flag", s.run(t, create...), "permissions:", "unrestricted", "sk_org_live_")
	none := s.run(t, append(create, "--permissions", "none")...)
	contains(t, "--permissions none", none, "none")
	id := strings.Fields(none)[1]
	all := s.object(t, "key", "edit", id, "--permissions", "all", "--connected-permission", "charges=read")
	if p, ok := all["permissions"]; !ok || p != nil {
		t.Errorf("--permissions all: permissions are %v, want null", p)
	}
	if p, _ := all["connected_permissions"].(map[string]any); p["charges"] != "read" {
		t.Errorf("connected_permissions are %v, want charges read", all["connected_permissions"])
	}
}

// TestIPRangesFromStdin: the list as one text, and the server's word on what is wrong in it.
func TestIPRangesFromStdin(t *testing.T) {
	s := newServer(t)
	id, _ := s.restricted(t, s.account(t))
	r := s.try(t, "100.10.38.0/24\n203.0.113.7\n", "key", "edit", id, "--ip-ranges", "-")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "key edit --ip-ranges -", r.stdout, "100.10.38.0/24 203.0.113.7")
	r = s.try(t, "100.10.38.0/24\n203.0.113.7/24\n", "key", "edit", id, "--ip-ranges", "-")
	if r.code != 1 {
		t.Errorf("host bits set: exit code %d, want 1", r.code)
	}
	contains(t, "the refusal", r.stderr, "parameter_invalid", "ip_ranges[1]")
	contains(t, "the key after a refusal", s.run(t, "key", "get", id), "100.10.38.0/24 203.0.113.7")
}

func TestReveal(t *testing.T) {
	s := newServer(t)
	s.account(t)
	for _, row := range strings.Split(s.run(t, "key", "list", "--kind", "secret"), "\n")[1:] {
		if row == "" {
			continue
		}
		id := strings.Fields(row)[0]
		first := strings.TrimSpace(s.run(t, "key", "reveal", id, "--token-only"))
		if _, _, class := policy.ParseToken(first); class != policy.TokenOurs {
			t.Errorf("%s: revealed something else than a token", id)
		}
		r := s.try(t, "", "key", "reveal", id, "--token-only")
		if live := strings.Contains(row, " live "); live && (r.code != 1 || !strings.Contains(r.stderr, "already_revealed")) {
			t.Errorf("second reveal of a live key: exit code %d, %s; want 1 and already_revealed", r.code, r.stderr)
		} else if !live && strings.TrimSpace(r.stdout) != first {
			t.Errorf("second reveal of a sandbox key gives another token (exit code %d)", r.code)
		}
	}
}

func TestImport(t *testing.T) {
	s := newServer(t)
	account := s.account(t)
	dir := t.TempDir()
	old := newToken(t, policy.KindSecret, policy.ModeSandbox)
	good := writeFile(t, dir, "keys.jsonl", []byte(
		`{"token":"sk_test_123","kind":"secret","mode":"sandbox","account":"`+account+`","name":"old"}`+"\n"+
			`{"token":"`+old+`","kind":"secret","mode":"sandbox","account":"`+account+`"}`+"\n"))
	out := s.run(t, "key", "import", good)
	contains(t, "key import", out, "imported 2 keys")

	csv := "token,kind,mode,account,name,permissions\nlegacy-0001,restricted,live," + account + ",legacy,charges=read\n"
	r := s.try(t, csv, "key", "import", "-", "--json")
	if r.code != 0 {
		t.Fatalf("importing CSV from standard input: exit code %d\n%s", r.code, r.stderr)
	}
	contains(t, "key import - --json", r.stdout, `"object":"key_import"`, `"keys":1`, `"live restricted":1`)
	contains(t, "what was imported", s.run(t, "key", "list", "--query", "legacy", "--json"), `"legacy"`, `"charges":"read"`)
	if r = s.try(t, csv, "key", "import", "-", "--dry-run"); r.code != 1 || !strings.Contains(r.stderr, "line 2") {
		t.Errorf("a dry run of what is there already: exit code %d, %s", r.code, r.stderr)
	}
	contains(t, "a dry run", s.try(t, strings.Replace(csv, "0001", "0002", 1), "key", "import", "-", "--dry-run").stdout, "1 keys are fit", "nothing was written")

	bad := writeFile(t, dir, "bad.csv", []byte("token,kind,mode,account\nhunter2hunter2,secret,live,"+account+"\nhunter3hunter3,sekret,live,"+account+"\n"))
	r = s.try(t, "", "key", "import", bad)
	if r.code != 1 {
		t.Errorf("importing a bad file: exit code %d, want 1", r.code)
	}
	contains(t, "the refusal", r.stderr, "bad.csv, line 3", "kind", "nothing was imported")
	lacks(t, "the refusal", r.stderr, "hunter2", "hunter3")
	// Mistakes that only the store can see are all reported, each with its line.
	twice := writeFile(t, dir, "twice.csv", []byte("token,kind,mode,account\nsk_test_123,secret,sandbox,"+account+"\nlegacy-0001,secret,live,"+account+"\n"))
	r = s.try(t, "", "key", "import", twice)
	contains(t, "the refusal", r.stderr, "twice.csv, line 2: ", "twice.csv, line 3: ", "2 mistakes; nothing was imported")
	lacks(t, "the refusal", r.stderr, "sk_test_123", "legacy-0001")
	if n := strings.Count(s.run(t, "key", "list", "--all"), "key_"); n != 4+3 {
		t.Errorf("%d keys, want the 4 default ones and 3 imported ones", n)
	}
	if r = s.try(t, "", "key", "import", dir+"/missing"); r.code != 1 {
		t.Errorf("importing a missing file: exit code %d, want 1", r.code)
	}
}

func TestListPages(t *testing.T) {
	s := newServer(t)
	for range 5 {
		s.account(t)
	}
	r := s.try(t, "", "key", "list", "--limit", "7")
	if n := strings.Count(r.stdout, "key_"); n != 7 {
		t.Errorf("--limit 7: %d rows", n)
	}
	contains(t, "standard error", r.stderr, "There is more: --starting-after key_")
	after := strings.Fields(r.stderr)[4]
	next := s.run(t, "key", "list", "--limit", "7", "--starting-after", strings.TrimSuffix(after, ","))
	lacks(t, "the next page", next, strings.Fields(strings.Split(r.stdout, "\n")[1])[0])
	if n := strings.Count(s.run(t, "key", "list", "--limit", "3", "--all"), "key_"); n != 20 {
		t.Errorf("--all: %d rows, want 20", n)
	}
	all := s.object(t, "key", "list", "--all")
	if rows, _ := all["data"].([]any); len(rows) != 20 || all["has_more"] != false {
		t.Errorf("--all --json: %d rows and has_more %v, want 20 and false", len(rows), all["has_more"])
	}
	// One page as JSON is the answer of the API to the byte.
	page := s.run(t, "key", "list", "--limit", "2", "--json")
	if !strings.Contains(page, `"has_more":true`) {
		t.Errorf("a page as JSON is %s", page)
	}
}

func TestExplain(t *testing.T) {
	s := newServer(t)
	id, token := s.restricted(t, s.account(t))
	contains(t, "allowed", s.run(t, "explain", "--key", id, "POST", "/v1/charges"), "verdict:", "allowed", "charges_write")
	denied := s.run(t, "explain", "--key", id, "get", "/v1/customers")
	contains(t, "denied", denied, "denied", "permission_denied", "customers_read")
	r := s.try(t, token+"\n", "explain", "--token-stdin", "POST", "/v1/charges", "--client-address", "203.0.113.9", "--json")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "--json", r.stdout, `"allowed":true`)
	lacks(t, "output", r.stdout+r.stderr, token)
	if r = s.try(t, "", "explain", "--key", id, "GET", "/v1/customers", "--exit-code"); r.code != 1 || r.stderr != "" {
		t.Errorf("--exit-code: exit code %d and standard error %q, want 1 and nothing", r.code, r.stderr)
	}
	contains(t, "--no-key", s.run(t, "explain", "--no-key", "GET", "/v1/charges"), "api_key_missing")
}

func TestCatalogList(t *testing.T) {
	s := newServer(t)
	contains(t, "catalog list", s.run(t, "catalog", "list"), "RESOURCE", "charges", "read write", "customers")
	contains(t, "catalog list --routes", s.run(t, "catalog", "list", "--routes"), "POST", "/v1/charges", "write")
	contains(t, "catalog list --json", s.run(t, "catalog", "list", "--json"), `"data":[`)
}

func TestCatalogCheck(t *testing.T) {
	dir := t.TempDir()
	good := writeFile(t, dir, "good.yaml", []byte(`openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /v1/charges:
    get: {tags: [charges], responses: {}}
    post: {tags: [charges], responses: {}}
  /v1/customers/{id}:
    get: {tags: [customers], responses: {}}
`))
	r := execute(t, "", "catalog", "check", good)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "catalog check", r.stdout, "charges", "read write", "customers")
	contains(t, "standard error", r.stderr, "3 routes, 2 resources")
	r = execute(t, "", "catalog", "check", good, "--json")
	contains(t, "catalog check --json", r.stdout, `"data":[{"object":"resource","name":"charges"`, `"has_more":false`)
	r = execute(t, "", "catalog", "check", good, "--routes")
	contains(t, "catalog check --routes", r.stdout, "/v1/customers/{id}", "GET")

	for _, test := range []struct{ name, doc, want string }{
		{"syntax", "openapi: 3.1.0\npaths: [", "bad.yaml:"},
		{"not OpenAPI", "hello: world\n", "bad.yaml:1: "},
		{"unknown extension", "openapi: 3.1.0\npaths:\n  /v1/a:\n    get:\n      x-keystile-acces: read\n", "bad.yaml:5: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := writeFile(t, t.TempDir(), "bad.yaml", []byte(test.doc))
			r := execute(t, "", "catalog", "check", bad)
			if r.code != 1 || r.stdout != "" {
				t.Errorf("exit code %d and output %q, want 1 and nothing", r.code, r.stdout)
			}
			contains(t, "standard error", r.stderr, test.want)
		})
	}
	if r = execute(t, "", "catalog", "check", filepath.Join(dir, "missing.yaml")); r.code != 1 {
		t.Errorf("a missing file: exit code %d, want 1", r.code)
	}
}
