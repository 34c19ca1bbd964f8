package main_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestRows sends at least one request for every row of section 3.2 that a request can cause, on each site kind.
func TestRows(t *testing.T) {
	b := theBed(t)
	basic := func(s string) string { return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	bad := b.SK.Token[:len(b.SK.Token)-1] + otherDigit(b.SK.Token)
	foreign := "correct-horse-battery-staple"

	tests := []struct {
		name    string
		site    string
		request string
		want    want
	}{
		{"row 0: dot segment", b.any, get("/v1/customers/../charges", b.SK.Token), malformed},
		{"row 0: before the credential", b.any, gatetest.Request("GET", "/v1/../x", ""), malformed},
		{"row 0: TRACE", b.any, gatetest.Request("TRACE", "/v1/customers", "", gatetest.Bearer(b.SK.Token)), badMethod},
		{"row 0: TRACE without a key", b.any, gatetest.Request("TRACE", "/v1/customers", ""), badMethod},

		{"row 1: nothing", b.any, gatetest.Request("GET", "/v1/customers", ""), missing},
		{"row 1: the key only as a query", b.any, gatetest.Request("GET", "/v1/customers?key="+b.PK.Token, ""), missing},
		{"row 1: the key only as a cookie", b.any, gatetest.Request("GET", "/v1/customers", "", "Cookie: key="+b.PK.Token), missing},

		{"row 2: bad checksum", b.any, get("/v1/customers", bad), invalid},
		{"row 2: unknown with a right checksum", b.any, get("/v1/customers", inventToken("sk_live_", "kX9")), invalid},
		{"row 2: foreign", b.any, get("/v1/customers", foreign), invalid},
		{"row 2: empty bearer", b.any, get("/v1/customers", ""), invalid},
		{"row 2: empty basic", b.any, gatetest.Request("GET", "/v1/customers", "", "Authorization: Basic"), invalid},
		{"row 2: empty line", b.any, gatetest.Request("GET", "/v1/customers", "", "Authorization:"), invalid},
		{"row 2: basic with a password", b.any, gatetest.Request("GET", "/v1/customers", "", basic(b.SK.Token+":secret")), invalid},
		{"row 2: basic as a password", b.any, gatetest.Request("GET", "/v1/customers", "", basic(":"+b.SK.Token)), invalid},
		{"row 2: basic, not base64", b.any, gatetest.Request("GET", "/v1/customers", "", "Authorization: Basic "+b.SK.Token), invalid},
		{"row 2: unknown scheme", b.any, gatetest.Request("GET", "/v1/customers", "", "Authorization: Token "+b.SK.Token), invalid},
		{"row 2: no scheme", b.any, gatetest.Request("GET", "/v1/customers", "", "Authorization: "+b.SK.Token), invalid},
		{"row 2: two words", b.any, get("/v1/customers", b.SK.Token+" "+b.SK.Token), invalid},
		{"row 2: comma list", b.any, get("/v1/customers", b.SK.Token+", Bearer "+b.SK.Token), invalid},
		{"row 2: comma list without a space", b.any, get("/v1/customers", b.SK.Token+",x"), invalid},
		{"row 2: two lines, the same", b.any, get("/v1/customers", b.SK.Token, gatetest.Bearer(b.SK.Token)), invalid},
		{"row 2: 513 characters", b.any, get("/v1/customers", "sk_live_"+strings.Repeat("a", 505)), invalid},
		{"row 2: 8000 characters", b.any, get("/v1/customers", strings.Repeat("a", 8000)), invalid},
		{"row 2: a key of the admin API's shape", b.any, get("/v1/customers", "adm_"+strings.Repeat("a", 38)), invalid},
		{"row 2: a key id", b.any, get("/v1/customers", b.SK.ID), invalid},
		{"row 2: prefix of other case", b.any, get("/v1/customers", "SK_LIVE_"+b.SK.Token[8:]), invalid},
		{"row 2: not ASCII", b.any, get("/v1/customers", b.SK.Token+"é"), invalid},
		{"row 2: two places", b.header, get("/v1/customers", b.SK.Token, "X-Api-Key: "+b.SK.Token), invalid},
		{"row 2: two places, one empty", b.header, get("/v1/customers", b.SK.Token, "X-Api-Key:"), invalid},
		{"row 2: the named header twice", b.header, gatetest.Request("GET", "/v1/customers", "", "X-Api-Key: "+b.SK.Token, "X-Api-Key: "+b.SK.Token), invalid},

		{"row 3: deleted", b.any, get("/v1/customers", b.OLD.Token), expired},

		{"row 4: outside of the ranges", b.any, get("/v1/customers", b.SKIP.Token), ipNotAllowed},

		{"row 5: sandbox key on a live site", b.live, get("/v1/customers", b.SKT.Token), modeMismatch},
		{"row 5: live key on a sandbox site", b.sandbox, get("/v1/customers", b.SK.Token), modeMismatch},
		{"row 5: live publishable key on a sandbox site", b.sandbox, post("/v1/tokens", b.PK.Token), modeMismatch},
		{"row 5: mode without an upstream", b.liveOnly, get("/v1/customers", b.SKT.Token), modeMismatch},

		{"row 6: no context", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Version: 2026-01-01"), contextNeeded},
		{"row 6: neither context nor version", b.any, get("/v1/customers", b.ORG.Token), contextNeeded},
		{"row 6: no version", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.A), versionNeeded},
		{"row 6: version of an organization key", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.A, "Stripe-Version: latest"), versionInvalid},
		{"row 6: version of a secret key", b.any, get("/v1/customers", b.SK.Token, "Stripe-Version: 2026-1-1"), versionInvalid},
		{"row 6: two versions", b.any, get("/v1/customers", b.SK.Token, "Stripe-Version: 2026-01-01", "Stripe-Version: 2026-01-02"), versionInvalid},

		{"row 7: malformed", b.any, get("/v1/customers", b.SK.Token, "Stripe-Context: /"), contextInvalid},
		{"row 7: twice", b.any, get("/v1/customers", b.SK.Token, "Stripe-Context: "+b.D, "Stripe-Context: "+b.D), contextInvalid},
		{"row 7: context and account differ", b.any, get("/v1/customers", b.SK.Token, "Stripe-Context: "+b.D, "Stripe-Account: "+b.E), contextInvalid},
		{"row 7: account of nobody", b.any, get("/v1/customers", b.SK.Token, "Stripe-Account: acct_0000000000000000"), accountInvalid},
		{"row 7: not connected", b.any, get("/v1/customers", b.SK.Token, "Stripe-Account: "+b.C), accountInvalid},
		{"row 7: not of the organization", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.C, "Stripe-Version: 2026-01-01"), accountInvalid},

		{"row 8: publishable key", b.any, get("/v1/customers", b.PK.Token), secretRequired},
		{"row 8: publishable key, other method", b.any, get("/v1/tokens", b.PK.Token), secretRequired},
		{"row 8: publishable key, unknown route", b.any, get("/v1/unknown", b.PK.Token), secretRequired},

		{"row 9: other resource", b.any, get("/v1/charges", b.RK.Token), notPermitted},
		{"row 9: write with read", b.any, post("/v1/customers", b.RK.Token), notPermitted},
		{"row 9: connected account without rights there", b.any, get("/v1/customers", b.RK.Token, "Stripe-Account: "+b.D), notPermitted},
		{"row 9: limited organization key", b.any, post("/v1/customers", b.ORGR.Token, "Stripe-Context: "+b.A, "Stripe-Version: 2026-01-01"), notPermitted},
		{"row 9: route unknown", b.any, get("/v1/unknown", b.RK.Token), routeUnknown},
		{"row 9: below no pattern", b.any, get("/admin", b.RK.Token), routeUnknown},

		{"row 12: backend down", b.down, get("/v1/customers", b.SK.Token), upstreamDown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { b.denied(t, tt.site, tt.request, tt.want) })
	}
}

