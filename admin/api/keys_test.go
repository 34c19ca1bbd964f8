package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
)

// TestKeyShape fixes the JSON of a key, field by field.
func TestKeyShape(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	made := f.ok("POST", "/v1/keys", `{"kind":"restricted","mode":"live","account":"`+account.ID+`","name":"billing","note":"vault: billing",
		"permissions":{"charges":"write","customers":"none"},"ip_ranges":"100.10.38.255 10.0.0.0/8","expires_at":"2026-06-01T00:00:00+02:00",
		"metadata":{"team":"a & b"}}`)
	k := as[api.Key](made)
	if got, want := string(k.Token)[:8], "rk_live_"; got != want || len(k.Token) != len(want)+38 {
		t.Errorf("token of %d characters with prefix %q", len(k.Token), got)
	}
	if got, want := k.TokenMasked, "rk_live_****"+string(k.Token)[len(k.Token)-4:]; got != want {
		t.Errorf("token_masked = %q, want %q", got, want)
	}
	quoted := func(s string) string { return fmt.Sprintf("%q", s) }
	shape := []string{
		"id", quoted(k.ID), "object", `"key"`, "kind", `"restricted"`, "mode", `"live"`, "sandbox", "null",
		"account", quoted(account.ID), "organization", "null", "name", `"billing"`, "note", `"vault: billing"`, "status", `"expiring"`,
		"token_masked", quoted(k.TokenMasked), "permissions", `{"charges":"write"}`, "connected_permissions", "{}",
		"ip_ranges", `["10.0.0.0/8","100.10.38.255"]`, "allowed_origins", "null", "created_at", `"2026-03-01T12:00:00Z"`,
		"created_by", `"admin endpoint"`, "expires_at", `"2026-05-31T22:00:00Z"`, "expires_in", "7898400", "last_used_at", "null", "last_used_ip", "null",
		"rotation", `{"schedule":null,"predecessor":null,"successor":null}`, "revealable", "false", "metadata", `{"team":"a & b"}`,
	}
	made.has(shape...)
	got := f.ok("GET", "/v1/keys/"+k.ID, nil)
	got.has(shape...)
	got.has("token", "")
	if got.header.Get("ETag") != made.header.Get("ETag") {
		t.Error("the ETag of GET is not that of create")
	}
	stored, _ := f.store.Snapshot().Key(k.ID)
	f.store.Touch(stored, f.clock().Add(time.Second), netip.MustParseAddr("203.0.113.7"))
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("last_used_at", `"2026-03-01T12:00:01Z"`, "last_used_ip", `"203.0.113.7"`)
}

func TestCreateKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`)).ID
	account := as[api.AccountCreated](f.ok("POST", "/v1/accounts", map[string]any{"name": "Acme", "organization": organization}))
	own := func(more string) string {
		return `{"mode":"live","account":"` + account.ID + `","name":"n",` + more + `}`
	}
	org := func(more string) string {
		return `{"mode":"sandbox","kind":"organization","organization":"` + organization + `","name":"n"` + more + `}`
	}
	for _, test := range []struct {
		name, body, prefix  string
		permissions, notice string
	}{
		{"secret", own(`"kind":"secret"`), "sk_live_", "null", ""},
		{"restricted without permissions", own(`"kind":"restricted"`), "rk_live_", "{}", "no permissions"},
		{"restricted with null", own(`"kind":"restricted","permissions":null`), "rk_live_", "{}", "no permissions"},
		{"restricted with {}", own(`"kind":"restricted","permissions":{}`), "rk_live_", "{}", "no permissions"},
		{"restricted with []", own(`"kind":"restricted","permissions":[]`), "rk_live_", "{}", "no permissions"},
		{"restricted with none", own(`"kind":"restricted","permissions":{"charges":"none"}`), "rk_live_", "{}", "no permissions"},
		{"restricted", own(`"kind":"restricted","permissions":{"charges":"read"}`), "rk_live_", `{"charges":"read"}`, ""},
		{"restricted, connected only", own(`"kind":"restricted","connected_permissions":{"charges":"read"}`), "rk_live_", "{}", ""},
		{"organization", org(""), "sk_org_test_", "null", ""},
		{"organization with {}", org(`,"permissions":{}`), "sk_org_test_", "{}", "no permissions"},
		{"organization with some", org(`,"permissions":{"charges":"write"}`), "sk_org_test_", `{"charges":"write"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := f.ok("POST", "/v1/keys", test.body)
			a.t = t
			k := as[api.Key](a)
			a.has("permissions", test.permissions)
			if !strings.HasPrefix(string(k.Token), test.prefix) {
				t.Errorf("token has another prefix than %s", test.prefix)
			}
			if (k.Notice == "") != (test.notice == "") || !strings.Contains(k.Notice, test.notice) {
				t.Errorf("notice = %q, want one with %q", k.Notice, test.notice)
			}
		})
	}
	for _, test := range []struct{ name, body, code, param, says string }{
		{"no kind", own(`"note":"x"`), "parameter_missing", "kind", ""},
		{"no mode", `{"kind":"secret","account":"x"}`, "parameter_missing", "mode", ""},
		{"wrong kind", own(`"kind":"private"`), "parameter_invalid", "kind", "restricted"},
		{"unknown resource", own(`"kind":"restricted","permissions":{"charge":"read"}`), "parameter_invalid", "permissions.charge", "did you mean charges?"},
		{"unknown resource with none", own(`"kind":"restricted","permissions":{"wombats":"none"}`), "parameter_invalid", "permissions.wombats", "/v1/resources"},
		{"permission spelt as in messages", own(`"kind":"restricted","permissions":{"charges_write":"write"}`), "parameter_invalid", "permissions.charges_write", `{"charges": "write"}`},
		{"unknown connected resource", own(`"kind":"restricted","connected_permissions":{"charge":"read"}`), "parameter_invalid", "connected_permissions.charge", ""},
		{"unknown access", own(`"kind":"restricted","permissions":{"charges":"all"}`), "parameter_invalid", "permissions.charges", "write"},
		{"access of another type", own(`"kind":"restricted","permissions":{"charges":true}`), "parameter_invalid", "permissions.charges", "string"},
		{"permissions as a list", own(`"kind":"restricted","permissions":["charges"]`), "parameter_invalid", "permissions", "must be an object"},
		{"permissions as a string", own(`"kind":"restricted","permissions":"charges"`), "parameter_invalid", "permissions", "an object"},
		{"ip_ranges empty", own(`"kind":"secret","ip_ranges":[]`), "parameter_invalid", "ip_ranges", "null"},
		{"ip_ranges empty string", own(`"kind":"secret","ip_ranges":" \n"`), "parameter_invalid", "ip_ranges", "null"},
		{"ip_ranges number", own(`"kind":"secret","ip_ranges":10`), "parameter_invalid", "ip_ranges", "a list, or a string"},
		{"ip_ranges of numbers", own(`"kind":"secret","ip_ranges":["10.0.0.1",5]`), "parameter_invalid", "ip_ranges[1]", "string"},
		{"host bits set", own(`"kind":"secret","ip_ranges":["10.0.0.1","10.0.0.1/8"]`), "parameter_invalid", "ip_ranges[1]", ""},
		{"position in a string", own(`"kind":"secret","ip_ranges":"10.0.0.1\n0.0.0.0/0"`), "parameter_invalid", "ip_ranges[1]", ""},
		{"no time", own(`"kind":"secret","expires_at":"tomorrow"`), "parameter_invalid", "expires_at", ""},
		{"unknown field", own(`"kind":"secret","expires":"x"`), "parameter_unknown", "expires", ""},
		{"expired already", own(`"kind":"secret","expires_at":"2020-01-01T00:00:00Z"`), "parameter_invalid", "expires_at", ""},
		{"restricted without a name", `{"kind":"restricted","mode":"live","account":"` + account.ID + `"}`, "parameter_missing", "name", ""},
		{"metadata of another type", own(`"kind":"secret","metadata":{"a":1}`), "parameter_invalid", "metadata.a", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := f.do("POST", "/v1/keys", test.body)
			a.t = t
			if e := a.fails(400, test.code, test.param); !strings.Contains(e.Message, test.says) {
				t.Errorf("message %q does not say %q", e.Message, test.says)
			}
		})
	}
	f.do("POST", "/v1/keys", `{"kind":"secret","mode":"live","account":"acct_0000000000000000","name":"x"}`).fails(404, "resource_missing", "account")
}

