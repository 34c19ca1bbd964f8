package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestKindsOfKeys is the first table of section 2: the token of each kind and mode, and by what it may be limited.
func TestKindsOfKeys(t *testing.T) {
	b := theBed(t)
	owner := map[bool]gatetest.Fields{false: {"account": b.C}, true: {"organization": b.Org}}
	limits := map[string]any{
		"permissions": gatetest.Fields{"customers": "read"}, "ip_ranges": []string{"203.0.113.0/24"},
		"allowed_origins": []string{"https://a.example"},
	}
	for _, tt := range []struct {
		kind, live, sandbox string
		limits              []string
	}{
		{"secret", "sk_live_", "sk_test_", []string{"ip_ranges"}},
		{"restricted", "rk_live_", "rk_test_", []string{"permissions", "ip_ranges"}},
		{"organization", "sk_org_live_", "sk_org_test_", []string{"permissions", "ip_ranges"}},
	} {
		for mode, prefix := range map[string]string{"live": tt.live, "sandbox": tt.sandbox} {
			fields := maps.Clone(owner[tt.kind == "organization"])
			maps.Copy(fields, gatetest.Fields{"kind": tt.kind, "mode": mode, "name": "n", "note": "vault", "metadata": gatetest.Fields{"a": "1"}})
			fields["expires_at"] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
			key := b.Admin.CreateKey(t, fields)
			if body, ok := strings.CutPrefix(key.Token, prefix); !ok || len(body) != 38 {
				t.Errorf("%s %s: the token has %d characters after %q", tt.kind, mode, len(body), prefix)
			}
			if key.Status != "expiring" || key.Note != "vault" {
				t.Errorf("%s %s: %+v", tt.kind, mode, key)
			}
			for name, value := range limits {
				allowed := false
				for _, limit := range tt.limits {
					allowed = allowed || limit == name
				}
				if allowed {
					b.Admin.EditKey(t, key.ID, gatetest.Fields{name: value})
				} else {
					b.Admin.Fails(t, "PATCH", "/v1/keys/"+key.ID, gatetest.Fields{name: value}, 400, "parameter_invalid")
				}
			}
		}
	}
	for name, value := range limits {
		path := "/v1/keys/" + b.Admin.DefaultKey(t, b.C, "publishable", "live").ID
		if name == "allowed_origins" {
			b.Admin.Do(t, "PATCH", path, gatetest.Fields{name: value}, nil)
			continue
		}
		b.Admin.Fails(t, "PATCH", path, gatetest.Fields{name: value}, 400, "parameter_invalid")
	}
	b.Admin.Fails(t, "POST", "/v1/keys", gatetest.Fields{"kind": "publishable", "mode": "live", "account": b.C}, 400, "parameter_invalid")
}

// TestReveals is who may be revealed and how often: a new account has four keys, and what was made otherwise was shown.
func TestReveals(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "reveals", "").ID
	standard := b.Admin.Keys(t, url.Values{"account": {account}})
	if len(standard) != 4 {
		t.Fatalf("a new account has %d keys, want 4", len(standard))
	}
	made := func(kind, mode string) gatetest.Key {
		return b.Admin.CreateKey(t, gatetest.Fields{"kind": kind, "mode": mode, "account": account, "name": "made"})
	}
	rotated := func(k gatetest.Key) gatetest.Key {
		var next gatetest.Key
		b.Admin.Do(t, "POST", "/v1/keys/"+k.ID+"/rotate", gatetest.Fields{}, &next)
		return next
	}
	type row struct {
		name string
		key  gatetest.Key
		once string // "": any number of times; else the code of the first refusal
		n    int    // how often before that
	}
	rows := []row{
		{"made sandbox", made("restricted", "sandbox"), "", 3}, {"made live", made("restricted", "live"), "not_revealable", 0},
		{"rotated live", rotated(made("secret", "live")), "not_revealable", 0}, {"rotated sandbox", rotated(made("secret", "sandbox")), "", 3},
	}
	for _, k := range standard {
		r := row{"default " + k.Kind + " " + k.Mode, k, "", 3}
		if k.Kind == "secret" && k.Mode == "live" {
			r.once, r.n = "already_revealed", 1
		}
		rows = append(rows, r)
	}
	for _, r := range rows {
		for range r.n {
			if got := b.Admin.Reveal(t, r.key.ID); got.TokenMasked != r.key.TokenMasked {
				t.Errorf("%s: another token: %s", r.name, got.TokenMasked)
			}
		}
		if r.once != "" {
			b.Admin.Fails(t, "POST", "/v1/keys/"+r.key.ID+"/reveal", nil, 409, r.once)
		}
	}

	// Of 64 at once, one.
	live := b.Admin.Keys(t, url.Values{"account": {b.Admin.CreateAccount(t, "parallel", "").ID}, "kind": {"secret"}, "mode": {"live"}})[0]
	wantOneReveal(t, b.Admin, live.ID)
}

