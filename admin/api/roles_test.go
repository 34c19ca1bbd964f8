package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// world is one organization with a member account and what is theirs. Two of them share a store: what a caller who is
// limited to one may do in the other is nothing.
type world struct {
	organization, account, other string // other is a second member account
	key, sandbox, token, record  string
	event                        string // that key was made
	secret                       string // the token of key
	member                       string // with one grant, on account
	webhook                      string // only for calls about webhooks: there can be few of them
}

// roleFixture is the API as a keystile_admin site mounts it, with two worlds.
type roleFixture struct {
	*fixture
	ours, theirs world
}

func newRoleFixture(t *testing.T) *roleFixture {
	t.Helper()
	f := &roleFixture{}
	var tokens auth.Tokens
	f.fixture = newFixture(t, func(c *api.Config) {
		tokens = auth.Tokens{Store: c.Store, Now: c.Now}
		local := c.Caller
		c.Tokens = true
		c.Caller = func(r *http.Request) (*auth.Caller, error) {
			if r.Header.Get("Authorization") == "" {
				return local(r)
			}
			return tokens.Caller(r, netip.MustParseAddr("192.0.2.9"))
		}
	})
	return f
}

// world makes one, by the store itself: the table needs a thousand of them.
func (f *roleFixture) world(name string) world {
	f.t.Helper()
	ctx, by := f.t.Context(), keystore.Actor{Kind: "system"}
	check := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	organization, err := f.store.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: name})
	check(err)
	w := world{organization: organization.ID}
	for _, id := range []*string{&w.account, &w.other} {
		account, _, err := f.store.CreateAccount(ctx, by, keystore.AccountParams{Name: name, Organization: w.organization})
		check(err)
		*id = account.ID
	}
	k, token, err := f.store.CreateKey(ctx, by, keystore.KeyParams{Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: w.account, Name: name})
	check(err)
	w.key, w.secret = k.ID, token.Reveal()
	trail, err := f.store.Events(ctx, &keystore.EventFilter{Type: "key.created"}, keystore.Page{Limit: 1})
	check(err)
	w.event = trail.Events[0].ID
	sandbox, _, err := f.store.CreateSandbox(ctx, by, w.account, "staging")
	check(err)
	w.sandbox = sandbox.ID
	made, _, err := f.store.CreateAdminToken(ctx, by, keystore.AdminTokenParams{Name: name, Role: keystore.RoleViewer, Account: w.account})
	check(err)
	w.token = made.ID
	member, _, err := f.store.InviteMember(ctx, by, keystore.MemberParams{
		Name: name, Email: strings.ToLower(w.account) + "@example.com", Grants: []keystore.Grant{{Role: keystore.RoleViewer, Account: w.account}},
	}, time.Hour)
	check(err)
	w.member = member.ID
	w.record = f.record(func(r *requestlog.Record) { r.Account, r.Owner, r.Key = w.account, w.account, w.key })
	return w
}