// TestPatchSemantics: absent, null and empty are three things.
func TestPatchSemantics(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	for _, test := range []struct{ name, body, field, want, param string }{
		{"nothing", `{}`, "permissions", `{"charges":"write"}`, ""},
		{"name", `{"name":"new"}`, "name", `"new"`, ""},
		{"note", `{"note":"new"}`, "note", `"new"`, ""},
		{"note empty", `{"note":""}`, "note", `""`, ""},
		{"note null", `{"note":null}`, "note", `""`, ""},
		{"permissions", `{"permissions":{"customers":"read"}}`, "permissions", `{"customers":"read"}`, ""},
		{"permissions empty", `{"permissions":{}}`, "permissions", `{}`, ""},
		{"permissions empty list", `{"permissions":[]}`, "permissions", `{}`, ""},
		{"permissions null", `{"permissions":null}`, "", "", "permissions"},
		{"permissions null leaves them", `{"permissions":null}`, "", "", "permissions"},
		{"ranges", `{"ip_ranges":["192.0.2.1"]}`, "ip_ranges", `["192.0.2.1"]`, ""},
		{"ranges string", `{"ip_ranges":"192.0.2.1 192.0.2.2"}`, "ip_ranges", `["192.0.2.1","192.0.2.2"]`, ""},
		{"ranges null", `{"ip_ranges":null}`, "ip_ranges", `null`, ""},
		{"ranges empty", `{"ip_ranges":[]}`, "", "", "ip_ranges"},
		{"ranges empty string", `{"ip_ranges":""}`, "", "", "ip_ranges"},
		{"expiry", `{"expires_at":"2026-03-02T00:00:00Z"}`, "expires_at", `"2026-03-02T00:00:00Z"`, ""},
		{"expiry null", `{"expires_at":null}`, "expires_at", `null`, ""},
		{"expiry empty", `{"expires_at":""}`, "", "", "expires_at"},
		{"metadata merges", `{"metadata":{"b":"2"}}`, "metadata", `{"a":"1","b":"2"}`, ""},
		{"metadata empty value", `{"metadata":{"a":""}}`, "metadata", `{}`, ""},
		{"metadata null", `{"metadata":null}`, "metadata", `{}`, ""},
		{"metadata empty", `{"metadata":{}}`, "metadata", `{"a":"1"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := f.key(map[string]any{
				"kind": "restricted", "mode": "live", "account": account.ID, "name": "old", "note": "old", "permissions": map[string]string{"charges": "write"},
				"ip_ranges": []string{"10.0.0.1"}, "expires_at": "2026-04-01T00:00:00Z", "metadata": map[string]string{"a": "1"},
			})
			before := as[map[string]any](f.ok("GET", "/v1/keys/"+k.ID, nil))
			a := f.do("PATCH", "/v1/keys/"+k.ID, test.body)
			a.t = t
			after := as[map[string]any](f.ok("GET", "/v1/keys/"+k.ID, nil))
			if test.param != "" {
				a.fails(400, "parameter_invalid", test.param)
			} else {
				a.has(test.field, test.want)
				delete(before, test.field)
				delete(after, test.field)
				for _, follows := range []string{"status", "expires_in"} { // expires_at
					delete(before, follows)
					delete(after, follows)
				}
			}
			if !reflect.DeepEqual(before, after) {
				t.Errorf("something else changed:\n%v\n%v", before, after)
			}
		})
	}
	k := f.restricted(account.ID)
	for _, name := range []string{"kind", "mode", "account", "token", "status"} {
		f.do("PATCH", "/v1/keys/"+k.ID, `{"`+name+`":"x"}`).fails(400, "parameter_unknown", name)
	}
	if notice := as[api.Key](f.ok("PATCH", "/v1/keys/"+k.ID, `{"permissions":{}}`)).Notice; notice == "" {
		t.Error("a key that was left without permissions says nothing of it")
	}
	f.do("PATCH", "/v1/keys/key_0000000000000000", `{}`).fails(404, "resource_missing", "")
}

func TestDeleteKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	k := f.restricted(account.ID)
	f.ok("PATCH", "/v1/keys/"+k.ID, `{"note":"x"}`).has("nodes", "")
	f.ok("PATCH", "/v1/keys/"+k.ID+"?wait=fleet", `{"note":"y"}`).has("nodes", `[{"id":"node-1","applied":true}]`)
	f.do("PATCH", "/v1/keys/"+k.ID+"?wait=world", `{"note":"z"}`).fails(400, "parameter_invalid", "wait")
	a := f.ok("DELETE", "/v1/keys/"+k.ID+"?wait=node", nil)
	a.has("status", `"deleted"`, "id", fmt.Sprintf("%q", k.ID), "nodes", `[{"id":"node-1","applied":true}]`, "revealable", "false")
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("status", `"deleted"`)
	f.do("PATCH", "/v1/keys/"+k.ID, `{"name":"x"}`).fails(409, "key_ended", "")
	f.do("POST", "/v1/keys/"+k.ID+"/rotate", `{}`).fails(409, "key_ended", "")
	f.do("DELETE", "/v1/keys/key_0000000000000000", nil).fails(404, "resource_missing", "")
	for _, k := range account.Keys {
		if k.Kind == "publishable" {
			f.do("DELETE", "/v1/keys/"+k.ID, nil).fails(409, "not_deletable", "")
		}
	}
}

func TestRevealKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	for _, k := range account.Keys {
		first := as[api.Key](f.ok("POST", "/v1/keys/"+k.ID+"/reveal", nil))
		if policy.Mask(string(first.Token)) != k.TokenMasked {
			t.Errorf("%s: the token does not fit its mask", k.ID)
		}
		again := f.do("POST", "/v1/keys/"+k.ID+"/reveal", nil)
		if k.Kind == "secret" && k.Mode == "live" {
			again.fails(409, "already_revealed", "")
			f.ok("GET", "/v1/keys/"+k.ID, nil).has("revealable", "false")
		} else if again.status != 200 {
			t.Errorf("%s %s: revealing again answers %d", k.Mode, k.Kind, again.status)
		}
	}
	f.do("POST", "/v1/keys/"+f.restricted(account.ID).ID+"/reveal", nil).fails(409, "not_revealable", "")
	f.do("POST", "/v1/keys/key_0000000000000000/reveal", nil).fails(404, "resource_missing", "")
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	k := f.restricted(account.ID)
	a := f.ok("POST", "/v1/keys/"+k.ID+"/rotate", nil)
	next := as[api.Key](a)
	a.has("name", `"billing"`, "permissions", `{"charges":"write"}`, "status", `"active"`, "nodes", `[{"id":"node-1","applied":true}]`,
		"rotation", fmt.Sprintf(`{"schedule":null,"predecessor":%q,"successor":null}`, k.ID))
	if next.Token == "" || next.Token == k.Token || next.ID == k.ID {
		t.Error("the new key is not new")
	}
	f.ok("GET", "/v1/keys/"+k.ID, nil).has("status", `"expired"`, "rotation", fmt.Sprintf(`{"schedule":null,"predecessor":null,"successor":%q}`, next.ID))

	f.ok("POST", "/v1/keys/"+next.ID+"/rotate?wait=node", `{"expires_at":"2026-03-02T12:00:00Z"}`)
	f.ok("GET", "/v1/keys/"+next.ID, nil).has("status", `"expiring"`, "expires_at", `"2026-03-02T12:00:00Z"`)
	f.advance(24 * time.Hour)
	f.ok("GET", "/v1/keys/"+next.ID, nil).has("status", `"expired"`)

	other := f.restricted(account.ID)
	f.do("POST", "/v1/keys/"+other.ID+"/rotate", `{"expires_at":"2026-05-01T00:00:00Z"}`).fails(400, "parameter_invalid", "expires_at")
	for _, k := range account.Keys {
		if k.Kind == "publishable" {
			f.ok("POST", "/v1/keys/"+k.ID+"/rotate", `{}`).has("name", `"Publishable key"`)
		} else {
			f.ok("POST", "/v1/keys/"+k.ID+"/rotate", `{"expires_at":null}`).has("name", `"Secret key"`)
		}
	}
	f.do("POST", "/v1/keys/key_0000000000000000/rotate", nil).fails(404, "resource_missing", "")
}

func TestDuplicateKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	k := f.restricted(account.ID)
	a := f.ok("POST", "/v1/keys/"+k.ID+"/duplicate", nil)
	a.has("name", `"billing"`, "permissions", `{"charges":"write"}`)
	if d := as[api.Key](a); d.ID == k.ID || d.Token == k.Token || d.Token == "" {
		t.Error("the duplicate is not a new key")
	}
	f.ok("POST", "/v1/keys/"+k.ID+"/duplicate", `{"name":"other","permissions":{}}`).has("name", `"other"`, "permissions", `{}`)
	f.do("POST", "/v1/keys/"+k.ID+"/duplicate", `{"permissions":{"chargse":"read"}}`).fails(400, "parameter_invalid", "permissions.chargse")
	f.do("POST", "/v1/keys/key_0000000000000000/duplicate", nil).fails(404, "resource_missing", "")
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`)).ID
	acme, other := f.account("Acme"), f.account("Other")
	k := f.restricted(acme.ID)
	f.key(map[string]any{"kind": "organization", "mode": "live", "organization": organization, "name": "all accounts"})
	f.ok("DELETE", "/v1/keys/"+f.restricted(acme.ID).ID, nil)
	for query, want := range map[string]int{
		"":                                     11,
		"account=" + acme.ID:                   6,
		"account=" + other.ID:                  4,
		"organization=" + organization:         1,
		"account=" + acme.ID + "&mode=sandbox": 2,
		"account=" + acme.ID + "&kind=restricted":       2,
		"kind=publishable":                              4,
		"status=deleted":                                1,
		"account=" + acme.ID + "&status=active":         5,
		"query=BILL":                                    2,
		"query=BILL&status=active":                      1,
		"query=" + k.TokenMasked[len(k.TokenMasked)-4:]: 1,
		"query=" + k.ID:                                 1,
	} {
		list := as[api.List[api.Key]](f.ok("GET", "/v1/keys?limit=100&"+query, nil))
		if query == "" {
			list = as[api.List[api.Key]](f.ok("GET", "/v1/keys?limit=100", nil))
		}
		if len(list.Data) != want {
			t.Errorf("%q: %d keys, want %d", query, len(list.Data), want)
		}
	}
}

func TestImportKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	const token = "legacy-key-5f0e2b7a9c"
	f.secret(token)
	sum := sha256.Sum256([]byte("another-legacy-key"))
	row := func(more string) string {
		return `{"kind":"secret","mode":"live","account":"` + account.ID + `","name":"old",` + more + `}`
	}
	keys := func() int { return f.store.Len() }
	before := keys()
	for _, test := range []struct{ name, body, code, param string }{
		{"no keys", `{}`, "parameter_missing", "keys"},
		{"empty", `{"keys":[]}`, "parameter_invalid", "keys"},
		{"neither token nor digest", `{"keys":[` + row(`"note":"x"`) + `]}`, "parameter_missing", "keys[0].token"},
		{"both", `{"keys":[` + row(`"token":"`+token+`","sha256":"`+hex.EncodeToString(sum[:])+`"`) + `]}`, "parameter_missing", "keys[0].token"},
		{"bad digest", `{"keys":[` + row(`"token":"`+token+`"`) + `,` + row(`"sha256":"abc"`) + `]}`, "parameter_invalid", "keys[1].sha256"},
		{"long digest", `{"keys":[` + row(`"sha256":"`+hex.EncodeToString(sum[:])+`00"`) + `]}`, "parameter_invalid", "keys[0].sha256"},
		{"bad kind", `{"keys":[` + row(`"token":"`+token+`"`) + `,{"kind":"private","mode":"live","token":"x"}]}`, "parameter_invalid", "keys[1].kind"},
		{"missing mode", `{"keys":[{"kind":"secret","token":"x"}]}`, "parameter_missing", "keys[0].mode"},
		{"unknown field", `{"keys":[` + row(`"tokn":"`+token+`"`) + `]}`, "parameter_unknown", "keys[0].tokn"},
		{"unknown resource", `{"keys":[` + row(`"token":"`+token+`","permissions":{"charge":"read"}`) + `]}`, "parameter_invalid", "keys[0].permissions.charge"},
		{"token of another type", `{"keys":[` + row(`"token":["`+token+`"]`) + `]}`, "parameter_invalid", "keys[0].token"},
		{"bad range", `{"keys":[` + row(`"token":"`+token+`"`) + `,` + row(`"token":"x2","ip_ranges":["0.0.0.0/0"]`) + `]}`, "parameter_invalid", "keys[1].ip_ranges[0]"},
		{"token twice", `{"keys":[` + row(`"token":"`+token+`"`) + `,` + row(`"token":"`+token+`"`) + `]}`, "conflict", "keys[1].token"},
		{"token with a space", `{"keys":[` + row(`"token":"`+token+` x"`) + `]}`, "parameter_invalid", "keys[0].token"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := f.do("POST", "/v1/keys/import", test.body)
			a.t = t
			status := 400
			if test.code == "conflict" {
				status = 409
			}
			a.fails(status, test.code, test.param)
			if got := keys(); got != before {
				t.Errorf("%d keys, want %d: something was imported", got, before)
			}
		})
	}
	// Every row at fault is listed, whether we or the store found it.
	for _, body := range []string{
		`{"keys":[` + row(`"note":"no token"`) + `,` + row(`"token":"`+token+`"`) + `,` + row(`"sha256":"abc"`) + `]}`,
		`{"keys":[` + row(`"token":"x1","ip_ranges":["10.0.0.1/8"]`) + `,` + row(`"token":"`+token+`"`) + `,` + row(`"token":"two words"`) + `]}`,
	} {
		e := as[api.ErrorBody](f.do("POST", "/v1/keys/import", body)).Error
		if len(e.Errors) != 2 || e.Errors[0].Param != e.Param || e.Errors[0].Message != e.Message || !strings.HasPrefix(e.Errors[1].Param, "keys[2].") {
			t.Errorf("errors = %+v", e)
		}
	}
	e := as[api.ErrorBody](f.do("POST", "/v1/keys/import", `{"keys":[`+row(`"token":"x1"`)+`,{"kind":"private","mode":"live","token":"x2"},`+
		row(`"token":"x1"`)+`,`+row(`"tokn":"x3"`)+`,`+row(`"token":"x4","ip_ranges":[]`)+`]}`)).Error
	var at []string
	for _, r := range e.Errors {
		at = append(at, r.Param)
	}
	if want := "keys[1].kind keys[2].token keys[3].tokn keys[4].ip_ranges"; strings.Join(at, " ") != want || e.Param != "keys[1].kind" || keys() != before {
		t.Errorf("errors at %q, want %q", at, want)
	}
	f.do("POST", "/v1/keys/import", `{"keys":[`+row(`"token":"x1"`)+`,"x2"]}`).fails(400, "parameter_invalid", "keys[1]")
	f.do("POST", "/v1/keys/import", `{"keys":[null]}`).fails(400, "parameter_invalid", "keys[0]")
	f.do("POST", "/v1/keys/import?x=1", `{"keys":[]}`).fails(400, "parameter_unknown", "x")
	list := as[api.List[api.Key]](f.ok("POST", "/v1/keys/import",
		`{"keys":[`+row(`"token":"`+token+`"`)+`,`+row(`"sha256":"`+hex.EncodeToString(sum[:])+`","last4":"tkey"`)+`]}`))
	if len(list.Data) != 2 || keys() != before+2 {
		t.Fatalf("imported %+v", list.Data)
	}
	for _, k := range list.Data {
		if k.Token != "" || k.Revealable {
			t.Errorf("an imported key shows its token: %+v", k)
		}
	}
	digest := policy.DigestOf(token)
	if k, _ := f.store.Lookup(&digest); k == nil || k.ID != list.Data[0].ID {
		t.Errorf("the imported token finds %v, want %s", k, list.Data[0].ID)
	}
	f.do("POST", "/v1/keys/import", `{"keys":[`+row(`"token":"`+token+`"`)+`]}`).fails(409, "conflict", "keys[0].token")
}

