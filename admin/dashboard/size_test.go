package dashboard_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// largest fills the store with as much of everything as the API lets anybody make, each text as long as it may be and of
// letters that HTML writes in five, and answers the pages that show it.
func (f *fixture) largest(resources []string) []string {
	f.t.Helper()
	ctx := f.t.Context()
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	long := func(n int) string { return strings.Repeat("&", n) }
	all := map[string]policy.Access{}
	for i, r := range resources {
		all[r] = []policy.Access{policy.AccessRead, policy.AccessWrite}[i%2]
	}
	pairs := map[string]string{}
	for i := range keystore.MaxMetadata {
		pairs[fmt.Sprintf("%02d%s", i, long(keystore.MaxMetadataKey-2))] = long(keystore.MaxMetadataValue)
	}
	var ranges []string
	for i := range policy.MaxNetworks {
		ranges = append(ranges, fmt.Sprintf("203.0.%d.0/24", i))
	}
	var k *keystore.Key
	for i := range 100 {
		var token string
		kind := []policy.Kind{policy.KindRestricted, policy.KindSecret}[i%2]
		k, token = f.key(func(p *keystore.KeyParams) {
			p.Name, p.Note, p.Metadata, p.IPRanges = long(keystore.MaxName), long(keystore.MaxNote), pairs, ranges
			if p.Permissions, p.Kind = policy.NewPermissions(all), kind; kind == policy.KindSecret {
				p.Permissions = nil
			} else {
				p.ConnectedPermissions = p.Permissions
			}
		})
		_ = token
		f.record(func(r *requestlog.Record) {
			r.Key, r.TokenMasked, r.UserAgent, r.Path, r.Target, r.Query = k.ID, k.Mask, fmt.Sprint(i)+long(500), "/v1/"+long(2000), "/v1/"+long(4000), long(2000)
			r.Decision, r.Status, r.ErrorMessage = "permission_denied", 403, long(2000)
		})
	}
	restricted := f.defaultKey(policy.KindRestricted, policy.ModeLive)
	_, err := f.store.UpdateAccount(ctx, by, f.account, keystore.AccountPatch{Name: keystore.To(long(keystore.MaxName))})
	must(err)
	for i := range 60 {
		a, _, err := f.store.CreateAccount(ctx, by, keystore.AccountParams{Name: long(keystore.MaxName), Organization: f.organization})
		must(err)
		_, err = f.store.Connect(ctx, by, f.account, a.ID)
		must(err)
		if i < 20 {
			_, err = f.store.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: long(keystore.MaxName)})
			must(err)
		}
		_, _, err = f.store.CreateKey(ctx, by, keystore.KeyParams{
			Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: f.organization, Name: long(keystore.MaxName), Note: long(keystore.MaxNote),
		})
		must(err)
		_, _, err = f.store.CreateAdminToken(ctx, by, keystore.AdminTokenParams{Name: long(keystore.MaxName), Role: keystore.RoleViewer, Account: a.ID})
		must(err)
		_, _, err = f.store.CreateWebhookEndpoint(ctx, by, keystore.WebhookParams{
			URL: "https://example.com/" + strings.Repeat("x", 2000), Description: long(200), Events: []string{"*"},
		})
		must(err)
		_, _, err = f.store.InviteMember(ctx, by, keystore.MemberParams{
			Name: long(keystore.MaxName), Email: fmt.Sprintf("%d-%s@example.com", i, strings.Repeat("a", 50)), Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: a.ID}},
		}, time.Hour)
		must(err)
	}
	var grants []keystore.Grant
	accounts, _, err := f.store.Snapshot().Accounts("", keystore.Page{Limit: 100})
	must(err)
	for _, a := range accounts {
		grants = append(grants, keystore.Grant{Role: keystore.RoleViewer, Account: a.ID})
	}
	busy, _, err := f.store.InviteMember(ctx, by, keystore.MemberParams{Name: long(keystore.MaxName), Email: "busy@example.com", Grants: grants}, time.Hour)
	must(err)
	for i := range keystore.MaxSandboxes - 1 {
		_, _, err = f.store.CreateSandbox(ctx, by, f.account, fmt.Sprintf("%02d", i)+long(keystore.MaxName-2))
		must(err)
	}
	record := f.record(func(r *requestlog.Record) {
		r.Key, r.UserAgent, r.Path, r.Target, r.Query, r.Host = restricted.ID, long(2000), "/v1/"+long(4000), "/v1/"+long(8000), long(8000), long(200)
	})
	in := func(page string) string { return f.in("live", page) }
	key := func(page string) string { return in("keys/" + restricted.ID + page) }
	return []string{
		"/", "/accounts", "/events", "/tokens", "/webhooks", "/members", "/nodes", "/members?account=" + f.account, "/members/" + busy.ID, "/members/" + busy.ID + "?from=24",
		in("keys"), in("keys?query=" + restricted.ID), f.in("sandbox", "keys"), f.in("sandbox", "sandboxes"), in("account"), in("logs"), in("logs?key=" + restricted.ID), in("logs/" + record),
		in("keys/new"), in("keys/new?kind=restricted"), key(""), key("/permissions"), key("/edit"), key("/metadata"), key("/ip"), key("/ip?tab=bulk"), key("/rotate"), key("/duplicate"), key("/delete"),
		"/" + f.organization + "/live/organization", "/" + f.organization + "/live/keys", "/" + f.organization + "/live/keys/new",
	}
}