// otherDigit is a base62 digit that is not the token's last.
func otherDigit(token string) string {
	if strings.HasSuffix(token, "a") {
		return "b"
	}
	return "a"
}

// TestOrderOfChecks sends requests that several rows would refuse: the first row of the contract's order must answer.
func TestOrderOfChecks(t *testing.T) {
	b := theBed(t)
	tests := []struct {
		name    string
		site    string
		request string
		want    want
	}{
		{"malformed before invalid", b.any, get("/v1//customers", "nonsense"), malformed},
		{"method before missing", b.any, gatetest.Request("TRACE", "/v1/customers", ""), badMethod},
		{"expired before mode", b.sandbox, get("/v1/customers", b.OLD.Token), expired},
		{"address before mode", b.sandbox, get("/v1/customers", b.SKIP.Token), ipNotAllowed},
		{"mode before context", b.sandbox, get("/v1/customers", b.ORG.Token), modeMismatch},
		{"context before version", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Version: x"), contextNeeded},
		{"version before account", b.any, get("/v1/customers", b.ORG.Token, "Stripe-Context: "+b.C), versionNeeded},
		{"version before context grammar", b.any, get("/v1/customers", b.SK.Token, "Stripe-Version: x", "Stripe-Context: //"), versionInvalid},
		{"account before publishable", b.any, get("/v1/customers", b.PK.Token, "Stripe-Account: "+b.C), accountInvalid},
		{"account before permission", b.any, get("/v1/charges", b.RK.Token, "Stripe-Account: "+b.C), accountInvalid},
		{"version before permission", b.any, get("/v1/charges", b.RK.Token, "Stripe-Version: x"), versionInvalid},
		{"permission before backend", b.down, get("/v1/charges", b.RK.Token), notPermitted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { b.denied(t, tt.site, tt.request, tt.want) })
	}
}

// TestEndedKeys: a key answers row 3 however it ended.
func TestEndedKeys(t *testing.T) {
	b := theBed(t)
	t.Run("rotated away", func(t *testing.T) {
		old := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "to rotate"})
		b.passes(t, b.any, get("/v1/customers", old.Token))
		var fresh gatetest.Key
		b.Admin.Do(t, "POST", "/v1/keys/"+old.ID+"/rotate", gatetest.Fields{}, &fresh)
		b.denied(t, b.any, get("/v1/customers", old.Token), expired)
		b.passes(t, b.any, get("/v1/customers", fresh.Token))
		if fresh.Name != "Secret key" {
			t.Errorf("got the name %q, want %q", fresh.Name, "Secret key")
		}
	})
	t.Run("expired by time", func(t *testing.T) {
		key := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "short",
			"expires_at": time.Now().Add(3 * time.Second).UTC().Format(time.RFC3339)})
		deadline := time.Now().Add(15 * time.Second)
		for {
			answer := b.send(t, b.any, get("/v1/customers", key.Token))
			if answer.Status == http.StatusUnauthorized {
				b.checkDenial(t, answer, expired)
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the key still answers %d after its end", answer.Status)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := b.Admin.GetKey(t, key.ID).Status; got != "expired" {
			t.Errorf("got status %q, want expired", got)
		}
	})
	t.Run("publishable key rotated away", func(t *testing.T) {
		account := b.Admin.CreateAccount(t, "rotating", "").ID
		old := b.Admin.DefaultKey(t, account, "publishable", "live")
		b.passes(t, b.any, post("/v1/tokens", old.Token))
		b.Admin.Fails(t, "DELETE", "/v1/keys/"+old.ID, nil, 409, "not_deletable")
		var fresh gatetest.Key
		b.Admin.Do(t, "POST", "/v1/keys/"+old.ID+"/rotate", gatetest.Fields{}, &fresh)
		b.denied(t, b.any, post("/v1/tokens", old.Token), expired)
		b.passes(t, b.any, post("/v1/tokens", fresh.Token))
	})
}

