package api_test

import (
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

// atOnce sends the same call many times at once and counts the answers by status.
func (f *fixture) atOnce(n int, method, target, body string, headers ...string) map[int]int {
	f.t.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			r := httptest.NewRequest(method, target, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			mu.Lock()
			defer mu.Unlock()
			counts[w.Code]++
		})
	}
	group.Wait()
	return counts
}

func TestOnceInParallel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	key := f.restricted(account.ID)
	etag := f.ok("GET", "/v1/keys/"+key.ID, nil).header.Get("ETag")
	if got := f.atOnce(32, "PATCH", "/v1/keys/"+key.ID, `{"note":"mine"}`, "If-Match", etag); got[200] != 1 || got[412] != 31 {
		t.Errorf("If-Match: %v, want one 200 and 31 412", got)
	}
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`))
	for _, path := range []string{"/v1/accounts/" + account.ID, "/v1/organizations/" + organization.ID} {
		etag := f.ok("GET", path, nil).header.Get("ETag")
		if got := f.atOnce(32, "PATCH", path, `{"name":"mine"}`, "If-Match", etag); got[200] != 1 || got[412] != 31 {
			t.Errorf("If-Match on %s: %v, want one 200 and 31 412", path, got)
		}
	}
	for _, k := range account.Keys {
		if k.Kind == "secret" && k.Mode == "live" {
			if got := f.atOnce(64, "POST", "/v1/keys/"+k.ID+"/reveal", ""); got[200] != 1 || got[409] != 63 {
				t.Errorf("reveal: %v, want one 200 and 63 409", got)
			}
		}
	}
	if got := f.atOnce(32, "POST", "/v1/keys/"+key.ID+"/rotate", `{}`); got[200] != 1 || got[409] != 31 {
		t.Errorf("rotate: %v, want one 200 and 31 409", got)
	}
}
