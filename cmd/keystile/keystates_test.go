package main_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// keyMaker makes the keys of TestKeyStatesFromOutside, each in a state.
type keyMaker struct {
	t       *testing.T
	b       *bed
	account string
}

func (m *keyMaker) restricted() gatetest.Key {
	m.t.Helper()
	return m.b.Admin.CreateKey(m.t, gatetest.Fields{
		"kind": "restricted", "mode": "live", "account": m.account, "name": "state", "permissions": gatetest.Fields{"customers": "read"},
	})
}

// standard is a default key of an account of its own.
func (m *keyMaker) standard(kind string) gatetest.Key {
	m.t.Helper()
	account := m.b.Admin.CreateAccount(m.t, "state", "").ID
	return m.b.Admin.Keys(m.t, url.Values{"account": {account}, "kind": {kind}, "mode": {"live"}})[0]
}

func (m *keyMaker) post(k gatetest.Key, verb string, in gatetest.Fields) gatetest.Key {
	m.t.Helper()
	m.b.Admin.Do(m.t, "POST", "/v1/keys/"+k.ID+"/"+verb, in, nil)
	return k
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

// TestKeyStatesFromOutside is the state machine of a key as a user of the API meets it: what each action answers to a key in
// each state. "" is 200, and a status behind it is the key's afterwards; anything else is the code of the refusal.
func TestKeyStatesFromOutside(t *testing.T) {
	b := theBed(t)
	m := &keyMaker{t: t, b: b, account: b.Admin.CreateAccount(t, "states", "").ID}
	type fields = gatetest.Fields
	states := []struct {
		name string
		make func() gatetest.Key
	}{
		{"active", m.restricted},
		{"expiring", func() gatetest.Key {
			k := m.restricted()
			b.Admin.EditKey(t, k.ID, fields{"expires_at": in(time.Hour)})
			return k
		}},
		{"rotating", func() gatetest.Key { return m.post(m.restricted(), "rotate", fields{"expires_at": in(time.Hour)}) }},
		{"in use", func() gatetest.Key {
			k := m.post(m.restricted(), "rotate", fields{"expires_at": in(time.Hour)})
			b.passes(t, b.any, get("/v1/customers", k.Token))
			return k
		}},
		{"rotated", func() gatetest.Key { return m.post(m.restricted(), "rotate", fields{}) }},
		{"deleted", func() gatetest.Key {
			k := m.restricted()
			b.Admin.DeleteKey(t, k.ID)
			return k
		}},
		{"default", func() gatetest.Key { return m.standard("secret") }},
		{"revealed", func() gatetest.Key { return m.post(m.standard("secret"), "reveal", fields{}) }},
		{"publishable", func() gatetest.Key { return m.standard("publishable") }},
	}
	actions := []struct{ method, path, body string }{
		{"PATCH", "", `{"note":"n"}`},
		{"POST", "/reveal", ""},
		{"POST", "/rotate", `{}`},
		{"PUT", "/rotation_schedule", `{"every_days":30}`},
		{"DELETE", "/rotation_schedule", ""},
		{"POST", "/rotation/end", `{}`},
		{"POST", "/rotation/end", `{"force":true}`},
		{"POST", "/duplicate", `{"name":"other"}`},
		{"DELETE", "", ""},
	}
	const (
		ended, conflict, idle, busy, never = "key_ended", "conflict", "not_rotating", "key_in_use", "not_revealable"
		again, stays, no                   = "already_revealed", "not_deletable", "parameter_invalid"
	)
	table := map[string][]string{
		//             edit   reveal  rotate     schedule  unsched. end        force      duplicate delete
		"active":      {"", never, "expired", "", "", idle, idle, "", "deleted"},
		"expiring":    {"", never, "expired", no, "", idle, idle, "", "deleted"},
		"rotating":    {"", never, conflict, conflict, "", "expired", "expired", "", "deleted"},
		"in use":      {"", never, conflict, conflict, "", busy, "expired", "", "deleted"},
		"rotated":     {ended, ended, ended, ended, ended, ended, ended, "", "deleted"},
		"deleted":     {ended, ended, ended, ended, ended, ended, ended, "", ended},
		"default":     {"", "", "expired", "", "", idle, idle, no, "deleted"},
		"revealed":    {"", again, "expired", "", "", idle, idle, no, "deleted"},
		"publishable": {"", "", "expired", "", "", idle, idle, no, stays},
	}
	statusOf := map[string]int{no: 400}
	for _, state := range states {
		for i, action := range actions {
			want := table[state.name][i]
			key := state.make()
			before := b.Admin.GetKey(t, key.ID).Status
			var body any
			if action.body != "" {
				body = json.RawMessage(action.body)
			}
			what := fmt.Sprintf("%s: %s %s %s", state.name, action.method, action.path, action.body)
			if slices.Contains([]string{"", "expired", "deleted"}, want) {
				b.Admin.Do(t, action.method, "/v1/keys/"+key.ID+action.path, body, nil)
				if want != "" {
					before = want
				}
			} else {
				status := statusOf[want]
				if status == 0 {
					status = 409
				}
				got, answer, err := b.Admin.Call(action.method, "/v1/keys/"+key.ID+action.path, body)
				if err != nil || got != status || !strings.Contains(string(answer), `"code":"`+want+`"`) {
					t.Errorf("%s: %v, status %d, want %d %s: %s", what, err, got, status, want, answer)
				}
			}
			if got := b.Admin.GetKey(t, key.ID).Status; got != before {
				t.Errorf("%s: the key is %s afterwards, want %s", what, got, before)
			}
			// What a key is called must be what it is worth.
			if works := key.Token != "" && key.Kind == "restricted"; works {
				request := get("/v1/customers", key.Token)
				if before == "active" || before == "expiring" {
					b.passes(t, b.any, request)
				} else {
					b.denied(t, b.any, request, expired)
				}
			}
		}
	}
}
