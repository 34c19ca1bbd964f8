package main_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestDashboardLargeCatalog: a key for a few of many resources, chosen in parts of a long list: by a word, by a group, on the
// next page. What was chosen in one part is kept in the others; the key may do that and nothing else. Its metadata, which such a
// form carries too, is edited, and its events lead to it.
func TestDashboardLargeCatalog(t *testing.T) {
	t.Parallel()
	var catalog strings.Builder
	catalog.WriteString("catalog {\n")
	for i := range 130 {
		name := fmt.Sprintf("%s_things_%03d", [...]string{"billing", "issuing", "terminal"}[i%3], i)
		fmt.Fprintf(&catalog, "\tresource %s {\n\t\tread GET /v1/%s /v1/%s/*\n\t\twrite POST /v1/%s\n\t}\n", name, name, name, name)
	}
	catalog.WriteString("}\nverification log\n")
	b := &dashboardBed{url: fmt.Sprintf("http://localhost:%d", gatetest.FreePort(t))}
	b.Gateway = gatetest.Launch(t, gatetest.Config{Keystile: catalog.String(), Sites: b.url + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}\n"})
	account := b.Admin.CreateAccount(t, "Shop", "")
	in := func(page string) string { return "/" + account.ID + "/sandbox/" + page }
	tab := newTab(t, b.url)
	b.signUp(t, tab, b.invite(t), "Ada Lovelace", "ada@example.com")

	tab.open(in("keys/new?kind=restricted"))
	tab.fill("#name", "billing")
	tab.press("Next")
	tab.gallery("key-new-large")
	chosen := tab.eval(`document.querySelector('input[name^="p."][value=write]').name`)
	tab.choose(`input[name="`+chosen+`"][value=write]`, "write")
	tab.sees("Read and write " + strings.TrimPrefix(chosen, "p."))
	tab.fill("#filter", "terminal_things_12")
	tab.press("Find")
	tab.sees("3 resources that fit") // 122, 125, 128
	tab.follow("setting all that were found", `[...document.querySelectorAll(".all button[name=set]")].find(e => e.textContent === "Read")`)
	tab.sees("terminal_things_122")
	tab.sees("Read and write " + strings.TrimPrefix(chosen, "p."))
	tab.gallery("key-new-large-found")
	tab.touch("details.more-filters summary")
	tab.fill(`[name=meta_name]`, "team")
	tab.fill(`[name=meta_value]`, "payments")
	tab.press("Create key")
	b.Admin.Remember(tab.eval(`document.getElementById("secret").value`))
	tab.press("Done")
	id := b.sandboxKey(t, account.ID, "billing")
	var key struct {
		Permissions map[string]string
		Metadata    map[string]string
	}
	b.Admin.Do(t, "GET", "/v1/keys/"+id, nil, &key)
	want := map[string]string{strings.TrimPrefix(chosen, "p."): "write", "terminal_things_122": "read", "terminal_things_125": "read", "terminal_things_128": "read"}
	if !maps.Equal(key.Permissions, want) || !maps.Equal(key.Metadata, map[string]string{"team": "payments"}) {
		t.Errorf("the key may %v, want %v; its metadata is %v", key.Permissions, want, key.Metadata)
	}

	// Edited: what is seen of the list changes, and the rest stays.
	tab.open(in("keys/" + id + "/edit"))
	tab.fill("#filter", "things_125")
	tab.press("Find")
	tab.choose(`input[name="p.terminal_things_125"][value=none]`, "none")
	tab.press("Save")
	tab.sees("payments")
	tab.gallery("key-metadata")
	delete(want, "terminal_things_125")
	key.Permissions = nil
	b.Admin.Do(t, "GET", "/v1/keys/"+id, nil, &key)
	if !maps.Equal(key.Permissions, want) {
		t.Errorf("the key may %v, want %v", key.Permissions, want)
	}

	// From what happened to it to the key.
	tab.open("/events?type=key.*")
	tab.follow("the event's key", `document.querySelector('tbody a[href*="`+id+`"]')`)
	tab.sees("payments")
}
