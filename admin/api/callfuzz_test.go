package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// fuzzedCalls are calls of the API by their shape: {} stands for an id.
var fuzzedCalls = []struct{ method, path string }{
	{"POST", "/v1/keys"}, {"PATCH", "/v1/keys/{}"}, {"POST", "/v1/keys/{}/rotate"}, {"POST", "/v1/keys/{}/duplicate"}, {"PUT", "/v1/keys/{}/rotation_schedule"},
	{"POST", "/v1/keys/import"}, {"POST", "/v1/accounts"}, {"PATCH", "/v1/accounts/{}"}, {"POST", "/v1/organizations"}, {"POST", "/v1/accounts/{}/sandboxes"},
	{"POST", "/v1/explain"}, {"POST", "/v1/admin_tokens"}, {"POST", "/v1/webhook_endpoints"}, {"PATCH", "/v1/webhook_endpoints/{}"}, {"POST", "/v1/members"},
	{"GET", "/v1/keys"}, {"GET", "/v1/accounts"}, {"GET", "/v1/organizations"}, {"GET", "/v1/events"}, {"GET", "/v1/request_logs"}, {"GET", "/v1/request_logs/{}"},
	{"GET", "/v1/request_logs/histogram"}, {"GET", "/v1/request_logs/export"}, {"GET", "/v1/keys/{}/usage"}, {"GET", "/v1/admin_tokens"}, {"GET", "/v1/members"},
	{"GET", "/v1/webhook_endpoints"}, {"GET", "/v1/keys/{}"}, {"GET", "/v1/events/{}"}, {"GET", "/v1/events/verify"}, {"DELETE", "/v1/keys/{}"}, {"GET", "/v1/resources"},
	{"POST", "/v1/keys/{}/rotation/end"}, {"POST", "/v1/keys/{}/reveal"}, {"DELETE", "/v1/keys/{}/rotation_schedule"}, {"POST", "/v1/key_imports"},
	{"PUT", "/v1/accounts/{other}/connections/{}"}, {"DELETE", "/v1/accounts/{other}/connections/{}"}, {"DELETE", "/v1/accounts/{other}/sandboxes/{}"},
	{"PATCH", "/v1/organizations/{}"}, {"DELETE", "/v1/admin_tokens/{}"}, {"PATCH", "/v1/members/{}"}, {"POST", "/v1/members/{}/invitation"},
	{"POST", "/v1/webhook_endpoints/{}/rotate_secret"}, {"POST", "/v1/webhook_endpoints/{}/resend"}, {"GET", "/v1/webhook_endpoints/{}/deliveries"},
	{"GET", "/v1/master_key"}, {"POST", "/v1/master_key/add"}, {"POST", "/v1/master_key/reload"}, {"POST", "/v1/master_key/promote"}, {"POST", "/v1/master_key/prune"},
	{"POST", "/v1/master_key/rotate"},
	// By nobody:
	{"POST", "/v1/session"}, {"POST", "/v1/invitations/accept"},
	// By a signed-in member:
	{"POST", "/v1/verifications"}, {"POST", "/v1/session/password"}, {"POST", "/v1/session/totp"}, {"POST", "/v1/session/totp/confirm"},
	{"POST", "/v1/session/totp/remove"}, {"POST", "/v1/session/recovery_codes"}, {"GET", "/v1/session"}, {"DELETE", "/v1/sessions/{}"},
}

