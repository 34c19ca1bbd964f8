package dashboard_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// TestKeysPage: both lists stand there with what the source document asks of a row, in each mode, and nothing of the other.
func TestKeysPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, token := f.key(func(p *keystore.KeyParams) { p.Note = "vault: billing"; p.IPRanges = []string{"203.0.113.0/24"} })
	secret := f.defaultKey(policy.KindSecret, policy.ModeLive)
	page := f.get(f.in("live", "keys")).ok()
	page.has("Live mode: API keys", "Live mode", "Standard keys", "Restricted keys", "billing", k.Mask, "vault: billing", "1 IP range", secret.Mask, "Reveal live key",
		"Edit key", "Rotate key", "Manage IP restrictions", "Duplicate key", "View request logs", "Delete key", "pk_live_")
	page.lacks(token, "sk_test_", "pk_test_", "Reveal test key")
	f.get(f.in("sandbox", "keys")).ok().has("Sandbox: API keys", "Reveal test key", "pk_test_").lacks("sk_live_", "pk_live_", "billing")
}

// TestCreateRestrictedKey: from the form to the one page with the token, and the note after it.
func TestCreateRestrictedKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.get(f.in("live", "keys/new?kind=restricted")).ok().has("Create restricted key", "p.charges", "c.charges", "Nothing yet")
	form := []string{"name", "billing", "p.charges", "write", "p.customers", "read", "p.balance", "none", "c.charges", "read", "_once", "form1"}
	made := f.post(f.in("live", "keys/new?kind=restricted"), form...).ok().has("Save your new key", "only time", "where did you put it")
	token := tokenIn(t, made.body, "rk_live_")
	rows, _, err := f.store.Snapshot().Keys(keystore.KeyFilter{Account: f.account, Kind: policy.KindRestricted}, keystore.Page{Limit: 10}, f.clock())
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d restricted keys, %v", len(rows), err)
	}
	k := rows[0]
	if k.Principal.Permissions.Get("charges") != policy.AccessWrite || k.Principal.Permissions.Get("customers") != policy.AccessRead || k.Principal.Permissions.Get("balance") != policy.AccessNone ||
		k.Principal.ConnectedPermissions.Get("charges") != policy.AccessRead {
		t.Errorf("permissions %v, connected %v", k.Principal.Permissions.Map(), k.Principal.ConnectedPermissions.Map())
	}
	// The same form again shows nothing and makes nothing.
	again := f.post(f.in("live", "keys/new?kind=restricted"), form...)
	if again.status != 409 {
		t.Errorf("the same form again: %d", again.status)
	}
	again.lacks(token)
	f.post(f.in("live", "keys/"+k.ID+"/note"), "note", "vault: billing").goesTo(f.in("live", "keys?done=noted"))
	f.get(f.in("live", "keys?done=noted")).ok().has("The note is saved", "vault: billing", k.Mask).lacks(token)
	f.get(f.in("live", "keys/"+k.ID)).ok().has("Read and write charges", "Read customers", "Read charges on connected accounts").lacks(token)
}

// TestPermissionForm: what works without a script: a group set at once, the filter, the summary; and what was wrong.
func TestPermissionForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := f.in("live", "keys/new?kind=restricted")
	all := []string{"name", "x", "p.charges", "none", "p.customers", "read", "p.billing_invoices", "none", "p.billing_plans", "none", "p.balance", "none"}
	f.post(at, append([]string{"set", "p:write:Billing"}, all...)...).ok().has("Read and write billing_invoices, billing_plans", "Read customers").lacks("Read and write charges")
	f.post(at, append([]string{"set", "p:read:"}, all...)...).ok().has("Read balance, billing_invoices, billing_plans, charges, customers")
	f.post(at, append([]string{"again", "filter", "filter", "charg"}, all...)...).ok().has(`name="p.charges"`, "Read customers").lacks(`name="p.customers"`)
	f.post(at, "name", "").ok().has("Give a name")
	f.post(at, "name", "x", "p.nonsense", "read").ok().has("Unknown resource nonsense")
	f.post(at, "name", "x", "expires", "custom", "expires_at", "yesterday").ok().has("Give a date and a time")
	if rows, _, _ := f.store.Snapshot().Keys(keystore.KeyFilter{Account: f.account, Kind: policy.KindRestricted}, keystore.Page{Limit: 10}, f.clock()); len(rows) != 0 {
		t.Errorf("%d keys were made on the way", len(rows))
	}
}

