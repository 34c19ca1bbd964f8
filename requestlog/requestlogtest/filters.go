package requestlogtest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// testFilters compares every filter, and some of them together, with what Filter.Match selects.
func testFilters(t *testing.T, s requestlog.Store, records []*requestlog.Record) {
	at := func(seconds int) time.Time { return Begin.Add(time.Duration(seconds) * time.Second) }
	tests := []struct {
		name   string
		filter requestlog.Filter
		none   bool // nothing is expected
	}{
		{"request id", requestlog.Filter{RequestID: records[42].ID}, false},
		{"unknown request id", requestlog.Filter{RequestID: requestlog.NewID(Begin)}, true},
		{"request id of another mode", requestlog.Filter{RequestID: records[42].ID, Mode: otherMode(records[42].Mode)}, true},
		{"key", requestlog.Filter{Key: "key_7"}, false},
		{"unknown key", requestlog.Filter{Key: "key_77"}, true},
		{"part of a key", requestlog.Filter{Key: "key_"}, true},
		{"account", requestlog.Filter{Account: "acct_3"}, false},
		{"owner", requestlog.Filter{Owner: "org_1"}, false},
		{"kind", requestlog.Filter{Kind: "secret"}, false},
		{"mode", requestlog.Filter{Mode: "live"}, false},
		{"sandbox", requestlog.Filter{Sandbox: "sbx_1"}, false},
		{"status", requestlog.Filter{StatusMin: 403, StatusMax: 403}, false},
		{"status class", requestlog.Filter{StatusMin: 400, StatusMax: 499}, false},
		{"method", requestlog.Filter{Method: "DELETE"}, false},
		{"path prefix", requestlog.Filter{Path: "/v1/charges"}, false},
		{"path pattern", requestlog.Filter{Path: "/v1/*/refunds"}, false},
		{"path pattern without match", requestlog.Filter{Path: "/v1/*/refund"}, true},
		{"host", requestlog.Filter{Host: "api.example.com"}, false},
		{"resource", requestlog.Filter{Resource: "customers"}, false},
		{"access", requestlog.Filter{Access: "read"}, false},
		{"decision", requestlog.Filter{Decision: "permission_denied"}, false},
		{"required permission", requestlog.Filter{RequiredPermission: "charges_write"}, false},
		{"error type", requestlog.Filter{ErrorType: "permission_error"}, false},
		{"error code", requestlog.Filter{ErrorCode: "permission_denied"}, false},
		{"address", requestlog.Filter{Client: netip.PrefixFrom(records[9].Client, 32)}, false},
		{"range", requestlog.Filter{Client: netip.MustParsePrefix("203.0.2.0/24")}, false},
		{"other range", requestlog.Filter{Client: netip.MustParsePrefix("10.0.0.0/8")}, true},
		{"api version", requestlog.Filter{APIVersion: "2025-06-30.basil"}, false},
		{"idempotency key", requestlog.Filter{IdempotencyKey: "idem_1234"}, false},
		{"idempotency key with a quote", requestlog.Filter{IdempotencyKey: `idem_"1234`}, true},
		{"upstream", requestlog.Filter{UpstreamAddress: "backend:8080"}, false},
		{"node", requestlog.Filter{Node: "node"}, false},
		{"tls", requestlog.Filter{TLS: "1.3"}, false},
		{"protocol", requestlog.Filter{Protocol: "HTTP/2.0"}, false},
		{"since", requestlog.Filter{Since: at(1500)}, false},
		{"until", requestlog.Filter{Until: at(500)}, false},
		{"since and until", requestlog.Filter{Since: at(700), Until: at(800)}, false},
		{"since within a second", requestlog.Filter{Since: at(700).Add(time.Nanosecond), Until: at(702)}, false},
		{"since behind the last", requestlog.Filter{Since: at(5000)}, true},
		{"within", requestlog.Filter{Within: []string{"acct_1", "org_1"}}, false},
		{"within one account", requestlog.Filter{Within: []string{"acct_2"}}, false},
		{"within, and named by a stranger", requestlog.Filter{Within: []string{"acct_2"}, Decision: requestlog.DecisionForeign, Owner: "acct_3"}, true},
		{"within, and a stranger named", requestlog.Filter{Within: []string{"acct_3"}, Decision: requestlog.DecisionForeign, Account: "acct_2"}, false},
		{"within nothing", requestlog.Filter{Within: []string{}}, true},
		{"within, and an account outside", requestlog.Filter{Within: []string{"acct_1"}, Account: "acct_2", Decision: "allowed"}, true},
		{"many", requestlog.Filter{Key: "key_7", Mode: "live", StatusMin: 200, StatusMax: 299, Path: "/v1/", Since: at(100)}, false},
	}
	for _, tt := range tests {
		wanted := want(records, tt.filter)
		if tt.none != (len(wanted) == 0) {
			t.Errorf("%s: the suite's own records give %d", tt.name, len(wanted))
		}
		for _, limit := range []int{100, 1000} {
			compare(t, fmt.Sprintf("%s, pages of %d", tt.name, limit), all(t, s, tt.filter, limit, ""), wanted)
		}
	}
}

func otherMode(mode string) string {
	if mode == "live" {
		return "sandbox"
	}
	return "live"
}