// wantOneReveal reveals a key 64 times at once and wants one success.
func wantOneReveal(t *testing.T, a *gatetest.Admin, id string) {
	t.Helper()
	var shown, refused atomic.Int32
	var group sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		group.Go(func() {
			<-start
			status, body, err := a.Call("POST", "/v1/keys/"+id+"/reveal", nil)
			switch {
			case err != nil:
				t.Error(err)
			case status == 200:
				shown.Add(1)
			case status == 409 && strings.Contains(string(body), "already_revealed"):
				refused.Add(1)
			default:
				t.Errorf("status %d: %s", status, body)
			}
		})
	}
	close(start)
	group.Wait()
	if shown.Load() != 1 || refused.Load() != 63 {
		t.Errorf("%d reveals succeeded and %d were refused, want 1 and 63", shown.Load(), refused.Load())
	}
}

// TestRotations is what a replacement is called and what it keeps.
func TestRotations(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "rotations", "").ID
	common := gatetest.Fields{"mode": "live", "name": "mine", "note": "vault", "metadata": gatetest.Fields{"a": "1"}, "ip_ranges": "10.0.0.0/8 127.0.0.0/8"}
	with := func(more gatetest.Fields) gatetest.Key {
		fields := maps.Clone(common)
		maps.Copy(fields, more)
		return b.Admin.CreateKey(t, fields)
	}
	publishable := b.Admin.DefaultKey(t, account, "publishable", "live")
	b.Admin.EditKey(t, publishable.ID, gatetest.Fields{"name": "mine", "note": "vault", "metadata": gatetest.Fields{"a": "1"}})
	for name, key := range map[string]gatetest.Key{
		"Publishable key": publishable,
		"Secret key":      with(gatetest.Fields{"kind": "secret", "account": account}),
		"mine":            with(gatetest.Fields{"kind": "restricted", "account": account, "permissions": gatetest.Fields{"customers": "read"}}),
		"mine too":        with(gatetest.Fields{"kind": "organization", "organization": b.Org, "name": "mine too", "permissions": gatetest.Fields{"customers": "read"}}),
	} {
		before := b.Admin.GetKey(t, key.ID)
		var next gatetest.Key
		b.Admin.Do(t, "POST", "/v1/keys/"+key.ID+"/rotate",
			gatetest.Fields{"expires_at": time.Now().Add(7*24*time.Hour - time.Minute).UTC().Format(time.RFC3339)}, &next)
		if next.Name != name || next.Note != "vault" || fmt.Sprint(next.Permissions) != fmt.Sprint(before.Permissions) ||
			fmt.Sprint(next.IPRanges) != fmt.Sprint(before.IPRanges) || next.Rotation.Predecessor != key.ID || next.Token == "" {
			t.Errorf("%s: the replacement of %+v is %+v", name, before, next)
		}
		if old := b.Admin.GetKey(t, key.ID); old.Status != "expiring" || old.Rotation.Successor != next.ID {
			t.Errorf("%s: the old key is %+v", name, old)
		}
		b.Admin.Fails(t, "POST", "/v1/keys/"+next.ID+"/rotate",
			gatetest.Fields{"expires_at": time.Now().Add(7*24*time.Hour + time.Minute).UTC().Format(time.RFC3339)}, 400, "parameter_invalid")
	}
	b.Admin.Fails(t, "DELETE", "/v1/keys/"+publishable.ID, nil, 409, "not_deletable")
}

