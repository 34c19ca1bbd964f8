package dashboard_test

import (
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// TestEventLinks: events lead to what they are about where it is still there and the viewer may see it, and nowhere else.
func TestEventLinks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.sample(func(s string) string { return s })
	k, _ := f.key(nil)
	hook, _, err := f.store.CreateWebhookEndpoint(t.Context(), by, keystore.WebhookParams{URL: "https://example.com/gone", Events: []string{"*"}, Account: f.account})
	if err == nil {
		err = f.store.DeleteWebhookEndpoint(t.Context(), by, hook.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	tokens, _, err := f.store.Snapshot().AdminTokens(keystore.Page{Limit: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for at := "/events"; ; {
		page := f.get(at).ok()
		all += page.body
		if !strings.Contains(page.body, `<p class="more">`) {
			break
		}
		at = strings.ReplaceAll(valueIn(t, page.body, `<p class="more"><a class="button" href="`), "&amp;", "&")
	}
	for _, want := range []string{
		f.in("live", "keys/"+k.ID), f.in("sandbox", "account"), "/" + f.organization + "/live/organization", "/members/mem_", "/webhooks/we_", "/tokens?id=" + tokens[0].ID,
	} {
		if !strings.Contains(all, `href="`+want) {
			t.Errorf("no event leads to %s", want)
		}
	}
	if strings.Contains(all, "/webhooks/"+hook.ID) {
		t.Error("an event leads to what is deleted")
	}
	f.get("/tokens?id="+tokens[0].ID).ok().has("deploy", "All admin tokens")
	f.as(keystore.RoleViewer, "", f.account)
	page := f.get("/events?account=" + f.account).ok()
	page.has(f.in("live", "keys/")).lacks("/tokens?", `href="/members`, `href="/webhooks`)
}