// TestReveal: a sandbox key in its row, any number of times; a live one after a question, once.
func TestReveal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sandbox, live := f.defaultKey(policy.KindSecret, policy.ModeSandbox), f.defaultKey(policy.KindSecret, policy.ModeLive)
	for range 2 {
		page := f.post(f.in("sandbox", "keys/"+sandbox.ID+"/reveal")).ok().has("Hide test key")
		tokenIn(t, page.body, "sk_test_")
	}
	f.get(f.in("live", "keys/"+live.ID+"/reveal")).ok().has("this once")
	token := tokenIn(t, f.post(f.in("live", "keys/"+live.ID+"/reveal")).ok().body, "sk_live_")
	second := f.post(f.in("live", "keys/"+live.ID+"/reveal"))
	if second.status != 409 {
		t.Errorf("a second reveal: %d", second.status)
	}
	second.has("rotate it").lacks(token)
	f.get(f.in("live", "keys")).ok().lacks(token, "Reveal live key")
	// A key under the heading of the other mode is not there.
	for _, path := range []string{f.in("live", "keys/"+sandbox.ID), "/" + f.organization + "/live/keys/" + live.ID} {
		if page := f.get(path); page.status != 404 {
			t.Errorf("%s: %d, want 404", path, page.status)
		}
	}
}

// TestRotate: now, later, and ending an old key that is in use.
func TestRotate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	f.get(f.in("live", "keys/"+k.ID+"/rotate")).ok().has("Expiration of the old key", "In 1 hour", "In 24 hours", "In 3 days", "In 7 days", "Schedule rotation")
	f.post(f.in("live", "keys/"+k.ID+"/rotate")).ok().has("Choose when the old key ends")
	f.post(f.in("live", "keys/"+k.ID+"/rotate"), "expires", "custom", "expires_at", "2026-04-01T00:00").ok().has("7 days")
	made := f.post(f.in("live", "keys/"+k.ID+"/rotate"), "expires", "24h").ok().has("goes on until", "2 Mar 2026, 12:00 UTC")
	tokenIn(t, made.body, "rk_live_")
	f.get(f.in("live", "keys")).ok().has("Expires in 1 day")
	f.get(f.in("live", "keys/"+k.ID)).ok().has("This key was rotated", "End it now")
	f.post(f.in("live", "keys/"+k.ID+"/end")).goesTo(f.in("live", "keys/"+k.ID))
	f.get(f.in("live", "keys?ended=yes")).ok().has("Expired", k.Mask)

	other, _ := f.key(nil)
	f.post(f.in("live", "keys/"+other.ID+"/schedule"), "how", "every", "days", "x", "overlap", "24h").ok().has("whole number of days")
	f.post(f.in("live", "keys/"+other.ID+"/schedule"), "how", "every", "days", "30", "overlap", "24h").goesTo(f.in("live", "keys/"+other.ID))
	f.get(f.in("live", "keys/"+other.ID)).ok().has("Every 30 days")
	f.post(f.in("live", "keys/"+other.ID+"/unschedule")).goesTo(f.in("live", "keys/"+other.ID))
	f.get(f.in("live", "keys/"+other.ID)).ok().lacks("Every 30 days")
}

// TestRanges: what is entered in one tab stands in the other, without a script; errors stand beside their row; nothing is
// saved by changing the view.
func TestRanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	at := f.in("live", "keys/"+k.ID+"/ip")
	f.get(at).ok().has("Limit use to a set of IP addresses", "Bulk manage")
	f.post(at, "limited", "yes", "tab", "single", "address", "203.0.113.7", "prefix", "", "address", "10.0.0.0", "prefix", "8", "show", "bulk").ok().has("203.0.113.7\n10.0.0.0/8</textarea>")
	f.post(at, "limited", "yes", "tab", "bulk", "ranges", "203.0.113.7 10.0.0.0/8", "show", "single").ok().has(`value="10.0.0.0"`, `value="8"`)
	f.post(at, "limited", "yes", "tab", "single", "address", "203.0.113.7", "prefix", "", "address", "10.0.0.0", "prefix", "8", "remove", "10.0.0.0/8").ok().lacks(`value="10.0.0.0"`)
	f.post(at, "limited", "yes", "tab", "single", "address", "203.0.113.7", "prefix", "", "address", "10.0.0.1", "prefix", "8", "save", "yes").ok().has("10.0.0.1")
	f.post(at, "limited", "yes", "tab", "bulk", "ranges", "").ok().has("problem")
	if now, _ := f.store.Snapshot().Key(k.ID); now.IPRanges != nil {
		t.Fatalf("ranges were saved: %v", now.IPRanges)
	}
	f.post(at, "limited", "yes", "tab", "bulk", "ranges", "203.0.113.7 10.0.0.0/8", "save", "yes").goesTo(f.in("live", "keys/"+k.ID))
	f.get(f.in("live", "keys/"+k.ID)).ok().has("10.0.0.0/8")
	f.post(at, "limited", "no", "tab", "single", "address", "203.0.113.7", "prefix", "", "save", "yes").goesTo(f.in("live", "keys/"+k.ID))
	if now, _ := f.store.Snapshot().Key(k.ID); now.IPRanges != nil {
		t.Errorf("ranges are still %v", now.IPRanges)
	}
}

