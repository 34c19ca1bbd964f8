package caddymodule

import (
	"net/netip"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// TestLastUseCannotBeForged: whoever holds a key but not its address cannot make it look used, by no kind of request.
func TestLastUseCannotBeForged(t *testing.T) {
	t.Parallel()
	g := newGateway(t, nil)
	key, token := g.key(keystore.KeyParams{Kind: policy.KindSecret, IPRanges: []string{"203.0.113.7"}})
	var u usageObserver
	u.store.Store(g.store)
	forged := map[string]string{
		"preflight":         "preflight",
		"malformed path":    "request_malformed",
		"method not served": "method_not_allowed",
		"early data":        "too_early",
		"plain":             "ip_not_allowed",
	}
	for name, want := range forged {
		r := request("GET", "/v1/charges", token)
		switch name {
		case "preflight":
			r = request("OPTIONS", "/v1/charges", token, "Origin", "https://a.example", "Access-Control-Request-Method", "GET")
		case "malformed path":
			r = request("GET", "/v1/%2e%2e/charges", token)
		case "method not served":
			r = request("TRACE", "/v1/charges", token)
		case "early data":
			r.Header.Set("Early-Data", "1")
		}
		if _, err := g.do(r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rec := g.lastRecord()
		if rec.Decision != want || rec.Key != key.ID {
			t.Fatalf("%s: decision %q of key %q, want %q of %q", name, rec.Decision, rec.Key, want, key.ID)
		}
		u.observe(rec)
		if use, known := g.store.LastUsed(key.ID); known {
			t.Fatalf("%s: the key counts as used from %v", name, use.Address)
		}
	}

	r := request("GET", "/v1/charges", token)
	r.RemoteAddr = "203.0.113.7:4711"
	g.wantServed(r)
	u.observe(g.lastRecord())
	if use, known := g.store.LastUsed(key.ID); !known || use.Address != netip.MustParseAddr("203.0.113.7") {
		t.Errorf("last used %v, %t; want a use from the key's own address", use, known)
	}
}

// TestWhichDecisionsAreUses fixes it for every reason there is, so that a new one is thought about.
func TestWhichDecisionsAreUses(t *testing.T) {
	t.Parallel()
	uses := map[policy.Reason]bool{
		policy.ReasonAllowed: true, policy.ReasonOpen: false, policy.ReasonPreflight: false,
		policy.ReasonRequestMalformed: false, policy.ReasonMethodNotAllowed: false,
		policy.ReasonAPIKeyMissing: false, policy.ReasonAPIKeyInvalid: false, policy.ReasonAPIKeyExpired: false,
		policy.ReasonTooEarly: false, policy.ReasonIPNotAllowed: false,
		policy.ReasonLivemodeMismatch: true, policy.ReasonContextRequired: true, policy.ReasonVersionRequired: true,
		policy.ReasonVersionInvalid: true, policy.ReasonContextInvalid: true, policy.ReasonAccountInvalid: true,
		policy.ReasonSecretKeyRequired: true, policy.ReasonOriginNotAllowed: true,
		policy.ReasonPermissionDenied: true, policy.ReasonRouteUnknown: true, policy.ReasonRateLimit: true,
		policy.ReasonGatewayUnavailable: false, policy.ReasonUpstreamUnavailable: true,
	}
	for _, reason := range policy.Reasons() {
		want, known := uses[reason]
		if !known {
			t.Errorf("%v: nobody has said whether it is a use", reason)
		}
		if got := policy.CountsAsUse(reason.Code()); got != want {
			t.Errorf("%v: counts as use: %t, want %t", reason, got, want)
		}
	}
	if policy.CountsAsUse("") {
		t.Error("no decision counts as a use")
	}
	var u usageObserver
	u.observe(&requestlog.Record{Key: "key_1", Time: time.Now(), Decision: "allowed"}) // no store yet: nothing to tell
}
