package main_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestRateLimits is section 5: an account makes as many requests at once as two seconds bring, each key with a limit of its
// own apart from that, and who is refused is told why and for how long.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g := gatetest.New(t)
	port := gatetest.FreePort(t)
	g.WriteConfig(t, gatetest.Config{
		// So slow that a busy machine fills nothing up while the test looks.
		Keystile: "rate_limit live 3 sandbox 2\n" + gatetest.Catalog,
		Sites:    "http://:" + strconv.Itoa(port) + " {\n\tkeystile {\n\t\tmode any\n\t}\n\treverse_proxy " + backend.Addr + "\n}\n",
	}.Text(g))
	g.Start(t)
	site := "127.0.0.1:" + strconv.Itoa(port)
	account := g.Admin.CreateAccount(t, "A", "").ID
	own := g.Admin.CreateAccount(t, "B", "").ID
	g.Admin.Do(t, "PATCH", "/v1/accounts/"+own, gatetest.Fields{"rate_limit": gatetest.Fields{"live": 1}}, nil)
	key := g.Admin.DefaultKey(t, account, "secret", "live")
	second := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "second"})
	fast := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "fast", "rate_limit": 4})
	sandbox := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	slow := g.Admin.DefaultKey(t, own, "secret", "live")

	// burst sends requests on one connection until one is refused.
	burst := func(name, token, reason, policy string, least int) {
		t.Helper()
		var requests strings.Builder
		const all = 60
		for range all {
			requests.WriteString(get("/v1/customers", token))
		}
		answers, err := gatetest.SendAll(site, "", requests.String(), all)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		passed := 0
		for _, answer := range answers {
			h := answer.Header
			if got := h.Get("RateLimit-Policy"); got != policy {
				t.Fatalf("%s: RateLimit-Policy %q, want %q", name, got, policy)
			}
			if answer.Status == 200 {
				passed++
				continue
			}
			e, err := gatetest.ParseError(answer.Body)
			if err != nil || answer.Status != rateLimited.status || e.Type != rateLimited.typ || e.Code != rateLimited.code {
				t.Fatalf("%s: got %d %+v, %v", name, answer.Status, e, err)
			}
			wait, err := strconv.Atoi(h.Get("Retry-After"))
			if err != nil || wait < 1 || wait > 2 || h.Get("Keystile-Rate-Limited-Reason") != reason || !strings.Contains(h.Get("RateLimit"), ";r=0;t=") {
				t.Errorf("%s: a refused request has the headers %v", name, h)
			}
		}
		if passed < least || passed > len(answers)-10 {
			t.Errorf("%s: %d of %d pass at once, want at least %d, and many refused", name, passed, len(answers), least)
		}
	}
	burst("account", key.Token, "global-rate", `"live";q=3;w=1`, 6)
	// A second key of the account draws on what the first has used up.
	answer, err := gatetest.Send(site, "", get("/v1/customers", second.Token))
	if err != nil || answer.Header.Get("RateLimit-Policy") != `"live";q=3;w=1` || strings.Contains(answer.Header.Get("RateLimit"), ";r=5") {
		t.Errorf("the account's second key gets %d, %v, %v", answer.Status, answer.Header, err)
	}
	burst("key", fast.Token, "key-rate", `"key";q=4;w=1`, 8)
	burst("sandbox", sandbox.Token, "global-rate", `"sandbox";q=2;w=1`, 4)
	burst("account with a limit of its own", slow.Token, "global-rate", `"live";q=1;w=1`, 2)

	// null lifts what was set, and wrong numbers are refused.
	var back gatetest.Fields
	g.Admin.Do(t, "PATCH", "/v1/keys/"+fast.ID, gatetest.Fields{"rate_limit": nil}, &back)
	if back["rate_limit"] != nil {
		t.Errorf("a limit that was lifted is %v", back["rate_limit"])
	}
	for _, wrong := range []any{0, -1, 1.5, 1_000_001, "10"} {
		if status, body, err := g.Admin.Call("PATCH", "/v1/keys/"+fast.ID, gatetest.Fields{"rate_limit": wrong}); err != nil || status != 400 {
			t.Errorf("rate_limit %v: got %d %s, %v", wrong, status, body, err)
		}
		if status, body, err := g.Admin.Call("PATCH", "/v1/accounts/"+own, gatetest.Fields{"rate_limit": gatetest.Fields{"live": wrong}}); err != nil || status != 400 {
			t.Errorf("rate_limit live %v: got %d %s, %v", wrong, status, body, err)
		}
	}
	g.Admin.Do(t, "GET", "/v1/accounts/"+own, nil, &back)
	if limit, _ := back["rate_limit"].(map[string]any); limit["live"] != 1.0 || limit["sandbox"] != nil {
		t.Errorf("the account's limit reads %v", back["rate_limit"])
	}
}