// TestPageSize: with a catalog of 600 resources, and as much of everything as anybody can make, every page is below 50 KiB, and
// so are all that it leads to page by page, on which nothing is missing. The harness checks the size.
func TestPageSize(t *testing.T) {
	t.Parallel()
	var resources []string
	for i := range 600 {
		name := fmt.Sprintf("%s_resource_%d", []string{"billing", "connect", "core", "issuing", "terminal"}[i%5], i)
		resources = append(resources, name+strings.Repeat("x", 64-len(name)))
	}
	f := newFixture(t, resources...)
	for _, path := range f.largest(resources) {
		page := f.get(path).ok()
		checkHTML(t, path, page.body)
		for range 8 {
			_, rest, ok := strings.Cut(page.body, `<p class="more"><a class="button" href="`)
			if !ok {
				break
			}
			next, _, _ := strings.Cut(rest, `"`)
			page = f.get(strings.ReplaceAll(next, "&amp;", "&")).ok()
		}
	}
	walked := map[string]bool{}
	for page := f.get(f.in("live", "keys")).ok(); ; {
		for _, id := range idsIn(page.body, "/live/keys/key_") {
			walked[id] = true
		}
		// The last of the links is that of the restricted keys, as long as both lists are there.
		i := strings.LastIndex(page.body, `<p class="more"><a class="button" href="`)
		if i < 0 {
			break
		}
		page = f.get(strings.ReplaceAll(valueIn(t, page.body[i:], `href="`), "&amp;", "&")).ok()
	}
	if len(walked) < 50 {
		t.Errorf("only %d keys stand on the pages of restricted keys, want all 50", len(walked))
	}
}

// idsIn finds what follows a text in addresses, up to their next part.
func idsIn(body, before string) (ids []string) {
	for _, rest := range strings.Split(body, before)[1:] {
		ids = append(ids, rest[:strings.IndexAny(rest, `/"?`)])
	}
	return ids
}