// bearer makes a token and answers it as a header. Each call gets a fresh one, so that no test spoils another's.
func (f *roleFixture) bearer(role keystore.Role, organization, account string) string {
	f.t.Helper()
	_, token, err := f.store.CreateAdminToken(f.t.Context(), keystore.Actor{Kind: "system"}, keystore.AdminTokenParams{
		Name: string(role), Role: role, Organization: organization, Account: account,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.secret(token.Reveal())
	return "Bearer " + token.Reveal()
}

// expectation is what this test knows of an operation, apart from the table that it checks: the weakest role, which limits
// may make the call at all, and a call that succeeds in a world.
type expectation struct {
	role   keystore.Role
	org    bool // a caller who is limited to the organization may make it
	acct   bool // one who is limited to the account may
	list   bool // foreign objects are left out of the answer instead of being refused
	global bool // names nothing of a world: the answer is the same for all
	call   func(w world) (method, target string, body any)
}

func get(target func(world) string) func(world) (string, string, any) {
	return func(w world) (string, string, any) { return "GET", target(w), nil }
}

func fixed(target string) func(world) (string, string, any) {
	return func(world) (string, string, any) { return "GET", target, nil }
}

// soon is a time within seven days of the fixture's clock.
var soon = time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)

var expectations = map[string]expectation{
	"list_organizations": {role: "viewer", org: true, acct: true, list: true, call: fixed("/v1/organizations?limit=100")},
	"create_organization": {role: "administrator", global: true, call: func(world) (string, string, any) {
		return "POST", "/v1/organizations", map[string]any{"name": "new"}
	}},
	"get_organization": {role: "viewer", org: true, call: get(func(w world) string { return "/v1/organizations/" + w.organization })},
	"update_organization": {role: "administrator", org: true, call: func(w world) (string, string, any) {
		return "PATCH", "/v1/organizations/" + w.organization, map[string]any{"name": "renamed"}
	}},
	"list_accounts": {role: "viewer", org: true, acct: true, list: true, call: fixed("/v1/accounts?limit=100")},
	"create_account": {role: "administrator", org: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/accounts", map[string]any{"name": "new", "organization": w.organization}
	}},
	"get_account": {role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/accounts/" + w.account })},
	"update_account": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "PATCH", "/v1/accounts/" + w.account, map[string]any{"name": "renamed"}
	}},
	"connect_account": {role: "administrator", org: true, call: func(w world) (string, string, any) {
		return "PUT", "/v1/accounts/" + w.account + "/connections/" + w.other, nil
	}},
	"disconnect_account": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "DELETE", "/v1/accounts/" + w.account + "/connections/" + w.other, nil
	}},
	"list_sandboxes": {role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/accounts/" + w.account + "/sandboxes" })},
	"create_sandbox": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/accounts/" + w.account + "/sandboxes", map[string]any{"name": "new"}
	}},
	"delete_sandbox": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "DELETE", "/v1/accounts/" + w.account + "/sandboxes/" + w.sandbox, nil
	}},
	"list_keys": {role: "viewer", org: true, acct: true, list: true, call: fixed("/v1/keys?limit=100")},
	"create_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys", map[string]any{"kind": "secret", "mode": "live", "account": w.account}
	}},
	"import_keys": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys/import", map[string]any{"keys": []any{
			map[string]any{"kind": "secret", "mode": "live", "account": w.account, "sha256": strings.Repeat("ab", 32)},
		}}
	}},
	"get_key": {role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/keys/" + w.key })},
	"update_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "PATCH", "/v1/keys/" + w.key, map[string]any{"note": "x"}
	}},
	"delete_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) { return "DELETE", "/v1/keys/" + w.key, nil }},
	"reveal_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys/" + w.key + "/reveal", nil
	}},
	"rotate_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys/" + w.key + "/rotate", map[string]any{"expires_at": soon}
	}},
	"duplicate_key": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys/" + w.key + "/duplicate", nil
	}},
	"get_key_usage": {role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/keys/" + w.key + "/usage" })},
	"schedule_key_rotation": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "PUT", "/v1/keys/" + w.key + "/rotation_schedule", map[string]any{"at": soon}
	}},
	"unschedule_key_rotation": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "DELETE", "/v1/keys/" + w.key + "/rotation_schedule", nil
	}},
	"end_key_rotation": {role: "developer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/keys/" + w.key + "/rotation/end", nil
	}},
	"list_resources": {role: "viewer", org: true, acct: true, global: true, call: fixed("/v1/resources")},
	"explain": {role: "viewer", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/explain", map[string]any{"key": w.key, "method": "GET", "path": "/v1/charges"}
	}},
	"list_request_logs": {role: "viewer", org: true, acct: true, list: true, call: fixed("/v1/request_logs?limit=100")},
	"get_request_log":   {role: "viewer", org: true, acct: true, call: get(func(w world) string { return "/v1/request_logs/" + w.record })},
	"tail_request_logs": {role: "viewer", org: true, acct: true, global: true, call: func(world) (string, string, any) { return "HEAD", "/v1/request_logs/tail", nil }},
	"list_admin_tokens": {role: "administrator", org: true, acct: true, list: true, call: fixed("/v1/admin_tokens?limit=100")},
	"create_admin_token": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/admin_tokens", map[string]any{"name": "x", "role": "viewer", "account": w.account}
	}},
	"get_admin_token": {role: "administrator", org: true, acct: true, call: get(func(w world) string { return "/v1/admin_tokens/" + w.token })},
	"delete_admin_token": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "DELETE", "/v1/admin_tokens/" + w.token, nil
	}},
	"list_webhook_endpoints": {role: "administrator", org: true, acct: true, list: true, call: fixed("/v1/webhook_endpoints?limit=100")},
	"create_webhook_endpoint": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/webhook_endpoints", map[string]any{"url": "https://example.com/", "events": []string{"*"}, "account": w.account}
	}},
	"get_webhook_endpoint": {role: "administrator", org: true, acct: true, call: get(func(w world) string { return "/v1/webhook_endpoints/" + w.webhook })},
	"delete_webhook_endpoint": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "DELETE", "/v1/webhook_endpoints/" + w.webhook, nil
	}},
	"update_webhook_endpoint": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "PATCH", "/v1/webhook_endpoints/" + w.webhook, map[string]any{"description": "x"}
	}},
	"rotate_webhook_secret": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/webhook_endpoints/" + w.webhook + "/rotate_secret", map[string]any{"expires_at": soon.Add(-24 * time.Hour)}
	}},
	"resend_webhook_event": {role: "administrator", org: true, acct: true, call: func(w world) (string, string, any) {
		return "POST", "/v1/webhook_endpoints/" + w.webhook + "/resend", map[string]any{"event": w.event}
	}},
	"list_webhook_deliveries": {role: "administrator", org: true, acct: true, call: get(func(w world) string {
		return "/v1/webhook_endpoints/" + w.webhook + "/deliveries"
	})},
	"get_openapi": {global: true, org: true, acct: true, call: fixed("/v1/openapi.json")},
	"get_docs":    {global: true, org: true, acct: true, call: fixed("/v1/docs")},
	"get_key_set": {global: true, org: true, acct: true, call: fixed(api.KeySetPath)},
}

