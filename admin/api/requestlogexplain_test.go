package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestExplanationOfRecord: the answer of one record, and only that, says in words what was decided.
func TestExplanationOfRecord(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const mask = "rk_live_****abcd"
	for _, tt := range []struct {
		name   string
		change func(*requestlog.Record)
		want   []string
	}{
		{"allowed", func(r *requestlog.Record) {
			r.Kind, r.TokenMasked, r.Account, r.RequiredPermission = "restricted", mask, "acct_a", "charges_read"
		}, []string{"The restricted key '" + mask + "' may make this request on account 'acct_a': it needs 'charges_read'."}},
		{"allowed, and the backend failed", func(r *requestlog.Record) {
			r.Kind, r.Status, r.Upstream, r.ErrorCode = "secret", 500, time.Millisecond, "boom"
		}, []string{"The secret key may make this request.", "The backend answered 500 (boom)."}},
		{"publishable", func(r *requestlog.Record) { r.Kind, r.RequiredPermission = "publishable", "tokens_write" }, []string{"marked publishable"}},
		{"open", func(r *requestlog.Record) { r.Decision = "open" }, []string{"needs no key"}},
		{"preflight", func(r *requestlog.Record) { r.Decision, r.Status = "preflight", 204 }, []string{"browser"}},
		{"denied, with what the client was told", func(r *requestlog.Record) {
			r.Decision, r.Status, r.ErrorCode, r.ErrorMessage = "context_required", 400, "context_required", "Please include the X-Context header."
		}, []string{"Please include the X-Context header. Naming an account of the organization"}},
		{"denied, rebuilt", func(r *requestlog.Record) {
			r.Decision, r.Status, r.TokenMasked, r.Account, r.Owner = "permission_denied", 403, mask, "acct_b", "acct_a"
			r.Resource, r.RequiredPermission = "charges", "charges_write"
		}, []string{"'" + mask + "'", "on account 'acct_b'", "Enabling 'charges_write' for connected accounts on this key would allow this request."}},
		{"markup in a message", func(r *requestlog.Record) {
			r.Decision, r.ErrorCode, r.ErrorMessage = "rate_limit", "rate_limit", `<b>"slow & down"</b>`
		}, []string{`<b>"slow & down"</b> Fewer requests`}},
		{"unknown", func(r *requestlog.Record) { r.Decision = "from_the_future" }, []string{"unknown to this version"}},
	} {
		id := f.record(tt.change)
		text := as[api.RequestLogDetail](f.ok("GET", "/v1/request_logs/"+id, nil)).Explanation
		for _, part := range tt.want {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q, want %q in it", tt.name, text, part)
			}
		}
	}
	for _, reason := range policy.Reasons() {
		id := f.record(func(r *requestlog.Record) { r.Decision = reason.Code() })
		d := as[api.RequestLogDetail](f.ok("GET", "/v1/request_logs/"+id, nil))
		if d.Explanation == "" || d.ID != id || !strings.Contains(d.Explanation, ".") {
			t.Errorf("%s: %q", reason, d.Explanation)
		}
	}
	list := f.ok("GET", "/v1/request_logs?limit=100", nil)
	if strings.Contains(string(list.body), "explanation") {
		t.Error("the list has explanations")
	}
	var rows struct{ Data []json.RawMessage }
	if err := json.Unmarshal(list.body, &rows); err != nil || len(rows.Data) == 0 {
		t.Fatal(err)
	}
}
