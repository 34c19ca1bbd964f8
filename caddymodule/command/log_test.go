package command

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// record appends one request to the log of s and waits until it can be read.
func (s *server) record(t *testing.T, key string, status int, path string) string {
	t.Helper()
	r := s.log.NewRecord()
	r.ID = requestlog.NewID(time.Now())
	r.Time = time.Now()
	r.Duration = 1500 * time.Microsecond
	r.Method, r.Path, r.Target, r.Host = "GET", path, path, "api.example"
	r.Status, r.Decision = status, "allowed"
	if status >= 400 {
		r.Decision, r.ErrorMessage = "permission_denied", "no\x1b[31m"
	}
	r.Key, r.TokenMasked = key, "sk_live_****abcd"
	r.Client = netip.MustParseAddr("203.0.113.9")
	id := r.ID
	if !s.log.Append(r) {
		t.Fatal("the request log took no record")
	}
	if err := s.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLogListAndShow(t *testing.T) {
	s := newServer(t)
	first := s.record(t, "key_aaaaaaaaaaaaaaaa", 200, "/v1/charges")
	second := s.record(t, "key_bbbbbbbbbbbbbbbb", 403, "/v1/customers")
	all := s.run(t, "log", "list")
	contains(t, "log list", all, first, second, "GET /v1/charges", "203.0.113.9", "1.5")
	if strings.Index(all, second) > strings.Index(all, first) {
		t.Errorf("log list is not newest first:\n%s", all)
	}
	one := s.run(t, "log", "list", "--key", "key_aaaaaaaaaaaaaaaa", "--since", "1h")
	contains(t, "log list --key", one, first)
	lacks(t, "log list --key", one, second)
	lacks(t, "log list --status 4xx", s.run(t, "log", "list", "--status", "4xx"), first)
	contains(t, "log show", s.run(t, "log", "show", second), second, "permission_denied", "sk_live_****abcd", "403", "api.example")
	contains(t, "log list --json", s.run(t, "log", "list", "--json"), `"data":[{`, first)
	if r := s.try(t, "", "log", "list", "--status", "many"); r.code != 1 {
		t.Errorf("a bad status: exit code %d, want 1", r.code)
	}
	if r := s.try(t, "", "log", "show", "req_0000000000000000000"); r.code != 1 {
		t.Errorf("an unknown request: exit code %d, want 1", r.code)
	}
	if r := s.try(t, "", "log", "show", "gap_0000000000000000000"); r.code != 1 {
		t.Errorf("an unknown gap: exit code %d, want 1: the list shows such ids", r.code)
	}
	lacks(t, "log show", s.run(t, "log", "show", second), "\x1b")
}

// TestListCursor: a page of the request log may end between rows, even without any, and says where to go on.
func TestListCursor(t *testing.T) {
	answers := map[string]string{
		"":      `{"object":"list","data":[{"id":"req_1"}],"has_more":true,"next":"mid_1"}`,
		"mid_1": `{"object":"list","data":[],"has_more":true,"next":"mid_2"}`,
		"mid_2": `{"object":"list","data":[{"id":"req_2"}],"has_more":false,"next":null}`,
		"stuck": `{"object":"list","data":[],"has_more":true,"next":"stuck"}`,
		"lost":  `{"object":"list","data":[],"has_more":true}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(answers[r.URL.Query().Get("starting_after")]))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	r := execute(t, "", "log", "list", "--all", "--json", "--address", address)
	if want := `{"object":"list","data":[{"id":"req_1"},{"id":"req_2"}],"has_more":false}` + "\n"; r.code != 0 || r.stdout != want {
		t.Errorf("exit code %d and\n%swant\n%s%s", r.code, r.stdout, want, r.stderr)
	}
	for _, start := range []string{"stuck", "lost"} {
		if r = execute(t, "", "log", "list", "--all", "--json", "--starting-after", start, "--address", address); r.code != 1 {
			t.Errorf("from %s: exit code %d, want 1", start, r.code)
		}
	}
	answers[""] = `{"object":"list","data":[],"has_more":false}`
	r = execute(t, "", "key", "list", "--all", "--json", "--address", address)
	if want := `{"object":"list","data":[],"has_more":false}` + "\n"; r.stdout != want {
		t.Errorf("an empty list is %swant %s", r.stdout, want)
	}
}

// TestLogFilterNames: every filter flag is one that the log knows, and every filter of the log has a flag.
func TestLogFilterNames(t *testing.T) {
	t.Parallel()
	flags := make(map[string]bool)
	for _, filter := range logFilters {
		flags[strings.ReplaceAll(filter.name, "-", "_")] = true
	}
	for _, name := range requestlog.FilterNames() {
		if !flags[name] {
			t.Errorf("the filter %s has no flag", name)
		}
		delete(flags, name)
	}
	for name := range flags {
		t.Errorf("the flag of %s filters by a name that the log does not know", name)
	}
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s took too long", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestLogTail: records appear as they happen, filtered; the end of the context (a signal, in real life) ends it without
// an error.
func TestLogTail(t *testing.T) {
	s := newServer(t)
	var stdout, stderr buffer
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- executeTo(ctx, "", &stdout, &stderr, "log", "tail", "--status", "4xx", "--address", s.address)
	}()
	// The tail has begun when it prints; until then, requests go on.
	waitFor(t, "a record in the tail", func() bool {
		s.record(t, "key_aaaaaaaaaaaaaaaa", 200, "/v1/charges")
		s.record(t, "key_aaaaaaaaaaaaaaaa", 403, "/v1/customers")
		return strings.Contains(stdout.String(), "/v1/customers")
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the tail ended with %v", err)
	}
	contains(t, "the tail", stdout.String(), "403", "permission_denied", "203.0.113.9", "GET /v1/customers")
	lacks(t, "the tail", stdout.String(), "/v1/charges")
}

// TestLogTailReconnects: a stream that breaks is taken up again, as after a reload; --count ends it.
func TestLogTailReconnects(t *testing.T) {
	var streams atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		streams.Add(1)
		r := &requestlog.Record{ID: requestlog.NewID(time.Now()), Time: time.Now(), Method: "GET", Path: "/v1/charges", Status: 200, Decision: "allowed"}
		data, err := r.MarshalJSON()
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write([]byte(": tailing\n\nevent: request_log\ndata: " + string(data) + "\n\n"))
	}))
	defer server.Close()
	r := execute(t, "", "log", "tail", "--count", "3", "--json", "--address", strings.TrimPrefix(server.URL, "http://"))
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	if n := strings.Count(r.stdout, "\n"); n != 3 || streams.Load() != 3 {
		t.Errorf("%d records of %d streams, want 3 of 3", n, streams.Load())
	}
	contains(t, "standard error", r.stderr, "connecting again")
}

// TestLogTailRefused: an error of the API is no reason to try again.
func TestLogTailRefused(t *testing.T) {
	s := newServer(t)
	r := s.try(t, "", "log", "tail", "--status", "many")
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	contains(t, "standard error", r.stderr, "status")
}