// TestTokensStayOutOfErrors puts a token wherever a caller may put one by mistake.
func TestTokensStayOutOfErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account := f.account("Acme")
	token := string(f.restricted(account.ID).Token)
	for _, call := range []struct{ method, target, body string }{
		{"GET", "/v1/keys/" + token, ""},
		{"GET", "/v1/keys?" + token + "=1", ""},
		{"GET", "/v1/keys?starting_after=" + token, ""},
		{"GET", "/v1/keys?mode=" + token, ""},
		{"GET", "/v1/accounts/" + token, ""},
		{"GET", "/v1/request_logs/" + token, ""},
		{"GET", "/v1/request_logs?key=" + token + "&client_address=" + token, ""},
		{"POST", "/v1/keys", `{"` + token + `":1}`},
		{"POST", "/v1/keys", `{"kind":"` + token + `"}`},
		{"POST", "/v1/keys", `{"kind":"secret","mode":"live","account":"` + token + `"}`},
		{"POST", "/v1/keys", `{"kind":"restricted","mode":"live","name":"x","account":"` + account.ID + `","permissions":{"` + token + `":"read"}}`},
		{"POST", "/v1/keys", `{"kind":"secret","mode":"live","name":"x","account":"` + account.ID + `","ip_ranges":["` + token + `"]}`},
		{"POST", "/v1/keys", `{"kind":"secret","mode":"live","name":"x","account":"` + account.ID + `","expires_at":"` + token + `"}`},
		{"POST", "/v1/keys/import", `{"keys":[{"kind":"secret","mode":"live","account":"` + account.ID + `","sha256":"` + token + `"}]}`},
		{"POST", "/v1/keys/import", `{"keys":[{"kind":"secret","mode":"live","account":"` + account.ID + `","token":"` + token + `"}]}`},
		{"POST", "/v1/explain", `{"token":"` + token + `","method":"GET","path":"/v1/charges","client_address":"` + token + `"}`},
		{"POST", "/v1/explain", `{"token":["` + token + `"],"method":"GET","path":"/v1/charges"}`},
		{"POST", "/v1/explain", `{"key":"` + token + `","method":"GET","path":"/v1/charges"}`},
		{"POST", "/v1/explain", `{"method":"` + token + `","path":"/` + token + `"`},
	} {
		var body any
		if call.body != "" {
			body = call.body
		}
		if a := f.do(call.method, call.target, body); a.status < 400 {
			t.Errorf("%s answered %d: %s", a.call, a.status, a.body)
		}
	}
	// newFixture's clean-up searches all answers.
}

// An organization key with a list of permissions and none for connected accounts has no rights there. null would read as
// unrestricted.
func TestOrganizationKeyWithAListShowsNoConnectedRights(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	organization := as[api.Organization](f.ok("POST", "/v1/organizations", `{"name":"Rocket"}`)).ID
	body := `{"kind":"organization","mode":"live","name":"n","organization":"` + organization + `"`
	limited := f.ok("POST", "/v1/keys", body+`,"permissions":{"charges":"read"}}`)
	if key := as[api.Key](limited); key.ConnectedPermissions == nil || len(key.ConnectedPermissions) != 0 {
		t.Errorf("connected_permissions of a key with a list: got %v, want {}", key.ConnectedPermissions)
	}
	if key := as[api.Key](f.ok("POST", "/v1/keys", body+`}`)); key.ConnectedPermissions != nil {
		t.Errorf("connected_permissions of an unrestricted key: got %v, want null", key.ConnectedPermissions)
	}
}
