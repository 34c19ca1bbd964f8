package main_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestK2_CrossOrigin: a web page that the operator has open cannot use the admin endpoint, neither to read, nor to write
// keys, nor to load a configuration.
func TestK2_CrossOrigin(t *testing.T) {
	b := theBed(t)
	before := len(b.Admin.Keys(t, nil))
	key := `{"kind":"secret","mode":"live","account":"` + b.A + `","name":"stolen"}`
	tests := []struct {
		name, method, path, body string
		header                   http.Header
	}{
		{"foreign origin", "POST", "/keystile/v1/keys", key, http.Header{"Origin": {"https://evil.example"}, "Content-Type": {"text/plain"}}},
		{"null origin", "POST", "/keystile/v1/keys", key, http.Header{"Origin": {"null"}, "Content-Type": {"text/plain"}}},
		{"cross-site fetch", "POST", "/keystile/v1/keys", key, http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"no-cors"}, "Content-Type": {"text/plain"}}},
		{"cross-site read", "GET", "/keystile/v1/keys", "", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"}, "Origin": {"https://evil.example"}}},
		{"form post", "POST", "/keystile/v1/keys", "kind=secret", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.example"}}},
		{"load", "POST", "/load", "{}", http.Header{"Origin": {"https://evil.example"}, "Content-Type": {"text/plain"}, "Sec-Fetch-Site": {"cross-site"}}},
		{"reveal", "POST", "/keystile/v1/keys/" + b.SKT.ID + "/reveal", "", http.Header{"Origin": {"http://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}},
		{"delete", "DELETE", "/keystile/v1/keys/" + b.SKB.ID, "", http.Header{"Origin": {"http://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}},
		{"rebound name", "GET", "/keystile/v1/keys", "", http.Header{"Host": {"evil.example"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequest(tt.method, "http://"+b.AdminAddr+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range tt.header {
				req.Header[name] = values
			}
			if host := tt.header.Get("Host"); host != "" {
				req.Host = host
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode < 400 || resp.StatusCode >= 500 {
				t.Errorf("got %d, want a refusal; body %.200s", resp.StatusCode, body)
			}
			if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("got Access-Control-Allow-Origin %q", got)
			}
			if strings.Contains(string(body), "key_") {
				t.Errorf("the answer holds keys: %.200s", body)
			}
		})
	}
	if after := len(b.Admin.Keys(t, nil)); after != before {
		t.Errorf("got %d keys after, %d before", after, before)
	}
	b.passes(t, b.any, get("/v1/customers", b.SKB.Token))
}

// TestK_AdminInput: bodies that the admin API must refuse whole, and the error's shape.
func TestK_AdminInput(t *testing.T) {
	b := theBed(t)
	before := len(b.Admin.Keys(t, nil))
	base := func(more gatetest.Fields) gatetest.Fields {
		in := gatetest.Fields{"kind": "restricted", "mode": "live", "account": b.A, "name": "n"}
		for k, v := range more {
			in[k] = v
		}
		return in
	}
	for _, tt := range []struct {
		name string
		in   any
	}{
		{"unknown field", base(gatetest.Fields{"permision": gatetest.Fields{}})},
		{"unknown resource", base(gatetest.Fields{"permissions": gatetest.Fields{"chargs": "read"}})},
		{"unknown access", base(gatetest.Fields{"permissions": gatetest.Fields{"charges": "admin"}})},
		{"permissions as a string", base(gatetest.Fields{"permissions": "all"})},
		{"unknown kind", base(gatetest.Fields{"kind": "root"})},
		{"unknown mode", base(gatetest.Fields{"mode": "test"})},
		{"account of nobody", base(gatetest.Fields{"account": "acct_nobody0000000000"})},
		{"organization and account", base(gatetest.Fields{"organization": b.Org})},
		{"restricted without a name", gatetest.Fields{"kind": "restricted", "mode": "live", "account": b.A}},
		{"organization key of an account", base(gatetest.Fields{"kind": "organization"})},
		{"token chosen by the client", base(gatetest.Fields{"token": "sk_live_x"})},
		{"publishable with permissions", base(gatetest.Fields{"kind": "publishable", "permissions": gatetest.Fields{"charges": "read"}})},
		{"secret with permissions", base(gatetest.Fields{"kind": "secret", "permissions": gatetest.Fields{"charges": "read"}})},
		{"end in the past", base(gatetest.Fields{"expires_at": "2001-01-01T00:00:00Z"})},
		{"end that is no time", base(gatetest.Fields{"expires_at": "tomorrow"})},
		{"list", []string{"a"}},
		{"null", nil},
		{"name too long", base(gatetest.Fields{"name": strings.Repeat("n", 100000)})},
		{"name with control characters", base(gatetest.Fields{"name": "a\x00b\x1b[31m"})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body, err := b.Admin.Call("POST", "/v1/keys", tt.in)
			if err != nil {
				t.Fatal(err)
			}
			e, err := gatetest.ParseError(body)
			if err != nil || status < 400 || status > 499 || e.Type != "invalid_request_error" || e.Message == "" {
				t.Errorf("got %d %+v, %v, want a 4xx error object; body %.300s", status, e, err, body)
			}
		})
	}
	if after := len(b.Admin.Keys(t, nil)); after != before {
		t.Errorf("refused bodies left %d keys", after-before)
	}
	for _, raw := range []string{`{"kind":"secret"`, `{"kind":"secret"}{"kind":"secret"}`, "", "\x00", strings.Repeat("[", 100000)} {
		resp, err := http.Post(b.Admin.URL("/v1/keys"), "application/json", strings.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("body %.20q: got %d, want 4xx", raw, resp.StatusCode)
		}
	}
}

// TestReveal: what may be revealed and how often, also in parallel.
func TestReveal(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "revealing", "").ID
	for range 3 {
		b.Admin.DefaultKey(t, account, "secret", "sandbox")
		b.Admin.DefaultKey(t, account, "publishable", "live")
	}
	var live gatetest.Key
	for _, k := range b.Admin.Keys(t, map[string][]string{"account": {account}, "kind": {"secret"}, "mode": {"live"}}) {
		live = k
	}
	if live.Token != "" || !live.Revealable {
		t.Errorf("the live default key: token shown %v, revealable %v, want false, true", live.Token != "", live.Revealable)
	}
	const n = 16
	statuses := make(chan int, n)
	for range n {
		go func() {
			status, _, err := b.Admin.Call("POST", "/v1/keys/"+live.ID+"/reveal", nil)
			if err != nil {
				t.Error(err)
			}
			statuses <- status
		}()
	}
	counts := make(map[int]int)
	for range n {
		counts[<-statuses]++
	}
	if counts[200] != 1 || counts[409] != n-1 {
		t.Errorf("got %v for %d reveals in parallel, want one 200 and the rest 409", counts, n)
	}
	b.Admin.Fails(t, "POST", "/v1/keys/"+live.ID+"/reveal", nil, 409, "already_revealed")
	created := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": "made"})
	if status, _, err := b.Admin.Call("POST", "/v1/keys/"+created.ID+"/reveal", nil); err != nil || status != 409 {
		t.Errorf("reveal of a live key that somebody made: got %d, %v, want 409", status, err)
	}
	b.Admin.Fails(t, "POST", "/v1/keys/key_0000000000000000/reveal", nil, 404, "resource_missing")
}