// FuzzCall makes any call with any id, query (and so any cursor) and body. No answer blames the server; every error is one sentence about the
// call, in the one shape; what was created reads back as it was answered; a page is no longer than was asked for.
func FuzzCall(f *testing.F) {
	handler, account, key := fuzzedAPI(f)
	other := fuzzedAccount(f, handler)
	for i, call := range fuzzedCalls {
		f.Add(uint8(i), key, "limit=2&starting_after="+key, []byte(`{"kind":"restricted","mode":"live","account":"`+account+`","name":"n","permissions":{"charges":"read"}}`))
		f.Add(uint8(i), account, "status=4xx&since=1h&by=key", []byte(`{"name":"x","rate_limit":{"live":1,"sandbox":null},"ip_ranges":"10.0.0.1 10.0.0.0/8"}`))
		for path, body := range map[string]string{
			"/v1/session":                     `{"email":"jenny@example.com","password":"wrong password","code":"123456"}`,
			"/v1/invitations/accept":          `{"invitation":"inv_x","name":"Jenny","email":"jenny@example.com","password":"correct horse battery"}`,
			"/v1/verifications":               `{"operation":"create_key","object_id":"` + key + `","body":{"a":[{"b":null}]},"method":"totp"}`,
			"/v1/session/password":            `{"current_password":"wrong password","password":"correct horse battery"}`,
			"/v1/session/totp":                `{"current_password":"wrong password"}`,
			"/v1/session/totp/confirm":        `{"code":"123456"}`,
			"/v1/session/totp/remove":         `{"current_password":"wrong password","recovery_code":"x"}`,
			"/v1/session/recovery_codes":      `{"code":"123456"}`,
			"/v1/keys/{}/rotation/end":        `{"force":true}`,
			"/v1/master_key/add":              `{}`,
			"/v1/master_key/prune":            `{"ids":[1]}`,
			"/v1/organizations/{}":            `{"name":"x"}`,
			"/v1/members/{}":                  `{"grants":[{"role":"viewer","account":"` + account + `"}],"email_unproven":true}`,
			"/v1/webhook_endpoints/{}/resend": `{"event":"evt_x"}`,
		} {
			if call.path == path {
				f.Add(uint8(i), key, "", []byte(body))
			}
		}
		if strings.HasSuffix(call.path, "/connections/{}") {
			f.Add(uint8(i), account, "", []byte(nil))
		}
		if strings.Contains(call.path, "import") {
			f.Add(uint8(i), "", "", []byte(`{"keys":[{"token":"legacy-1","kind":"secret","mode":"live","account":"`+account+`"}]}`))
		}
	}
	f.Add(uint8(4), key, "", []byte(`{"every_days":90,"overlap":"24h"}`))
	f.Add(uint8(10), "", "", []byte(`{"key":"`+key+`","method":"GET","path":"/v1/charges/../x","client_address":"::1"}`))
	f.Add(uint8(15), "", "limit=-1&starting_after=\x00&mode=live&mode=live&%zz", []byte(nil))
	f.Add(uint8(12), "", "", []byte(`{"url":"https://127.0.0.1/","events":["*"]}`))
	f.Fuzz(func(t *testing.T, which uint8, id, query string, body []byte) {
		call := fuzzedCalls[int(which)%len(fuzzedCalls)]
		target := strings.ReplaceAll(strings.ReplaceAll(call.path, "{other}", other), "{}", url.PathEscape(id))
		got := fuzzedDo(t, handler, call.method, target, query, body)
		if got == nil {
			return
		}
		if got.Code >= 500 {
			t.Fatalf("%s %s?%s %s: %d %s", call.method, target, query, body, got.Code, got.Body)
		}
		if got.Code >= 400 {
			checkFuzzedError(t, got)
			return
		}
		var answer map[string]any
		if strings.HasSuffix(call.path, "/export") {
			return
		}
		if err := json.Unmarshal(got.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%s %s: %v: %s", call.method, target, err, got.Body)
		}
		if rows, ok := answer["data"].([]any); ok && call.method == http.MethodGet {
			if asked, err := url.ParseQuery(query); err == nil && asked.Get("limit") == "2" && len(rows) > 2 {
				t.Fatalf("%s?%s answers %d rows", target, query, len(rows))
			}
		}
		if call.path == "/v1/keys" && call.method == http.MethodPost {
			checkReadsBack(t, handler, "/v1/keys/", answer)
		}
		if call.path == "/v1/accounts" && call.method == http.MethodPost {
			checkReadsBack(t, handler, "/v1/accounts/", answer)
		}
	})
}