// TestEditAndDelete: names, origins, ends; a change of somebody else's in between is not overwritten.
func TestEditAndDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	at := f.in("live", "keys/"+k.ID+"/edit")
	tag := valueOf(t, f.get(at).ok().body, "revision")
	f.post(at, "name", "renamed", "note", "safe", "ends", "yes", "expires_at", "2026-12-01T10:00", "p.charges", "none", "revision", tag).goesTo(f.in("live", "keys/"+k.ID))
	f.get(f.in("live", "keys/"+k.ID)).ok().has("renamed", "safe", "1 Dec 2026, 10:00", "every request with it is refused")
	f.post(at, "name", "late", "note", "", "p.charges", "read", "revision", tag).ok().has("Somebody else changed this key")

	pk := f.defaultKey(policy.KindPublishable, policy.ModeLive)
	f.post(f.in("live", "keys/"+pk.ID+"/edit"), "name", "Publishable key", "limit", "yes", "origins", "https://shop.example.com").goesTo(f.in("live", "keys/"+pk.ID))
	f.get(f.in("live", "keys/"+pk.ID)).ok().has("https://shop.example.com").lacks("Delete key")

	f.get(f.in("live", "keys/"+k.ID+"/delete")).ok().has("can no longer make API calls")
	f.post(f.in("live", "keys/"+k.ID+"/delete")).goesTo(f.in("live", "keys?done=key_deleted"))
	if now, _ := f.store.Snapshot().Key(k.ID); !now.Deleted {
		t.Error("the key is not deleted")
	}
	if page := f.post(f.in("live", "keys/"+pk.ID+"/delete")); page.status != 409 {
		t.Errorf("deleting a publishable key: %d", page.status)
	}
}

// TestMetadata: pairs are added, changed, renamed and taken away without a script; what is not shown stays as it is.
func TestMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.post(f.in("live", "keys/new?kind=restricted"), "name", "billing", "p.charges", "read",
		"meta_was", "", "meta_name", "team", "meta_value", "payments", "meta_was", "", "meta_name", "", "meta_value", "").ok()
	tokenIn(t, made.body, "rk_live_")
	k := f.defaultKey(policy.KindRestricted, policy.ModeLive)
	at := f.in("live", "keys/"+k.ID+"/edit")
	has := func(want map[string]string) {
		t.Helper()
		now, _ := f.store.Snapshot().Key(k.ID)
		if !maps.Equal(now.Metadata, want) {
			t.Errorf("metadata %v, want %v", now.Metadata, want)
		}
	}
	has(map[string]string{"team": "payments"})
	f.get(at).ok().has(`name="meta_name" value="team"`)
	save := func(page string, rows ...string) *answer {
		t.Helper()
		fields := []string{"name", "billing", "p.charges", "read"}
		for i := 0; i < len(rows); i += 3 {
			fields = append(fields, "meta_was", rows[i], "meta_name", rows[i+1], "meta_value", rows[i+2])
		}
		return f.post(page, fields...)
	}
	back := f.in("live", "keys/"+k.ID)
	save(at, "team", "group", "payments", "", "ticket", "a\r\nb").goesTo(back)
	has(map[string]string{"group": "payments", "ticket": "a\nb"})
	save(at, "group", "ticket", "x", "ticket", "group", "y").goesTo(back) // they change places
	has(map[string]string{"group": "y", "ticket": "x"})
	save(at, "ticket", "ticket", "").goesTo(back) // one row is emptied, the other not on the form
	has(map[string]string{"group": "y"})
	save(at, "group", "", "").goesTo(back)
	has(nil)
	for want, rows := range map[string][]string{
		"a name": {"", "", "x"}, "a value": {"", "x", ""}, "Two rows": {"", "x", "1", "", "x", "2"}, "40 printable characters": {"", strings.Repeat("x", 41), "1"},
	} {
		for _, page := range []string{at, back + "/metadata"} {
			save(page, rows...).ok().has(want)
		}
	}
	has(nil)
	f.post(at, "again", "metadata", "meta_was", "", "meta_name", "one", "meta_value", "1").ok().has(`value="one"`, `aria-label="Name 2"`)
	has(nil)
	save(back+"/metadata", "", "a", "1", "", "b", "2").goesTo(back)
	has(map[string]string{"a": "1", "b": "2"})
	f.get(back+"/metadata").ok().has(`value="a"`, `value="b"`)
	f.get(back + "/duplicate").ok().has(`name="meta_name" value="a"`)
	f.post(back+"/duplicate", "name", "copy", "p.charges", "read", "meta_was", "a", "meta_name", "a", "meta_value", "", "meta_was", "b", "meta_name", "b", "meta_value", "3").ok()
	if copied := f.keyNamed("copy"); !maps.Equal(copied.Metadata, map[string]string{"b": "3"}) {
		t.Errorf("the duplicate has %v", copied.Metadata)
	}
}

