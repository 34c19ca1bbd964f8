package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestEveryCallFitsTheDocument makes every call of the document once so that it succeeds, and once about nothing that is
// there: the fixture holds each answer against the document.
func TestEveryCallFitsTheDocument(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	for _, item := range f.spec.Paths.Map() {
		for method, o := range item.Operations() {
			e, known := expectations[o.OperationID]
			if !known {
				t.Errorf("%s: this test does not know the call", o.OperationID)
				continue
			}
			w := f.world(o.OperationID)
			done := f.webhooks(&w)
			if strings.Contains(o.OperationID, "disconnect") {
				f.ok("PUT", "/v1/accounts/"+w.account+"/connections/"+w.other, nil)
			}
			if o.OperationID == "reveal_key" || o.OperationID == "end_key_rotation" { // only some keys can
				w.key = f.sandboxKey(&w)
			}
			if o.OperationID == "end_key_rotation" {
				f.ok("POST", "/v1/keys/"+w.key+"/rotate", map[string]any{"expires_at": soon})
			}
			call, target, body := e.call(w)
			if call != method && call != http.MethodHead {
				t.Errorf("%s: %s, and the document says %s", o.OperationID, call, method)
			}
			var headers []string
			if strings.HasPrefix(target, "/v1/key_imports") {
				headers = []string{"Content-Type", jsonLines}
			}
			f.ok(call, target, body, headers...)
			f.do(call, target, body, append(headers, "If-Match", "W/x", "Idempotency-Key", strings.Repeat("x", 300))...)
			if body == nil {
				f.do(call, target+"?nothing=1", nil)
			}
			absent := w
			for _, field := range []*string{&absent.organization, &absent.account, &absent.other, &absent.key, &absent.token, &absent.record, &absent.event, &absent.webhook} {
				*field = (*field)[:len(*field)-4] + "zzzz"
			}
			if again, other, body := e.call(absent); other != target {
				if a := f.do(again, other, body, headers...); !slices.Contains([]int{400, 404}, a.status) {
					t.Errorf("%s: about nothing, answered %d: %s", o.OperationID, a.status, a.body)
				}
			}
			done()
		}
	}
}

// sandboxKey makes a restricted key whose token is kept.
func (f *roleFixture) sandboxKey(w *world) string {
	f.t.Helper()
	return f.key(map[string]any{"kind": "restricted", "mode": "sandbox", "account": w.account, "name": "kept"}).ID
}