// TestEndingKeys: every answer of an ending key says when, up to the second at which it is refused.
func TestEndingKeys(t *testing.T) {
	b := theBed(t)
	request := func(k gatetest.Key) *gatetest.Answer { return b.send(t, b.any, get("/v1/customers", k.Token)) }
	create := func(more gatetest.Fields) gatetest.Key {
		fields := gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "ending"}
		maps.Copy(fields, more)
		return b.Admin.CreateKey(t, fields)
	}
	end := time.Now().Add(6 * time.Second).Truncate(time.Millisecond)
	plain, rotated := create(gatetest.Fields{"expires_at": end.UTC().Format(time.RFC3339Nano)}), create(nil)
	if got := request(rotated).Header.Values("Keystile-Key-Expires"); len(got) != 0 {
		t.Errorf("a key without an end says Keystile-Key-Expires: %q", got)
	}
	var next gatetest.Key
	b.Admin.Do(t, "POST", "/v1/keys/"+rotated.ID+"/rotate", gatetest.Fields{"expires_at": end.UTC().Format(time.RFC3339Nano)}, &next)
	if got := request(next).Header.Values("Keystile-Key-Expires"); len(got) != 0 {
		t.Errorf("the replacement says Keystile-Key-Expires: %q", got)
	}
	for name, key := range map[string]gatetest.Key{"plain": plain, "rotated": rotated} {
		for {
			before := time.Now()
			answer := request(key)
			after := time.Now()
			header := answer.Header.Get("Keystile-Key-Expires")
			switch {
			case answer.Status == 200 && !before.Before(end):
				t.Fatalf("%s: let in %v after its end", name, before.Sub(end))
			case answer.Status == 200 && header != end.UTC().Format(http.TimeFormat):
				t.Fatalf("%s: Keystile-Key-Expires is %q, want %v", name, header, end.UTC())
			case answer.Status != 200 && after.Before(end):
				t.Fatalf("%s: refused %v before its end", name, end.Sub(after))
			}
			if answer.Status != 200 {
				b.checkDenial(t, answer, expired)
				if header != "" {
					t.Errorf("%s: the refusal says Keystile-Key-Expires: %q", name, header)
				}
				break
			}
		}
		if got := b.Admin.GetKey(t, key.ID).Status; got != "expired" {
			t.Errorf("%s: the key is %s", name, got)
		}
		b.Admin.Fails(t, "PATCH", "/v1/keys/"+key.ID, gatetest.Fields{"expires_at": nil}, 409, "key_ended")
	}
}