// shownToken is any token in an answer, publishable ones included. A mask is none.
var shownToken = regexp.MustCompile(`[spr]k_(org_)?(live|test)_[0-9A-Za-z]|"token":`)

// TestRolesByRoute makes every call of the document with every role and every limit, in the caller's own world and in
// another one. A call of the document that this test does not know fails it.
func TestRolesByRoute(t *testing.T) {
	t.Parallel()
	f := newRoleFixture(t)
	var operations []string
	for _, item := range f.spec.Paths.Map() {
		for _, o := range item.Operations() {
			operations = append(operations, o.OperationID)
			public := slices.Contains([]string{"get_openapi", "get_docs", "get_key_set"}, o.OperationID)
			if secured := o.Security != nil && len(*o.Security) == 1; secured == public {
				t.Errorf("%s: the document says that it needs a token: %v", o.OperationID, secured)
			}
		}
	}
	slices.Sort(operations)
	for _, id := range operations {
		t.Run(id, func(t *testing.T) {
			want, known := expectations[id]
			rule, listed := auth.RuleOf(id)
			if !known || !listed {
				if known != listed || rule.Reach != auth.Everything {
					t.Fatalf("known to this test: %v, in the table: %v: say in both who may make the call", known, listed)
				}
				t.Fatalf("neither this test nor the table of package auth knows the call: say who may make it")
			}
			for _, role := range []keystore.Role{"viewer", "developer", "administrator", "owner"} {
				for _, limit := range []string{"none", "organization", "account"} {
					f.checkRole(t, id, &want, role, limit)
				}
			}
		})
	}
}