// TestGrantFromExplanation: from a refused request to the form in which the missing permission is chosen, and nothing is changed
// before somebody saves it.
func TestGrantFromExplanation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	page := f.get(f.in("live", "explain?method=POST&path=/v1/customers&key="+k.ID)).ok().has("customers_write", "Change the key so that it may")
	link := strings.ReplaceAll(valueIn(t, page.body, `class="button primary" href="`), "&amp;", "&")
	form := newForm(t, f.get(link).ok().has("Write on customers is chosen below", "Read and write customers").body)
	if form.fields["p.customers"] != "write" {
		t.Errorf("the form has %v", form.fields)
	}
	if now, _ := f.store.Snapshot().Key(k.ID); now.Principal.Permissions.Get("customers") != policy.AccessNone {
		t.Error("the permission was given before anybody saved it")
	}
	f.post(f.in("live", "keys/"+k.ID+"/edit"), form.pairs("save", "yes")...).goesTo(f.in("live", "keys/"+k.ID))
	if now, _ := f.store.Snapshot().Key(k.ID); now.Principal.Permissions.Get("customers") != policy.AccessWrite || now.Principal.Permissions.Get("charges") != policy.AccessRead {
		t.Errorf("permissions %v", now.Principal.Permissions.Map())
	}
	for _, nothing := range []string{"?grant=p.customers", "?grant=p.&access=read", "?grant=x.customers&access=read", "?grant=p.customers&access=all"} {
		f.get(f.in("live", "keys/"+k.ID+"/edit"+nothing)).ok().lacks("chosen below")
	}
}

// TestDuplicate: the form has the original's values, and makes a key of its own.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, _ := f.key(nil)
	f.get(f.in("live", "keys/"+k.ID+"/duplicate")).ok().has(`value="billing"`, "Read charges")
	made := f.post(f.in("live", "keys/"+k.ID+"/duplicate"), "name", "billing", "p.charges", "read").ok()
	tokenIn(t, made.body, "rk_live_")
}

// TestOrganizationKeys: one kind of key, with everything or with what is chosen.
func TestOrganizationKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	base := "/" + f.organization + "/live/"
	f.get(base+"keys").ok().has("Organization keys", "Create organization key").lacks("Standard keys")
	tokenIn(t, f.post(base+"keys/new", "name", "all", "unrestricted", "yes").ok().body, "sk_org_live_")
	tokenIn(t, f.post(base+"keys/new", "name", "some", "unrestricted", "no", "p.charges", "read").ok().body, "sk_org_live_")
	f.get(base+"organization").ok().has("Shop", "all", "some")
}

// keyNamed is the newest key of a name.
func (f *fixture) keyNamed(name string) *keystore.Key {
	f.t.Helper()
	rows, _, err := f.store.Snapshot().Keys(keystore.KeyFilter{Account: f.account, Query: name}, keystore.Page{Limit: 1}, f.clock())
	if err != nil || len(rows) == 0 {
		f.t.Fatalf("no key is called %s: %v", name, err)
	}
	return rows[0]
}

// tokenIn finds the one token with the prefix in a page.
func tokenIn(t *testing.T, body, prefix string) string {
	t.Helper()
	found := map[string]bool{}
	for rest := body; ; {
		i := strings.Index(rest, prefix)
		if i < 0 {
			break
		}
		rest = rest[i:]
		end := strings.IndexFunc(rest, func(r rune) bool {
			return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		})
		if end < 0 {
			end = len(rest)
		}
		if _, _, class := policy.ParseToken(rest[:end]); class == policy.TokenOurs {
			found[rest[:end]] = true
		}
		rest = rest[len(prefix):]
	}
	if len(found) != 1 {
		t.Fatalf("the page has %d tokens that begin with %s, want one: %.2000s", len(found), prefix, text(body))
	}
	for token := range found {
		return token
	}
	return ""
}

// valueOf is the value of a hidden field of a form.
func valueOf(t *testing.T, body, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, `name="`+name+`" value="`)
	if !ok {
		t.Fatalf("the page has no field %q", name)
	}
	value, _, _ := strings.Cut(rest, `"`)
	return strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&amp;", "&").Replace(value)
}