// TestEndOfARotation through the gateway: the refusal lists who has just used the old key.
func TestEndOfARotation(t *testing.T) {
	b := theBed(t)
	key := b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.A, "name": "ending"})
	from := source()
	if got := b.sendFrom(t, from, b.any, get("/v1/customers", key.Token, "User-Agent: client/7")).Status; got != 200 {
		t.Fatalf("status %d", got)
	}
	b.Admin.Do(t, "POST", "/v1/keys/"+key.ID+"/rotate",
		gatetest.Fields{"expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, nil)
	status, body, err := b.Admin.Call("POST", "/v1/keys/"+key.ID+"/rotation/end", gatetest.Fields{})
	if err != nil {
		t.Fatal(err)
	}
	var refusal struct {
		Error struct {
			Code  string `json:"code"`
			Users []struct {
				Address  string    `json:"client_address"`
				Agent    string    `json:"user_agent"`
				Last     time.Time `json:"last_used_at"`
				Requests int       `json:"requests"`
			} `json:"users"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &refusal); err != nil {
		t.Fatal(err)
	}
	users := refusal.Error.Users
	if status != 409 || refusal.Error.Code != "key_in_use" || len(users) != 1 || users[0].Address != from || users[0].Agent != "client/7" ||
		users[0].Requests != 1 || time.Since(users[0].Last) > time.Hour {
		t.Fatalf("status %d: %s", status, body)
	}
	if got := b.send(t, b.any, get("/v1/customers", key.Token)).Status; got != 200 {
		t.Errorf("after the refusal: status %d", got)
	}
	b.Admin.Do(t, "POST", "/v1/keys/"+key.ID+"/rotation/end", gatetest.Fields{"force": true}, nil)
	b.denied(t, b.any, get("/v1/customers", key.Token), expired)
}

// TestSandboxesHaveTheirKeys: the record decides in which sandbox a key acts; its token says nothing of it.
func TestSandboxesHaveTheirKeys(t *testing.T) {
	b := theBed(t)
	account := b.Admin.CreateAccount(t, "sandboxes", "").ID
	boxes := []string{b.Admin.DefaultKey(t, account, "secret", "sandbox").Sandbox}
	for _, name := range []string{"staging", "demo"} {
		var box struct {
			ID string `json:"id"`
		}
		b.Admin.Do(t, "POST", "/v1/accounts/"+account+"/sandboxes", gatetest.Fields{"name": name}, &box)
		boxes = append(boxes, box.ID)
	}
	seen := map[string]bool{}
	for _, box := range boxes {
		for _, kind := range []string{"secret", "publishable"} {
			keys := b.Admin.Keys(t, url.Values{"sandbox": {box}, "kind": {kind}})
			if len(keys) != 1 || keys[0].Account != account {
				t.Fatalf("%s has %d %s keys, want 1", box, len(keys), kind)
			}
			key := b.Admin.Reveal(t, keys[0].ID)
			if seen[key.Token] {
				t.Error("two sandboxes share a key")
			}
			seen[key.Token] = true
			request := get("/v1/customers", key.Token)
			if kind == "publishable" {
				request = post("/v1/tokens", key.Token)
			}
			_, got := b.passes(t, b.any, request)
			if values := got.Exact("Keystile-Sandbox"); len(values) != 1 || values[0] != box {
				t.Errorf("the %s key of %s acts in %q", kind, box, values)
			}
		}
		own := b.Admin.CreateKey(t, gatetest.Fields{"kind": "restricted", "mode": "sandbox", "account": account, "sandbox": box, "name": "own",
			"permissions": gatetest.Fields{"customers": "read"}})
		_, got := b.passes(t, b.any, get("/v1/customers", own.Token))
		if values := got.Exact("Keystile-Sandbox"); len(values) != 1 || values[0] != box {
			t.Errorf("a key made for %s acts in %q", box, values)
		}
	}
}

// TestScheduledRotationOverARestart: what was due while nobody ran is done once after the start, what is due later at its
// time; the replacements can be revealed once, and the gateway knows them.
func TestScheduledRotationOverARestart(t *testing.T) {
	t.Parallel()
	backend := gatetest.NewBackend(t, "echo")
	g, site, secret, restricted := siteFor(t, "mode any", backend.Addr)
	status := func(token string) int {
		answer, err := gatetest.Send(site, "", get("/v1/customers", token))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Status
	}
	begin := time.Now()
	missed, later := begin.Add(4*time.Second), begin.Add(25*time.Second)
	schedule := func(id string, at time.Time) {
		g.Admin.Do(t, "PUT", "/v1/keys/"+id+"/rotation_schedule",
			gatetest.Fields{"at": at.UTC().Format(time.RFC3339Nano), "overlap": "1h"}, nil)
	}
	schedule(secret.ID, missed)
	schedule(restricted.ID, later)
	g.Stop(t)
	time.Sleep(time.Until(missed.Add(time.Second)))
	g.Start(t)
	for _, key := range []gatetest.Key{secret, restricted} {
		next := ""
		for deadline := time.Now().Add(90 * time.Second); next == ""; time.Sleep(100 * time.Millisecond) {
			if next = g.Admin.GetKey(t, key.ID).Rotation.Successor; next == "" && time.Now().After(deadline) {
				t.Fatalf("the %s key was not rotated", key.Kind)
			}
		}
		if key.ID == restricted.ID && time.Now().Before(later) {
			t.Error("rotated before its time")
		}
		wantOneReveal(t, g.Admin, next)
		if got := status(key.Token); got != 200 {
			t.Errorf("the old %s key is answered %d", key.Kind, got)
		}
		if got := g.Admin.GetKey(t, next); got.Status != "active" || got.Name == "" || got.Revealable {
			t.Errorf("the replacement is %+v", got)
		}
	}
	g.Stop(t)
	g.Start(t)
	if got := len(g.Admin.Keys(t, url.Values{"account": {secret.Account}})); got != 4+1+2 {
		t.Errorf("the account has %d keys, want 7: each was rotated once", got)
	}
}