func (f *roleFixture) checkRole(t *testing.T, id string, want *expectation, role keystore.Role, limit string) {
	t.Helper()
	f.t = t
	f.ours, f.theirs = f.world("ours"), f.world("theirs")
	if strings.Contains(id, "webhook") {
		defer f.webhooks(&f.ours, &f.theirs)()
	}
	allowed := want.role == "" || role.Includes(want.role)
	organization, account := "", ""
	switch limit {
	case "organization":
		organization, allowed = f.ours.organization, allowed && want.org
	case "account":
		account, allowed = f.ours.account, allowed && want.acct
	}
	bearer := f.bearer(role, organization, account)

	// first the foreign world: nothing may change there
	method, target, body := want.call(f.theirs)
	before := f.events()
	foreign := f.raw(method, target, body, bearer)
	who := id + " by " + string(role) + ", limit " + limit
	switch {
	case limit == "none" || want.global || want.list && allowed:
		f.judge(who+", in the other world", foreign, allowed)
	default:
		if foreign.Code != 403 && foreign.Code != 404 {
			t.Errorf("%s, in the other world: %d %s", who, foreign.Code, foreign.Body)
		}
		if allowed {
			// the same answer as for what is not there
			absent := f.theirs
			for _, field := range []*string{&absent.organization, &absent.account, &absent.other, &absent.key, &absent.token, &absent.record, &absent.event, &absent.member, &absent.webhook} {
				if *field == "" {
					continue
				}
				*field = (*field)[:len(*field)-4] + "zzzz"
			}
			method, target, body := want.call(absent)
			if nothing := f.raw(method, target, body, bearer); nothing.Code != foreign.Code || code(nothing) != code(foreign) {
				t.Errorf("%s: foreign %d %s, absent %d %s", who, foreign.Code, code(foreign), nothing.Code, code(nothing))
			}
		}
		if after := f.events(); after != before {
			t.Errorf("%s: changed the other world", who)
		}
	}
	if limit != "none" {
		for _, secret := range []string{f.theirs.organization, f.theirs.account, f.theirs.key, f.theirs.sandbox, f.theirs.token, f.theirs.member, f.theirs.webhook} {
			if secret != "" && foreign.Code < 300 && strings.Contains(foreign.Body.String(), secret) {
				t.Errorf("%s: the answer has the other world's %s", who, secret)
			}
		}
	}

	// then their own
	before = f.events()
	method, target, body = want.call(f.ours)
	own := f.raw(method, target, body, bearer)
	f.judge(who, own, allowed)
	if !allowed && f.events() != before {
		t.Errorf("%s: refused, and changed something", who)
	}
	if role == keystore.RoleViewer && shownToken.MatchString(own.Body.String()) && !want.global {
		t.Errorf("%s: a viewer is shown a token: %s", who, own.Body)
	}
}

// judge checks that a call was let in or refused. What is let in may still fail for the state of what it is about: then
// with 409, or with the 404 of a schedule or a connection that is not there.
func (f *roleFixture) judge(who string, w *httptest.ResponseRecorder, allowed bool) {
	f.t.Helper()
	in := w.Code < 300 || w.Code == 409 || w.Code == 404 && strings.HasPrefix(who, "disconnect_account") || w.Code == 404 && strings.HasPrefix(who, "unschedule")
	refused := w.Code == 403 && (code(w) == auth.CodeRole || code(w) == auth.CodeLimit) || w.Code == 404 && code(w) == "resource_missing"
	if allowed && !in || !allowed && !refused {
		f.t.Errorf("%s: %d %s, want allowed: %v", who, w.Code, w.Body, allowed)
	}
}

// raw makes a call without the fixture's own checks of it.
func (f *roleFixture) raw(method, target string, body any, bearer string) *httptest.ResponseRecorder {
	f.t.Helper()
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(data)
	}
	r := httptest.NewRequest(method, target, strings.NewReader(text))
	r.Header.Set("Authorization", bearer)
	if text != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(target, "/v1/key_imports") {
		r.Header.Set("Content-Type", "application/x-ndjson")
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

// events counts the changes that the store has seen.
func (f *roleFixture) events() uint64 { return f.store.Snapshot().Revision() }

func code(w *httptest.ResponseRecorder) string {
	var body api.ErrorBody
	_ = json.Unmarshal(w.Body.Bytes(), &body)
	return body.Error.Code
}