// TestLargeCatalog: without a script all of 600 resources can be reached, found, set one by one and in groups, and nothing that
// was chosen on another part is lost on the way to the key.
func TestLargeCatalog(t *testing.T) {
	t.Parallel()
	var resources []string
	for i := range 600 {
		resources = append(resources, fmt.Sprintf("%s_resource_%03d", []string{"billing", "connect", "core", "issuing", "terminal"}[i%5], i))
	}
	f := newFixture(t, resources...)
	at := f.in("live", "keys/new?kind=restricted")
	form := newForm(t, f.get(at).ok().has("1 to 40 of 600 resources", "Next").body)
	form.set("name", "big")
	form.set("p.billing_resource_000", "write")
	// Page by page to the end: each resource is on one of them.
	reached := map[string]bool{}
	for {
		for name := range form.fields {
			if name, ok := strings.CutPrefix(name, "p."); ok {
				reached[name] = true
			}
		}
		if form.buttons["from:Next"] == "" {
			break
		}
		form = form.press(f, at, "from", form.buttons["from:Next"])
	}
	if len(reached) != 600 {
		t.Errorf("%d resources were reached, want 600", len(reached))
	}
	form.set("c.terminal_resource_599", "read")
	// A filter, a group at once within it, and all that a group has.
	form.set("filter", "core")
	form = form.press(f, at, "enter", "yes") // the Enter key in the field
	if _, ok := form.fields["p.billing_resource_000"]; ok || !strings.Contains(form.body, "of 120 resources") {
		t.Errorf("the filter leaves: %.2000s", text(form.body))
	}
	form = form.press(f, at, "set", "p:read:")
	form = form.press(f, at, "set", "c:write:Core")
	form.set("filter", "")
	form = form.press(f, at, "again", "filter")
	for _, want := range []string{"Read and write billing_resource_000", "Read all 120 of Core", "Read and write all 120 of Core on connected accounts", "Read terminal_resource_599 on connected accounts"} {
		if !strings.Contains(form.body, want) {
			t.Errorf("the summary lacks %q: %s", want, form.body[strings.Index(form.body, "data-summary"):])
		}
	}
	made := f.post(at, form.pairs("save", "yes")...).ok().has("Save your new key")
	tokenIn(t, made.body, "rk_live_")
	k := f.defaultKey(policy.KindRestricted, policy.ModeLive)
	own, connected := k.Principal.Permissions, k.Principal.ConnectedPermissions
	if len(own.Map()) != 121 || own.Get("billing_resource_000") != policy.AccessWrite || own.Get("core_resource_597") != policy.AccessRead ||
		len(connected.Map()) != 121 || connected.Get("terminal_resource_599") != policy.AccessRead || connected.Get("core_resource_002") != policy.AccessWrite {
		t.Errorf("%d permissions, %d connected", len(own.Map()), len(connected.Map()))
	}
	// The edit form begins with what the key has, and changes but what is changed.
	edit := f.in("live", "keys/"+k.ID+"/edit")
	form = newForm(t, f.get(edit).ok().body)
	form.set("p.billing_resource_000", "none")
	f.post(edit, form.pairs("save", "yes")...).goesTo(f.in("live", "keys/"+k.ID))
	k, _ = f.store.Snapshot().Key(k.ID)
	if own := k.Principal.Permissions; len(own.Map()) != 120 || own.Get("core_resource_597") != policy.AccessRead {
		t.Errorf("after the edit: %d permissions", len(own.Map()))
	}
	f.get(f.in("live", "keys/"+k.ID)).ok().has("Read all 120 of Core", "All permissions")
	f.get(f.in("live", "keys/"+k.ID+"/permissions")).ok().has("core_resource_002").lacks("billing_resource_000")
	f.get(f.in("live", "keys/"+k.ID+"/permissions?filter=599")).ok().has("terminal_resource_599").lacks("core_resource_002")
	// What is no packed field of ours is refused, and nothing is done.
	for _, kept := range []string{"!", "AAAA", "y0jMS8_PVkjOz00tBgA", strings.Repeat("A", 300_000)} {
		if page := f.post(at, "name", "x", "kept", kept); page.status != http.StatusBadRequest {
			t.Errorf("kept=%.20s: %d", kept, page.status)
		}
	}
}

// formOf is a form of a page as a browser without scripts has it.
type formOf struct {
	t       *testing.T
	body    string
	fields  map[string]string
	buttons map[string]string // by name and text
}

// newForm reads the fields of the forms of a page that are sent: the last of each name, of radio buttons the checked one.
func newForm(t *testing.T, body string) *formOf {
	t.Helper()
	f := &formOf{t: t, body: body, fields: map[string]string{}, buttons: map[string]string{}}
	walk(t, body, func(n *html.Node) {
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		_, checked := attr["checked"]
		switch {
		case attr["name"] == "" || n.Type != html.ElementNode:
		case n.Data == "button" && n.FirstChild != nil:
			f.buttons[attr["name"]+":"+n.FirstChild.Data] = attr["value"]
		case n.Data == "input" && (attr["type"] != "radio" || checked):
			f.fields[attr["name"]] = attr["value"]
		case n.Data == "textarea" || n.Data == "select":
			f.fields[attr["name"]] = ""
		}
	})
	return f
}

func (f *formOf) set(field, value string) {
	f.t.Helper()
	if _, ok := f.fields[field]; !ok {
		f.t.Fatalf("the form has no field %s", field)
	}
	f.fields[field] = value
}

func (f *formOf) pairs(button, value string) []string {
	out := []string{button, value}
	for name, v := range f.fields {
		out = append(out, name, v)
	}
	return out
}

// press sends the form by a button, and reads the form of the answer.
func (f *formOf) press(by *fixture, at, button, value string) *formOf {
	f.t.Helper()
	return newForm(f.t, by.post(at, f.pairs(button, value)...).ok().body)
}
