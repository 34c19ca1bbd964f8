package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

func TestMatcher(t *testing.T) {
	t.Parallel()
	judged := &verdict{
		requestID: "req_1",
		key:       &keystore.Key{ID: "key_1", Kind: policy.KindRestricted, Mode: policy.ModeSandbox},
		decision: policy.Decision{
			Reason: policy.ReasonAllowed, Account: "acct_1", Owner: "acct_2", Sandbox: "sbx_1",
			Route: policy.Route{Known: true, Resource: "charges", Access: policy.AccessWrite},
		},
	}
	anonymous := &verdict{requestID: "req_2", decision: policy.Decision{Reason: policy.ReasonOpen}}
	tests := []struct {
		name    string
		matcher Matcher
		verdict *verdict
		want    bool
	}{
		{"mode", Matcher{Mode: []string{"sandbox"}}, judged, true},
		{"other mode", Matcher{Mode: []string{"live"}}, judged, false},
		{"one of two modes", Matcher{Mode: []string{"live", "sandbox"}}, judged, true},
		{"kind", Matcher{Kind: []string{"restricted"}}, judged, true},
		{"other kind", Matcher{Kind: []string{"secret"}}, judged, false},
		{"account", Matcher{Account: []string{"acct_1"}}, judged, true},
		{"owner is not the account", Matcher{Account: []string{"acct_2"}}, judged, false},
		{"owner", Matcher{Owner: []string{"acct_2"}}, judged, true},
		{"sandbox", Matcher{Sandbox: []string{"sbx_1"}}, judged, true},
		{"key", Matcher{Key: []string{"key_1"}}, judged, true},
		{"other key", Matcher{Key: []string{"key_2"}}, judged, false},
		{"resource", Matcher{Resource: []string{"charges"}}, judged, true},
		{"access", Matcher{Access: []string{"write"}}, judged, true},
		{"write is not read", Matcher{Access: []string{"read"}}, judged, false},
		{"all fields", Matcher{Mode: []string{"sandbox"}, Kind: []string{"restricted"}, Resource: []string{"charges"}}, judged, true},
		{"all but one", Matcher{Mode: []string{"sandbox"}, Kind: []string{"restricted"}, Resource: []string{"customers"}}, judged, false},
		{"no key: mode", Matcher{Mode: []string{"live", "sandbox"}}, anonymous, false},
		{"no key: kind", Matcher{Kind: []string{"secret"}}, anonymous, false},
		{"no key: account", Matcher{Account: []string{"acct_1"}}, anonymous, false},
		{"no route: access", Matcher{Access: []string{"read", "write"}}, anonymous, false},
		{"not judged", Matcher{Mode: []string{"live", "sandbox"}}, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/", nil), caddy.NewReplacer(), nil, nil)
			if test.verdict != nil {
				caddyhttp.SetVar(r.Context(), verdictVar, test.verdict)
			}
			if got, err := test.matcher.MatchWithError(r); got != test.want || err != nil {
				t.Errorf("matches %t, %v; want %t", got, err, test.want)
			}
		})
	}
}

func TestMatcherValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		matcher Matcher
		want    string
	}{
		{Matcher{}, "names no field"},
		{Matcher{Mode: []string{"test"}}, `mode "test" is none of live, sandbox`},
		{Matcher{Kind: []string{"secret", "public"}}, `kind "public" is none of`},
		{Matcher{Access: []string{"none"}}, `access "none" is none of`},
		{Matcher{Account: []string{"org_1"}}, `account "org_1" does not start with acct_`},
		{Matcher{Owner: []string{"key_1"}}, `owner "key_1" does not start with acct_ or org_`},
		{Matcher{Resource: []string{""}}, "empty resource"},
	}
	for _, test := range tests {
		if err := test.matcher.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want it to contain %q", test.matcher, err, test.want)
		}
	}
	if err := (&Matcher{Owner: []string{"org_1", "acct_1"}, Resource: []string{"charges"}}).Validate(); err != nil {
		t.Errorf("a good matcher is refused: %v", err)
	}
}
