package dashboard_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestAsJSON: a page that cuts long texts leads to all of them, for members of several roles too: the address says which account it
// is of, which that of the API does not. What another account or mode has is not found there.
func TestAsJSON(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	metadata := map[string]string{}
	for i := range keystore.MaxMetadata {
		metadata[fmt.Sprint("name", i)] = strings.Repeat("&", keystore.MaxMetadataValue)
	}
	var ranges []string
	for i := range policy.MaxNetworks {
		ranges = append(ranges, fmt.Sprintf("203.0.%d.0/24", i))
	}
	k, _ := f.key(func(p *keystore.KeyParams) { p.Metadata, p.IPRanges = metadata, ranges })
	long := "/v1/" + strings.Repeat("&", 8000)
	record := f.record(func(r *requestlog.Record) {
		r.Key, r.Path, r.Target, r.Query, r.UserAgent = k.ID, long[:4000], long, long, long[:2000]
		r.Decision, r.Status, r.ErrorMessage, r.Host, r.IdempotencyKey, r.ErrorCode = "permission_denied", 403, long[:2000], long[:1000], long[:1000], long[:1000]
	})
	for _, limit := range []struct{ organization, account string }{{"", ""}, {f.organization, ""}, {"", f.account}} {
		f.as(keystore.RoleViewer, limit.organization, limit.account)
		for page, want := range map[string]string{"keys/" + k.ID: ranges[len(ranges)-1], "logs/" + record: long[:1000]} {
			shown := f.get(f.in("live", page)).ok()
			link := valueIn(t, shown.body, `are cut here. <a href="`)
			if limit.account+limit.organization != "" && strings.HasPrefix(link, "/v1/") {
				t.Fatalf("%s leads to %s", page, link)
			}
			got := f.get(link).ok().has(want)
			if kind := got.header.Get("Content-Type"); kind != "application/json" {
				t.Errorf("%s is %s", link, kind)
			}
		}
	}
	other, _, err := f.store.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	f.as(keystore.RoleOwner, "", "")
	for _, path := range []string{
		"/" + other.ID + "/live/keys/" + k.ID + "/json", f.in("sandbox", "keys/"+k.ID+"/json"), f.in("sandbox", "logs/"+record+"/json"), f.in("live", "keys/key_nothing/json"),
	} {
		if got := f.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
