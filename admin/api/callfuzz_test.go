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
}

// FuzzCall makes any call with any id, query (and so any cursor) and body. No answer blames the server; every error is one sentence about the
// call, in the one shape; what was created reads back as it was answered; a page is no longer than was asked for.
func FuzzCall(f *testing.F) {
	handler, account, key := fuzzedAPI(f)
	for i, call := range fuzzedCalls {
		f.Add(uint8(i), key, "limit=2&starting_after="+key, []byte(`{"kind":"restricted","mode":"live","account":"`+account+`","name":"n","permissions":{"charges":"read"}}`))
		f.Add(uint8(i), account, "status=4xx&since=1h&by=key", []byte(`{"name":"x","rate_limit":{"live":1,"sandbox":null},"ip_ranges":"10.0.0.1 10.0.0.0/8"}`))
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
		target := strings.ReplaceAll(call.path, "{}", url.PathEscape(id))
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
	handler, err = api.New(api.Config{
		Store: store, Log: log, Node: "node-1", Catalog: func() *policy.Catalog { return catalog }, Rules: func(string) *policy.Rules { return rules },
		Caller: func(*http.Request) (*auth.Caller, error) { return auth.Root(actor), nil },
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
