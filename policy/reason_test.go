package policy

import (
	"regexp"
	"testing"
)

// The set is closed, and the table of the order of checks holds: this is the contract with clients, word for word.
func TestReasons(t *testing.T) {
	t.Parallel()
	want := []struct {
		reason    Reason
		code      string
		errorType string
		status    int
	}{
		{ReasonAllowed, "allowed", "", 0},
		{ReasonOpen, "open", "", 0},
		{ReasonPreflight, "preflight", "", 204},
		{ReasonRequestMalformed, "request_malformed", "invalid_request_error", 400},
		{ReasonMethodNotAllowed, "method_not_allowed", "invalid_request_error", 405},
		{ReasonAPIKeyMissing, "api_key_missing", "invalid_request_error", 401},
		{ReasonAPIKeyInvalid, "api_key_invalid", "invalid_request_error", 401},
		{ReasonAPIKeyExpired, "api_key_expired", "authentication_error", 401},
		{ReasonTooEarly, "too_early", "invalid_request_error", 425},
		{ReasonIPNotAllowed, "ip_not_allowed", "permission_error", 403},
		{ReasonLivemodeMismatch, "livemode_mismatch", "permission_error", 403},
		{ReasonContextRequired, "context_required", "invalid_request_error", 400},
		{ReasonVersionRequired, "version_required", "invalid_request_error", 400},
		{ReasonVersionInvalid, "version_invalid", "invalid_request_error", 400},
		{ReasonContextInvalid, "context_invalid", "invalid_request_error", 400},
		{ReasonAccountInvalid, "account_invalid", "permission_error", 403},
		{ReasonSecretKeyRequired, "secret_key_required", "invalid_request_error", 403},
		{ReasonOriginNotAllowed, "origin_not_allowed", "invalid_request_error", 403},
		{ReasonPermissionDenied, "permission_denied", "permission_error", 403},
		{ReasonRouteUnknown, "route_unknown", "permission_error", 403},
		{ReasonRateLimit, "rate_limit", "rate_limit_error", 429},
		{ReasonGatewayUnavailable, "gateway_unavailable", "api_error", 503},
		{ReasonUpstreamUnavailable, "upstream_unavailable", "api_error", 502},
	}
	all := Reasons()
	if len(all) != len(want) {
		t.Fatalf("got %d reasons, want %d", len(all), len(want))
	}
	label := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	for i, w := range want {
		r := all[i]
		if r != w.reason || r.Code() != w.code || r.Type() != w.errorType || r.Status() != w.status || r.String() != w.code {
			t.Errorf("got %d %q %q %d, want %d %q %q %d", r, r.Code(), r.Type(), r.Status(), w.reason, w.code, w.errorType, w.status)
		}
		if !label.MatchString(r.Code()) {
			t.Errorf("the code %q is no label of a metric", r.Code())
		}
		// What is an error has a sentence, and only that.
		if got := Message(&Decision{Reason: r}, ""); (got != "") != (w.errorType != "") {
			t.Errorf("%s: got the message %q", w.code, got)
		}
	}
	for _, r := range []Reason{ReasonNone, Reason(len(want) + 1), 255} {
		if r.Code() != "" || r.Type() != "" || r.Status() != 0 || Message(&Decision{Reason: r}, "") != "" {
			t.Errorf("reason %d must be none", r)
		}
		if (&Decision{Reason: r}).Allowed() {
			t.Errorf("reason %d must not let a request pass", r)
		}
	}
	for _, r := range all {
		if got, want := (&Decision{Reason: r}).Allowed(), r == ReasonAllowed || r == ReasonOpen; got != want {
			t.Errorf("%s: got allowed %v, want %v", r, got, want)
		}
	}
}