// TestThrottle is row 10: failed tries past the throttle of one address, which never slows a valid key of that address.
func TestThrottle(t *testing.T) {
	b := theBed(t)
	from := source()
	request := get("/v1/customers", "guess")
	// Several at a time: on a slow machine one after the other would be no faster than the twenty a second that are let pass.
	answers := make(chan *gatetest.Answer, 2000)
	var limited atomic.Bool
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range 250 {
				if limited.Load() {
					return
				}
				answer, err := gatetest.Send(b.any, from, request)
				if err != nil {
					t.Errorf("sending a guess: %v", err)
					return
				}
				if answer.Status == http.StatusTooManyRequests {
					limited.Store(true)
				}
				answers <- answer
			}
		})
	}
	senders.Wait()
	close(answers)
	for answer := range answers {
		if answer.Status == http.StatusTooManyRequests {
			b.checkDenial(t, answer, rateLimited)
		} else {
			b.checkDenial(t, answer, invalid)
		}
	}
	if !limited.Load() {
		t.Error("2,000 failed tries from one address were never throttled (burst 50, 20 a second)")
	}
	if answer := b.sendFrom(t, from, b.any, get("/v1/customers", b.SK.Token)); answer.Status != http.StatusOK {
		t.Errorf("a valid key from the throttled address: got %d, want 200", answer.Status)
	}
	b.deniedFrom(t, from, b.any, get("/v1/customers", b.OLD.Token), expired)
	b.deniedFrom(t, source(), b.any, request, invalid)
}
