package requestlog

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMatchPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"/v1", "/v1/charges", true},
		{"/v1/charges", "/v1/charges", true},
		{"/v1/charges", "/v1/charge", false},
		{"/v1/*", "/v1/charges", true},
		{"/v1/*", "/v1", false},
		{"/v1/*/refunds", "/v1/charges/ch_1/refunds", true},
		{"/v1/*/refunds", "/v1/charges/ch_1/refunds/re_1", false},
		{"*refunds", "/v1/refunds", true},
		{"*", "", true},
		{"/a*b*c", "/abc", true},
		{"/a*b*c", "/axbxbxc", true},
		{"/a*b*c", "/acb", false},
		{"/a*a", "/a", false},
		{"/**", "/x", true},
	}
	for _, tt := range tests {
		if got := matchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matchPath(%q, %q): got %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name, value string
		want        Filter
		wrong       string // part of the error, "" for none
	}{
		{"key", "key_1", Filter{Key: "key_1"}, ""},
		{"account", "acct_1", Filter{Account: "acct_1"}, ""},
		{"owner", "org_1", Filter{Owner: "org_1"}, ""},
		{"mode", "live", Filter{Mode: "live"}, ""},
		{"mode", "test", Filter{}, "live or sandbox"},
		{"sandbox", "sbx_1", Filter{Sandbox: "sbx_1"}, ""},
		{"status", "403", Filter{StatusMin: 403, StatusMax: 403}, ""},
		{"status", "4xx", Filter{StatusMin: 400, StatusMax: 499}, ""},
		{"status", "5XX", Filter{StatusMin: 500, StatusMax: 599}, ""},
		{"status", "9xx", Filter{}, "is not a status"},
		{"status", "40", Filter{}, "is not a status"},
		{"method", "post", Filter{Method: "POST"}, ""},
		{"path", "/v1/*", Filter{Path: "/v1/*"}, ""},
		{"path", "v1", Filter{}, "must begin with /"},
		{"resource", "charges", Filter{Resource: "charges"}, ""},
		{"decision", "permission_denied", Filter{Decision: "permission_denied"}, ""},
		{"error_code", "card_declined", Filter{ErrorCode: "card_declined"}, ""},
		{"client_address", "203.0.113.7", Filter{Client: netip.MustParsePrefix("203.0.113.7/32")}, ""},
		{"client_address", "203.0.113.9/24", Filter{Client: netip.MustParsePrefix("203.0.113.0/24")}, ""},
		{"client_address", "::ffff:203.0.113.0/120", Filter{Client: netip.MustParsePrefix("203.0.113.0/24")}, ""},
		{"client_address", "2001:db8::1", Filter{Client: netip.MustParsePrefix("2001:db8::1/128")}, ""},
		{"client_address", "here", Filter{}, "not an address"},
		{"client_address", "1.2.3.4/99", Filter{}, "not an address"},
		{"api_version", "2026-01-01", Filter{APIVersion: "2026-01-01"}, ""},
		{"idempotency_key", "a b", Filter{IdempotencyKey: "a b"}, ""},
		{"request_id", "req_0123456789ABCDEFGHI", Filter{RequestID: "req_0123456789ABCDEFGHI"}, ""},
		{"request_id", "req_1", Filter{}, "not a request id"},
		{"since", "2026-11-22", Filter{Since: now.Add(-36 * time.Hour)}, ""},
		{"since", "2026-11-23T11:00:00+01:00", Filter{Since: now.Add(-2 * time.Hour)}, ""},
		{"since", "90m", Filter{Since: now.Add(-90 * time.Minute)}, ""},
		{"until", "30d", Filter{Until: now.AddDate(0, 0, -30)}, ""},
		{"until", "soon", Filter{}, "not a time"},
		{"until", "-5m", Filter{}, "not a time"},
		{"kye", "key_1", Filter{}, "unknown filter; known are access, account"},
		{"id", "req_0123456789ABCDEFGHI", Filter{}, "unknown filter"},
		{"key", "", Filter{}, "with a value"},
		{"key", strings.Repeat("x", 3000), Filter{}, "longer than"},
	}
	for _, tt := range tests {
		got, err := ParseFilter(map[string][]string{tt.name: {tt.value}}, now)
		if tt.wrong != "" {
			var wrong *FilterError
			if !errors.As(err, &wrong) || wrong.Param != tt.name || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("ParseFilter(%s=%.40s): got %v, want an error of %s about %q", tt.name, tt.value, err, tt.name, tt.wrong)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseFilter(%s=%s): got %+v, %v, want %+v", tt.name, tt.value, got, err, tt.want)
		}
	}
	for _, values := range []map[string][]string{
		{"key": {"key_1", "key_2"}},
		{"since": {"1h"}, "until": {"2h"}},
	} {
		if f, err := ParseFilter(values, now); err == nil {
			t.Errorf("ParseFilter(%v): got %+v, want an error", values, f)
		}
	}
}

// A message repeats what the caller gave, but never a token.
func TestFilterErrorsHideTokens(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"status", "client_address", "request_id", "since", "path", "mode"} {
		_, err := ParseFilter(map[string][]string{name: {"sk_live_" + body32}}, time.Now())
		if err == nil || strings.Contains(err.Error(), body32) {
			t.Errorf("%s: got %v, want an error without the token", name, err)
		}
	}
}

func TestEveryFilterNameIsAColumnOrATime(t *testing.T) {
	t.Parallel()
	for _, name := range FilterNames() {
		if columnByName[name] == nil && name != "request_id" && name != "since" && name != "until" {
			t.Errorf("filter %s has no column", name)
		}
	}
}

// The needle must be in the line of every record that the filter selects, or records would be missed.
func TestNeedleIsInEveryLineThatMatches(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	line, err := r.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	filters := []Filter{{RequestID: r.ID}, {Path: "/v1"}, {StatusMin: 403, StatusMax: 403}, {StatusMin: 400, StatusMax: 499}}
	for _, c := range filterColumns {
		var f Filter
		*c.filter(&f) = *c.text(r)
		filters = append(filters, f)
	}
	for _, f := range filters {
		if !f.Match(r) || !strings.Contains(string(line), f.needle()) {
			t.Errorf("filter %+v: needle %q is not in %s", f, f.needle(), line)
		}
	}
	if f := (Filter{Key: `a"b`}); f.needle() != "" {
		t.Errorf("needle of a text that JSON escapes: got %q, want none", f.needle())
	}
}

// TestTokenIsNoFilter: the refusal does not repeat what may be a key in use.
func TestTokenIsNoFilter(t *testing.T) {
	t.Parallel()
	for _, name := range FilterNames() {
		for _, value := range []string{"sk_live_" + body32, "/x/rk%5ftest%5f" + body32, "/x/PK%255flive%255f" + body32} {
			_, err := ParseFilter(map[string][]string{name: {value}}, time.Now())
			wrong, ok := errors.AsType[*FilterError](err)
			if !ok || wrong.Param != name || !strings.Contains(wrong.Reason, "looks like a token") || strings.Contains(err.Error(), body32[:8]) {
				t.Errorf("%s=%s: error %v, want a refusal that says why and does not repeat it", name, value, err)
			}
		}
	}
	for _, value := range []string{"/v1/sk_live_****YZ12", "/v1/sk_live_*", "/v1/task_live_feed"} {
		if _, err := ParseFilter(map[string][]string{"path": {value}}, time.Now()); err != nil {
			t.Errorf("path=%s: %v", value, err)
		}
	}
}