// fuzzedAPI is the API with one account, in the hands of the machine's root.
func fuzzedAPI(f *testing.F) (handler http.Handler, account, key string) {
	f.Helper()
	store := keystoretest.NewStore(f, keystore.Options{})
	log, err := requestlog.Open(requestlog.Options{Dir: f.TempDir(), Node: "node-1", FlushInterval: time.Millisecond})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = log.Close() })
	catalog, err := policy.NewCatalog(testRules, nil)
	if err != nil {
		f.Fatal(err)
	}
	store.SetResources(catalog.Has)
	rules := &policy.Rules{Catalog: catalog, Live: true, Sandbox: true}
	actor := keystore.Actor{Kind: "local", Name: "admin endpoint"}
	sessions, err := auth.NewSessions(store, time.Now, zap.NewNop())
	if err != nil {
		f.Fatal(err)
	}
	member := fuzzedMember(f, store, actor)
	handler, err = api.New(api.Config{
		Store: store, Log: log, Node: "node-1", Catalog: func() *policy.Catalog { return catalog }, Rules: func(string) *policy.Rules { return rules },
		Sessions: sessions, Verifier: auth.NewVerifier(sessions, new(codeBox)), SiteURL: func() string { return "https://keys.example.com" },
		Caller: func(r *http.Request) (*auth.Caller, error) {
			if !strings.HasPrefix(r.URL.Path, "/v1/session") && r.URL.Path != "/v1/verifications" {
				return auth.Root(actor), nil
			}
			s := r.Clone(r.Context())
			s.Header.Set("Cookie", member)
			return sessions.Caller(s)
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	made, keys, err := store.CreateAccount(f.Context(), actor, keystore.AccountParams{Name: "fuzzed"})
	if err != nil {
		f.Fatal(err)
	}
	log.Append(&requestlog.Record{ID: requestlog.NewID(time.Now()), Time: time.Now(), Method: "GET", Path: "/v1/charges", Status: 403, Decision: "permission_denied", Key: keys[0].ID})
	return handler, made.ID, keys[0].ID
}

// fuzzedMember makes a member who has signed in, and answers the cookie.
func fuzzedMember(f *testing.F, store *keystore.Store, actor keystore.Actor) string {
	f.Helper()
	m, _, err := store.InviteMember(f.Context(), actor, keystore.MemberParams{Email: "jenny@example.com", Grants: []keystore.Grant{{Role: keystore.RoleOwner}}}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	if m, err = store.ActivateMember(f.Context(), actor, m.ID, m.Email, "Jenny"); err != nil {
		f.Fatal(err)
	}
	_, token, err := store.CreateSession(f.Context(), actor, keystore.SessionParams{Member: m.ID, Method: keystore.SignInOIDC, Lifetime: auth.SessionLifetime})
	if err != nil {
		f.Fatal(err)
	}
	return "keystile_session=" + token.Reveal()
}

// fuzzedAccount makes one more account, for what names two.
func fuzzedAccount(f *testing.F, handler http.Handler) string {
	f.Helper()
	r := httptest.NewRequest("POST", "/v1/accounts", strings.NewReader(`{"name":"other"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	var made struct{ ID string }
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || made.ID == "" {
		f.Fatalf("%d %s", w.Code, w.Body)
	}
	return made.ID
}

// fuzzedDo makes a call; nil if it is one that no server would hand on.
func fuzzedDo(t *testing.T, handler http.Handler, method, path, query string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	target := path
	if query != "" {
		target += "?" + query
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	r := httptest.NewRequest(method, "/", bytes.NewReader(body))
	r.URL, r.RequestURI = u, target
	r.Header.Set("Content-Type", "application/json")
	if path == "/v1/key_imports" {
		r.Header.Set("Content-Type", []string{"application/x-ndjson", "text/csv"}[len(body)%2])
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func checkFuzzedError(t *testing.T, got *httptest.ResponseRecorder) {
	t.Helper()
	var body struct {
		Error struct {
			Type, Code, Message string
			RequestID           string `json:"request_id"`
		} `json:"error"`
	}
	if err := json.Unmarshal(got.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %s: %v", got.Code, got.Body, err)
	}
	e := body.Error
	if e.Type == "" || e.Code == "" || e.Message == "" || e.RequestID == "" || e.RequestID != got.Header().Get("Request-Id") {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if len(e.Message) > 8192 {
		t.Fatalf("a message of %d bytes: %.200s", len(e.Message), e.Message)
	}
}

// checkReadsBack gets what was created, and wants what was answered then, the token aside.
func checkReadsBack(t *testing.T, handler http.Handler, path string, made map[string]any) {
	t.Helper()
	id, _ := made["id"].(string)
	got := fuzzedDo(t, handler, "GET", path+id, "", nil)
	var again map[string]any
	if err := json.Unmarshal(got.Body.Bytes(), &again); err != nil || got.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", id, got.Code, got.Body)
	}
	delete(made, "token")
	delete(again, "token")
	delete(made, "notice")
	for name, value := range again {
		if !reflect.DeepEqual(made[name], value) {
			t.Fatalf("%s: %s is %v, and was answered as %v", id, name, value, made[name])
		}
	}
}
