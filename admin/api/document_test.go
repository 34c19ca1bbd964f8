package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/keystile/keystile/admin/api"
)

// TestDocument: the document names exactly the calls of this issue, and its server is where the API is mounted.
func TestDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var got []string
	for path, item := range f.spec.Paths.Map() {
		for method, o := range item.Operations() {
			got = append(got, method+" "+path)
			if o.OperationID == "" || o.Summary == "" || len(o.Tags) != 1 {
				t.Errorf("%s %s: incomplete: %q %q %v", method, path, o.OperationID, o.Summary, o.Tags)
			}
			if public := slices.Contains([]string{api.KeySetPath, "/v1/openapi.json", "/v1/docs"}, path); public != (o.Responses.Value("401") == nil) {
				t.Errorf("%s %s: public is %t, but 401 says otherwise", method, path, public)
			}
			if o.Responses.Value("400") == nil || o.Responses.Value("500") == nil {
				t.Errorf("%s %s: errors are missing", method, path)
			}
		}
	}
	want := []string{
		"DELETE /v1/accounts/{id}/connections/{connected_id}", "DELETE /v1/accounts/{id}/sandboxes/{sandbox_id}",
		"DELETE /v1/admin_tokens/{id}", "GET /v1/admin_tokens", "GET /v1/admin_tokens/{id}", "POST /v1/admin_tokens",
		"GET /v1/members", "POST /v1/members", "GET /v1/members/{id}", "PATCH /v1/members/{id}", "DELETE /v1/members/{id}",
		"POST /v1/members/{id}/invitation", "GET /v1/members/{id}/sessions", "DELETE /v1/members/{id}/sessions",
		"DELETE /v1/keys/{id}", "GET /.well-known/jwks.json",
		"GET /v1/accounts", "GET /v1/accounts/{id}", "GET /v1/accounts/{id}/sandboxes", "GET /v1/backup", "GET /v1/docs", "GET /v1/events", "GET /v1/events/export", "GET /v1/events/verify", "GET /v1/events/{id}", "GET /v1/keys", "GET /v1/keys/export", "GET /v1/keys/{id}",
		"GET /v1/openapi.json", "GET /v1/organizations", "GET /v1/organizations/{id}", "GET /v1/request_logs", "GET /v1/request_logs/tail",
		"GET /v1/request_logs/{id}", "GET /v1/request_logs/histogram", "GET /v1/request_logs/export", "GET /v1/request_logs/stats", "GET /v1/resources", "PATCH /v1/accounts/{id}", "PATCH /v1/keys/{id}", "PATCH /v1/organizations/{id}",
		"POST /v1/accounts", "POST /v1/accounts/{id}/sandboxes", "POST /v1/explain", "POST /v1/key_imports", "POST /v1/keys", "POST /v1/keys/import",
		"POST /v1/keys/{id}/duplicate", "POST /v1/keys/{id}/reveal", "POST /v1/keys/{id}/rotate", "POST /v1/organizations",
		"PUT /v1/accounts/{id}/connections/{connected_id}",
		"PUT /v1/keys/{id}/rotation_schedule", "DELETE /v1/keys/{id}/rotation_schedule", "POST /v1/keys/{id}/rotation/end", "GET /v1/keys/{id}/usage",
		"GET /v1/master_key", "POST /v1/master_key/add", "POST /v1/master_key/promote", "POST /v1/master_key/prune", "POST /v1/master_key/reload",
		"POST /v1/master_key/rotate",
		"GET /v1/webhook_endpoints", "POST /v1/webhook_endpoints", "GET /v1/webhook_endpoints/{id}", "DELETE /v1/webhook_endpoints/{id}",
		"GET /v1/webhook_endpoints/{id}/deliveries", "PATCH /v1/webhook_endpoints/{id}", "POST /v1/webhook_endpoints/{id}/rotate_secret",
		"POST /v1/webhook_endpoints/{id}/resend",
		"GET /v1/nodes",
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the document has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if f.spec.OpenAPI != "3.1.0" || len(f.spec.Servers) != 1 || f.spec.Servers[0].URL != "/keystile" {
		t.Errorf("openapi %s, servers %v", f.spec.OpenAPI, f.spec.Servers)
	}
	a := f.ok("GET", "/v1/openapi.json", nil)
	if !json.Valid(a.body) || a.header.Get("Content-Type") != "application/json" {
		t.Error("the document is not JSON")
	}
	if again := f.ok("GET", "/v1/openapi.json", nil); string(again.body) != string(a.body) {
		t.Error("the document is not the same twice")
	}
}

// TestDocumentIsDeterministic: two processes serve the same bytes.
func TestDocumentIsDeterministic(t *testing.T) {
	t.Parallel()
	one, two := newFixture(t), newFixture(t)
	for _, path := range []string{"/v1/openapi.json", "/v1/docs"} {
		if string(one.ok("GET", path, nil).body) != string(two.ok("GET", path, nil).body) {
			t.Errorf("%s differs", path)
		}
	}
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/docs", nil))
	page := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy %q lacks %q", policy, want)
		}
	}
	for _, no := range []string{"<script", "http://", "https://", "src=", "style=", "<link", "@import", "url(", "javascript:"} {
		if strings.Contains(page, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if strings.Count(page, "<style") != 1 || strings.Contains(page, "ZgotmplZ") {
		t.Error("the style is not as it was written")
	}
	for path, item := range f.spec.Paths.Map() {
		for method, o := range item.Operations() {
			if !strings.Contains(page, "<code>"+method+" "+path+"</code>") || !strings.Contains(page, `id="`+o.OperationID+`"`) {
				t.Errorf("the page lacks %s %s", method, path)
			}
		}
	}
}
