package policy

import (
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	route := Route{Known: true, Resource: "charges", Access: AccessWrite, Permission: "charges_write"}
	const mask = "rk_live_****abcd"
	for _, tt := range []struct {
		d    Decision
		mask string
		want string
	}{
		{Decision{Reason: ReasonPermissionDenied, Route: route, Account: "acct_1", Owner: "acct_1"}, mask,
			"The provided key 'rk_live_****abcd' does not have the required permissions for this endpoint on account 'acct_1'. Enabling 'charges_write' on this key would allow this request."},
		{Decision{Reason: ReasonPermissionDenied, Route: route, Account: "acct_2", Owner: "acct_1", Connected: true}, mask,
			"The provided key 'rk_live_****abcd' does not have the required permissions for this endpoint on account 'acct_2'. Enabling 'charges_write' for connected accounts on this key would allow this request."},
		{Decision{Reason: ReasonPermissionDenied, Route: route, Account: "acct_2", Owner: "org_1", Connected: true}, "sk_org_live_****abcd",
			"The provided key 'sk_org_live_****abcd' does not have the required permissions for this endpoint on account 'acct_2'. Enabling 'charges_write' on this key, both for the organization's accounts and for connected accounts, would allow this request."},
		{Decision{Reason: ReasonPermissionDenied, Route: route, Account: "acct_1"}, "****",
			"The provided key does not have the required permissions for this endpoint on account 'acct_1'. Enabling 'charges_write' on this key would allow this request."},
		{Decision{Reason: ReasonRouteUnknown, Account: "acct_1"}, mask,
			"The provided key 'rk_live_****abcd' does not have the required permissions for this endpoint on account 'acct_1'. This is a restricted API key, but the required permissions are not available for use by restricted keys."},
		{Decision{Reason: ReasonAPIKeyInvalid}, "", "Invalid API Key provided."},
		{Decision{Reason: ReasonAPIKeyInvalid}, "****", "Invalid API Key provided."},
		{Decision{Reason: ReasonAPIKeyInvalid}, "hunter2", "Invalid API Key provided."},
		{Decision{Reason: ReasonAPIKeyInvalid}, mask, "Invalid API Key provided: rk_live_****abcd"},
		{Decision{Reason: ReasonAPIKeyExpired}, mask, "Expired API Key provided: rk_live_****abcd"},
		{Decision{Reason: ReasonContextRequired, Param: "X-Context"}, "sk_org_live_****abcd",
			"Please include the X-Context header with your target account when using an Organization API key."},
		{Decision{Reason: ReasonAccountInvalid, Account: "acct_9"}, mask,
			"The provided key 'rk_live_****abcd' does not have access to account 'acct_9' (or that account does not exist)."},
	} {
		if got := Message(&tt.d, tt.mask); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.d.Reason, got, tt.want)
		}
	}
}

// Even a caller who passes the token instead of its mask must not get it back.
func TestMessageNeverShowsAToken(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{mustToken(t, KindSecret, ModeLive), mustToken(t, KindOrganization, ModeSandbox), "sk_live_****" + strings.Repeat("s", 30), "my own password 123"} {
		for _, r := range Reasons() {
			got := Message(&Decision{Reason: r}, secret)
			if strings.Contains(got, secret) || strings.Contains(got, secret[len(secret)-5:]) {
				t.Errorf("%s: got %q for the token %q", r, got, secret)
			}
		}
	}
}
