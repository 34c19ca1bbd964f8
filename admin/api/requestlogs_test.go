package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

type recordList struct {
	Data    []map[string]any `json:"data"`
	HasMore bool             `json:"has_more"`
	Next    *string          `json:"next"`
}

func (l recordList) ids() []string {
	var out []string
	for _, r := range l.Data {
		id, _ := r["id"].(string)
		out = append(out, id)
	}
	return out
}

func TestRequestLogs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.record(func(r *requestlog.Record) { r.Key, r.Account, r.Mode = "key_a", "acct_a", "live" })
	f.advance(time.Second)
	b := f.record(func(r *requestlog.Record) {
		r.Key, r.Status, r.Decision, r.ErrorCode = "key_a", 403, "permission_denied", "permission_denied"
	})
	f.advance(time.Second)
	c := f.record(func(r *requestlog.Record) {
		r.Key, r.Mode, r.Client, r.Path = "key_b", "sandbox", netip.MustParseAddr("198.51.100.1"), "/v1/customers"
	})
	for query, want := range map[string][]string{
		"":                             {c, b, a},
		"key=key_a":                    {b, a},
		"key=key_a&status=4xx":         {b},
		"status=403":                   {b},
		"mode=sandbox":                 {c},
		"decision=allowed":             {c, a},
		"path=/v1/cust":                {c},
		"client_address=198.51.0.0/16": {c},
		"request_id=" + a:              {a},
		"since=2026-03-01T12:00:01Z":   {c, b},
		"until=2026-03-01T12:00:01Z":   {a},
		"account=acct_a":               {a},
	} {
		got := as[recordList](f.ok("GET", "/v1/request_logs?"+query, nil)).ids()
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	first := as[recordList](f.ok("GET", "/v1/request_logs?limit=2", nil))
	if !slices.Equal(first.ids(), []string{c, b}) || !first.HasMore || first.Next == nil {
		t.Fatalf("first page = %+v", first)
	}
	for _, cursor := range []string{b, *first.Next} {
		rest := as[recordList](f.ok("GET", "/v1/request_logs?limit=2&starting_after="+cursor, nil))
		if !slices.Equal(rest.ids(), []string{a}) || rest.HasMore {
			t.Errorf("page after %s = %+v", cursor, rest)
		}
	}
	f.ok("GET", "/v1/request_logs/"+b, nil).has("id", fmt.Sprintf("%q", b), "status", "403", "decision", `"permission_denied"`, "key", `"key_a"`)
	f.do("GET", "/v1/request_logs/req_nothing", nil).fails(404, "resource_missing", "")
	f.do("GET", "/v1/request_logs?keys=x", nil).fails(400, "parameter_unknown", "keys")
	f.do("GET", "/v1/request_logs?status=9", nil).fails(400, "parameter_invalid", "status")
	f.do("GET", "/v1/request_logs?key=", nil).fails(400, "parameter_invalid", "key")
	f.do("GET", "/v1/request_logs?starting_after=junk", nil).fails(400, "parameter_invalid", "starting_after")
	f.do("GET", "/v1/request_logs/tail?limit=3", nil).fails(400, "parameter_unknown", "limit")
	f.do("GET", "/v1/request_logs/tail?status=9", nil).fails(400, "parameter_invalid", "status")
	f.ok("HEAD", "/v1/request_logs/tail", nil)
}

// TestTokensInURLsAreRefused: by a sentence that does not repeat them, whether as a filter, a cursor or an id, and however
// they are encoded; masks may be searched for.
func TestTokensInURLsAreRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body = "0123456789abcdefghijABCDEFGHIJ01234567"
	f.secret(body) // no answer may hold it
	for _, token := range []string{"sk_live_" + body, "rk%5ftest%5f" + body, "pk%255flive%255f" + body, "SK_ORG_LIVE_" + body, "adm_" + body, "x-sk_live_" + body} {
		for target, param := range map[string]string{
			"/v1/keys/":                                 "id",
			"/v1/accounts/":                             "id",
			"/v1/request_logs/":                         "id",
			"/v1/keys?starting_after=":                  "starting_after",
			"/v1/keys?account=":                         "account",
			"/v1/request_logs?key=":                     "key",
			"/v1/request_logs?path=/v1/customers/":      "path",
			"/v1/request_logs?starting_after=":          "starting_after",
			"/v1/request_logs/tail?idempotency_key=":    "idempotency_key",
			"/v1/request_logs?limit=1&request_id=":      "request_id",
			"/v1/request_logs?status=4xx&error_code=x-": "error_code",
		} {
			if e := f.do("GET", target+token, nil).fails(400, "parameter_invalid", param); !strings.Contains(e.Message, "looks like a token") {
				t.Errorf("%s: message %q", target, e.Message)
			}
		}
		f.do("POST", "/v1/keys/"+token+"/rotate", map[string]any{}).fails(400, "parameter_invalid", "id")
		f.do("DELETE", "/v1/keys/"+token, nil).fails(400, "parameter_invalid", "id")
	}
	for _, path := range []string{"/v1/customers/sk_live_****YZ12", "/v1/customers/sk_live_*", "/v1/task_live_feed"} {
		f.ok("GET", "/v1/request_logs?path="+path, nil)
	}
	f.do("GET", "/v1/keys/adm_3Jd8sVwQ0xTnB6Lm", nil).fails(404, "resource_missing", "")
}

// TestTail follows the log over a real connection.
func TestTail(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/request_logs/tail?key=key_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("%d %s", res.StatusCode, got)
	}
	if res.Header.Get("Request-Id") == "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() || lines.Text() != ": tailing" {
		t.Fatalf("first line %q", lines.Text())
	}
	f.record(func(r *requestlog.Record) { r.Key = "key_b" })
	want := f.record(func(r *requestlog.Record) { r.Key = "key_a" })
	var got []string
	for lines.Scan() {
		if lines.Text() == "" && len(got) > 0 {
			break
		}
		if lines.Text() != "" {
			got = append(got, lines.Text())
		}
	}
	if len(got) != 3 || got[0] != "event: request_log" || got[1] != "id: "+want {
		t.Fatalf("event = %q", got)
	}
	var record map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got[2], "data: ")), &record); err != nil || record["key"] != "key_a" {
		t.Errorf("data %q: %v", got[2], err)
	}

	// The end of the log ends the stream, with a word.
	if err := f.log.Close(); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for lines.Scan() {
		rest = append(rest, lines.Text())
	}
	if text := strings.Join(rest, "\n"); !strings.Contains(text, "event: error") || !strings.Contains(text, "tail_unavailable") {
		t.Errorf("the stream ended with %q", text)
	}
}
