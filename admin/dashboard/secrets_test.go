package dashboard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestSecretOnce: each new secret stands in the body of the one answer that shows it, and in no other, in no header and no
// address.
func TestSecretOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	k, made := f.key(nil)
	secrets := map[string]int{made: 0} // → in how many answers it may be
	shown := func(a *answer) {
		t.Helper()
		secret := valueIn(t, a.ok().body, `id="secret" class="mono" value="`)
		secrets[secret] = 1
	}
	f.sample(func(s string) string { return s })
	shown(f.post(f.in("live", "keys/new"), "name", "a", "_once", "1"))
	shown(f.post(f.in("live", "keys/new?kind=restricted"), "name", "b", "_once", "2"))
	shown(f.post(f.in("sandbox", "keys/new"), "name", "c", "_once", "3"))
	shown(f.post("/"+f.organization+"/live/keys/new", "name", "d", "unrestricted", "yes", "_once", "4"))
	shown(f.post(f.in("live", "keys/"+k.ID+"/duplicate"), "name", "e", "_once", "5"))
	shown(f.post(f.in("live", "keys/"+k.ID+"/rotate"), "expires", "1h", "_once", "6"))
	shown(f.post(f.in("live", "keys/"+f.defaultKey(policy.KindSecret, policy.ModeLive).ID+"/reveal")))
	shown(f.post("/tokens", "name", "deploy", "role", "viewer", "_once", "7"))
	shown(f.post("/webhooks", "url", "https://example.com/a", "events", "*", "_once", "8"))
	shown(f.post("/members", "email", "a@example.com", "role", "viewer", "_once", "9"))
	// Sent again they make nothing and show nothing.
	for _, again := range [][]string{
		{f.in("live", "keys/new"), "name", "a", "_once", "1"}, {"/tokens", "name", "deploy", "role", "viewer", "_once", "7"},
		{"/webhooks", "url", "https://example.com/a", "events", "*", "_once", "8"}, {"/members", "email", "a@example.com", "role", "viewer", "_once", "9"},
	} {
		if page := f.post(again[0], again[1:]...); page.status != http.StatusConflict {
			t.Errorf("%s again: %d", again[0], page.status)
		}
	}
	for _, path := range []string{f.in("live", "keys"), f.in("sandbox", "keys"), f.in("live", "keys/"+k.ID), "/events", "/tokens", "/webhooks", "/members", f.in("live", "logs"), "/"} {
		f.get(path).ok()
	}
	for secret, most := range secrets {
		found := 0
		for _, a := range f.answers {
			if strings.Contains(a.body, secret) {
				found++
			}
			if strings.Contains(fmt.Sprint(a.header, a.call), secret) {
				t.Errorf("%s: a header or the address has a secret", a.call)
			}
		}
		if found != most {
			t.Errorf("%.8s… stands in %d answers, want %d", secret, found, most)
		}
	}
}

// valueIn is what stands between a text and the next quotation mark.
func valueIn(t *testing.T, body, before string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, before)
	if !ok {
		t.Fatalf("the page lacks %q: %.2000s", before, text(body))
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// TestHomeExamples: a guest gets a key of nobody, a developer their own, a viewer none; looking again is no second event.
func TestHomeExamples(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.guest()
	first, second := tokenIn(t, f.get("/").ok().body, "sk_test_"), tokenIn(t, f.get("/").ok().body, "sk_test_")
	digest := policy.DigestOf(first)
	if _, known := f.store.Lookup(&digest); known || first == second {
		t.Error("the example's key is one of somebody, or always the same")
	}
	f.as(keystore.RoleDeveloper, "", f.account)
	own := tokenIn(t, f.get("/").ok().has("curl", "Node", "Python", "Go", "PHP", "Ruby", "Only you see it").body, "sk_test_")
	digest = policy.DigestOf(own)
	if k, _ := f.store.Lookup(&digest); k == nil || k.Account != f.account || k.Mode != policy.ModeSandbox {
		t.Error("the example's key is not the account's")
	}
	f.get("/").ok().has(own)
	found, err := f.store.Events(t.Context(), &keystore.EventFilter{Type: "key.revealed"}, keystore.Page{Limit: 10})
	if err != nil || len(found.Events) != 1 {
		t.Errorf("%d events of the key's being shown, %v", len(found.Events), err)
	}
	f.as(keystore.RoleViewer, "", f.account)
	if theirs := tokenIn(t, f.get("/").ok().body, "sk_test_"); theirs == own {
		t.Error("a viewer sees the account's key")
	}
}

// TestStreams: exports and the tail are the API's own, within the scope and the mode of the page.
func TestStreams(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.record(func(r *requestlog.Record) { r.Path = "/v1/mine" })
	f.record(func(r *requestlog.Record) { r.Path, r.Account, r.Owner = "/v1/other", "acct_other", "acct_other" })
	f.record(func(r *requestlog.Record) { r.Path, r.Mode = "/v1/sandboxed", "sandbox" })
	for format, kind := range map[string]string{"jsonl": "application/x-ndjson", "csv": "text/csv", "parquet": ""} {
		file := f.get(f.in("live", "logs/export?format="+format)).ok()
		if got := file.header.Get("Content-Type"); !strings.HasPrefix(got, kind) {
			t.Errorf("%s: Content-Type %q", format, got)
		}
		if disposition := file.header.Get("Content-Disposition"); !strings.HasPrefix(disposition, "attachment") {
			t.Errorf("%s: Content-Disposition %q", format, disposition)
		}
		if format != "parquet" {
			file.has("/v1/mine").lacks("/v1/other", "/v1/sandboxed")
		}
	}
	f.get(f.in("live", "logs")).ok().has("/v1/mine").lacks("/v1/other", "/v1/sandboxed")
	f.get("/events/export?format=csv").ok().has("account.created")

	server := httptest.NewServer(f.handler)
	defer server.Close()
	answer, err := http.Get(server.URL + f.in("live", "logs/tail"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("the tail is %q", got)
	}
}

// TestPagesOfLists: lists are pages. A later page of one list has that list alone.
func TestPagesOfLists(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 45 {
		k, _ := f.key(func(p *keystore.KeyParams) { p.Name = fmt.Sprintf("service %d", i) })
		f.key(func(p *keystore.KeyParams) {
			p.Name, p.Kind, p.Permissions = fmt.Sprintf("server %d", i), policy.KindSecret, nil
		})
		f.record(func(r *requestlog.Record) { r.Key, r.TokenMasked = k.ID, k.Mask })
	}
	first := f.get(f.in("live", "keys")).ok().has("service 44", "server 44", "Next page").lacks("service 20<", "server 20<")
	links := strings.Split(first.body, `<p class="more"><a class="button" `)
	if len(links) != 3 {
		t.Fatalf("%d lists go on, want 2", len(links)-1)
	}
	next := func(link string) *answer {
		return f.get(strings.ReplaceAll(valueIn(t, link, `href="`), "&amp;", "&")).ok()
	}
	next(links[1]).has("server 20<", "Standard keys").lacks("server 44", "Restricted keys", "service 20<")
	next(links[2]).has("service 20<", "Restricted keys").lacks("service 44", "Standard keys")
	for _, wrong := range []string{"keys?after=x", "keys?after=9.key_1", "keys?standard=-1.key_1"} {
		if page := f.get(f.in("live", wrong)); page.status != http.StatusNotFound {
			t.Errorf("%s: %d", wrong, page.status)
		}
	}
	f.get(f.in("live", "logs")).ok().has("Older requests")
}
