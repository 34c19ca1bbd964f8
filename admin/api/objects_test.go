package api_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

func TestOrganizations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.ok("POST", "/v1/organizations", map[string]any{"name": "Rocket Rides & Co"})
	made.has("object", `"organization"`, "name", `"Rocket Rides & Co"`, "created_at", `"2026-03-01T12:00:00Z"`)
	id := as[api.Organization](made).ID
	f.ok("GET", "/v1/organizations/"+id, nil).has("id", fmt.Sprintf("%q", id))
	f.ok("PATCH", "/v1/organizations/"+id, `{"name":"Rocket"}`).has("name", `"Rocket"`)
	f.ok("PATCH", "/v1/organizations/"+id, `{}`).has("name", `"Rocket"`)
	f.do("PATCH", "/v1/organizations/"+id, `{"name":null}`).fails(400, "parameter_missing", "name")
	f.do("PATCH", "/v1/organizations/"+id, `{"name":""}`).fails(400, "parameter_missing", "name")
	f.do("GET", "/v1/organizations/org_0000000000000000", nil).fails(404, "resource_missing", "")
	f.do("PATCH", "/v1/organizations/org_0000000000000000", `{"name":"x"}`).fails(404, "resource_missing", "")
	list := as[api.List[api.Organization]](f.ok("GET", "/v1/organizations", nil))
	if list.Object != "list" || list.HasMore || len(list.Data) != 1 || list.Data[0].Name != "Rocket" {
		t.Errorf("list = %+v", list)
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`)).ID
	made := f.ok("POST", "/v1/accounts", map[string]any{"name": "Acme", "organization": organization, "default_api_version": "2026-01-01"})
	made.has("object", `"account"`, "organization", fmt.Sprintf("%q", organization), "default_api_version", `"2026-01-01"`, "connections", `[]`)
	account := as[api.AccountCreated](made)

	// Four default keys: the secret ones are masked, the publishable ones public, and all can be revealed.
	var kinds []string
	for _, k := range account.Keys {
		kinds = append(kinds, k.Mode+" "+k.Kind)
		if (k.Token != "") != (k.Kind == "publishable") {
			t.Errorf("%s %s: token present: %v", k.Mode, k.Kind, k.Token != "")
		}
		if !k.Revealable || k.Status != "active" || k.TokenMasked == "" {
			t.Errorf("default key %+v", k)
		}
		if k.Mode == "sandbox" && (k.Sandbox == nil || *k.Sandbox != account.DefaultSandbox) {
			t.Errorf("sandbox of %s is %v", k.ID, k.Sandbox)
		}
	}
	slices.Sort(kinds)
	if want := []string{"live publishable", "live secret", "sandbox publishable", "sandbox secret"}; !slices.Equal(kinds, want) {
		t.Errorf("default keys = %v, want %v", kinds, want)
	}

	alone := f.account("Alone")
	f.ok("GET", "/v1/accounts/"+alone.ID, nil).has("organization", "null", "default_api_version", "null")
	if got := as[api.List[api.Account]](f.ok("GET", "/v1/accounts?organization="+organization, nil)).Data; len(got) != 1 || got[0].ID != account.ID {
		t.Errorf("accounts of the organization = %+v", got)
	}
	f.do("PATCH", "/v1/accounts/"+account.ID, `{"default_api_version":"newest"}`).fails(400, "parameter_invalid", "default_api_version")
	f.do("POST", "/v1/accounts", `{"name":"A","default_api_version":"newest"}`).fails(400, "parameter_invalid", "default_api_version")
	f.ok("PATCH", "/v1/accounts/"+account.ID, `{"organization":null,"default_api_version":null}`).has("organization", "null", "default_api_version", "null", "name", `"Acme"`)
	f.do("POST", "/v1/accounts", `{"name":"x","organization":"org_0000000000000000"}`).fails(404, "resource_missing", "organization")
	f.do("POST", "/v1/accounts", `{"name":"x","plan":"gold"}`).fails(400, "parameter_unknown", "plan")
	f.ok("POST", "/v1/accounts", `{"name":"limited","rate_limit":5}`).has("rate_limit", `{"live":5,"sandbox":5}`)
	f.ok("PATCH", "/v1/accounts/"+account.ID, `{"rate_limit":{"live":100}}`).has("rate_limit", `{"live":100,"sandbox":null}`)
	f.ok("PATCH", "/v1/accounts/"+account.ID, `{"name":"Acme"}`).has("rate_limit", `{"live":100,"sandbox":null}`)
	f.ok("PATCH", "/v1/accounts/"+account.ID, `{"rate_limit":null}`).has("rate_limit", "null")
	f.do("PATCH", "/v1/accounts/"+account.ID, `{"rate_limit":{"lve":100}}`).fails(400, "parameter_unknown", "rate_limit.lve")
	f.do("GET", "/v1/accounts/acct_0000000000000000", nil).fails(404, "resource_missing", "")
	f.do("PATCH", "/v1/accounts/acct_0000000000000000", `{}`).fails(404, "resource_missing", "")
}

func TestConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	platform, shop := f.account("Platform"), f.account("Shop")
	path := "/v1/accounts/" + platform.ID + "/connections/" + shop.ID
	f.ok("PUT", path, nil).has("id", fmt.Sprintf("%q", platform.ID), "connections", fmt.Sprintf("[%q]", shop.ID))
	f.ok("GET", "/v1/accounts/"+platform.ID, nil).has("connections", fmt.Sprintf("[%q]", shop.ID))
	f.ok("DELETE", path, nil).has("connections", "[]")
	if a := f.do("PUT", "/v1/accounts/"+platform.ID+"/connections/acct_0000000000000000", nil); a.status != 404 {
		t.Errorf("connecting an unknown account: %d %s", a.status, a.body)
	}
	if a := f.do("PUT", "/v1/accounts/acct_0000000000000000/connections/"+shop.ID, nil); a.status != 404 {
		t.Errorf("connecting to an unknown account: %d %s", a.status, a.body)
	}
	if a := f.do("PUT", "/v1/accounts/"+platform.ID+"/connections/"+platform.ID, nil); a.status < 400 || a.status > 499 {
		t.Errorf("connecting an account to itself: %d %s", a.status, a.body)
	}
}

func TestSandboxes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	path := "/v1/accounts/" + account.ID + "/sandboxes"
	made := f.ok("POST", path, `{"name":"checkout"}`)
	made.has("object", `"sandbox"`, "name", `"checkout"`, "default", "false", "account", fmt.Sprintf("%q", account.ID))
	sandbox := as[api.SandboxCreated](made)
	if len(sandbox.Keys) != 2 {
		t.Fatalf("keys = %+v", sandbox.Keys)
	}
	for _, k := range sandbox.Keys {
		if k.Sandbox == nil || *k.Sandbox != sandbox.ID || k.Mode != "sandbox" {
			t.Errorf("key %+v", k)
		}
		revealed := as[api.Key](f.ok("POST", "/v1/keys/"+k.ID+"/reveal", nil))
		if again := as[api.Key](f.ok("POST", "/v1/keys/"+k.ID+"/reveal", nil)); again.Token != revealed.Token || again.Token == "" {
			t.Error("a sandbox key cannot be revealed twice")
		}
	}
	if got := as[api.List[api.Sandbox]](f.ok("GET", path, nil)).Data; len(got) != 2 {
		t.Errorf("sandboxes = %+v", got)
	}
	if got := as[api.List[api.Key]](f.ok("GET", "/v1/keys?sandbox="+sandbox.ID, nil)).Data; len(got) != 2 {
		t.Errorf("keys of the sandbox = %+v", got)
	}
	f.do("POST", path, `{"name":"checkout"}`).fails(409, "conflict", "name")
	f.ok("DELETE", path+"/"+sandbox.ID, nil).has("id", fmt.Sprintf("%q", sandbox.ID), "object", `"sandbox"`, "deleted", "true")
	for _, k := range sandbox.Keys {
		if got := as[api.Key](f.ok("GET", "/v1/keys/"+k.ID, nil)).Status; got == "active" {
			t.Errorf("a key of a deleted sandbox is %s", got)
		}
	}
	if a := f.do("DELETE", path+"/"+sandbox.ID, nil); a.status != 404 {
		t.Errorf("deleting it again: %d", a.status)
	}
	if a := f.do("DELETE", path+"/"+account.DefaultSandbox, nil); a.status != 409 {
		t.Errorf("deleting the default sandbox: %d %s", a.status, a.body)
	}
	f.do("GET", "/v1/accounts/acct_0000000000000000/sandboxes", nil).fails(404, "resource_missing", "")
	if a := f.do("POST", "/v1/accounts/acct_0000000000000000/sandboxes", `{"name":"x"}`); a.status != 404 {
		t.Errorf("a sandbox of an unknown account: %d", a.status)
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	list := as[api.List[api.Resource]](f.ok("GET", "/v1/resources", nil))
	var names []string
	for _, r := range list.Data {
		names = append(names, r.Name)
		if r.Name == "charges" && !slices.Equal(r.Access, []string{"read", "write"}) {
			t.Errorf("access of charges = %v", r.Access)
		}
		for _, route := range r.Routes {
			if r.Name == "tokens" && !route.Publishable {
				t.Errorf("%s %s is not publishable", route.Method, route.Pattern)
			}
		}
	}
	slices.Sort(names)
	if want := []string{"charges", "customers", "tokens"}; !slices.Equal(names, want) || list.HasMore {
		t.Errorf("resources = %v, want %v", names, want)
	}
}

// TestPagesAreStable walks a list page by page while newer rows come in: every row that was there is seen exactly once.
func TestPagesAreStable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []string
	for i := range 23 {
		want = append(want, as[api.Organization](f.ok("POST", "/v1/organizations", fmt.Sprintf(`{"name":"org %d"}`, i))).ID)
	}
	slices.Reverse(want)
	var got []string
	cursor := ""
	for {
		target := "/v1/organizations?limit=5"
		if cursor != "" {
			target += "&starting_after=" + cursor
		}
		list := as[api.List[api.Organization]](f.ok("GET", target, nil))
		for _, o := range list.Data {
			got = append(got, o.ID)
		}
		f.ok("POST", "/v1/organizations", `{"name":"newer"}`)
		if !list.HasMore {
			break
		}
		if len(list.Data) != 5 {
			t.Fatalf("a page has %d rows and says there are more", len(list.Data))
		}
		cursor = list.Data[len(list.Data)-1].ID
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages gave\n%v, want\n%v", got, want)
	}
	if n := len(as[api.List[api.Organization]](f.ok("GET", "/v1/organizations", nil)).Data); n != 10 {
		t.Errorf("without a limit: %d rows, want 10", n)
	}
	for _, target := range []string{"/v1/organizations", "/v1/accounts", "/v1/keys"} {
		f.do("GET", target+"?starting_after=nothing_0000000000000000", nil).fails(400, "parameter_invalid", "starting_after")
	}
	empty := f.ok("GET", "/v1/keys?account=acct_0000000000000000", nil)
	empty.has("object", `"list"`, "data", "[]", "has_more", "false")
}

func TestIfMatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`))
	account := f.account("Acme")
	key := f.restricted(account.ID)
	for _, path := range []string{"/v1/organizations/" + organization.ID, "/v1/accounts/" + account.ID, "/v1/keys/" + key.ID} {
		got := f.ok("GET", path, nil)
		first := got.header.Get("ETag")
		if len(first) < 3 || first[0] != '"' {
			t.Fatalf("GET %s: ETag %q", path, first)
		}
		changed := f.ok("PATCH", path, `{"name":"one"}`, "If-Match", first)
		second := changed.header.Get("ETag")
		if second == first {
			t.Errorf("PATCH %s: the ETag did not change", path)
		}
		f.do("PATCH", path, `{"name":"two"}`, "If-Match", first).fails(412, "revision_mismatch", "If-Match")
		f.ok("GET", path, nil).has("name", `"one"`)
		f.ok("PATCH", path, `{"name":"three"}`, "If-Match", first+", "+second)
		f.ok("PATCH", path, `{"name":"four"}`, "If-Match", "*")
		f.do("PATCH", path, `{"name":"five"}`, "If-Match", "W/"+second).fails(400, "parameter_invalid", "If-Match")
		f.do("PATCH", path, `{"name":"five"}`, "If-Match", "4").fails(400, "parameter_invalid", "If-Match")
		f.ok("GET", path, nil).has("name", `"four"`)
	}
}
