package command

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
)

func TestLogStats(t *testing.T) {
	s := newServer(t)
	for range 3 {
		s.record(t, "key_aaaaaaaaaaaaaaaa", 200, "/v1/charges")
	}
	s.record(t, "key_bbbbbbbbbbbbbbbb", 403, "/v1/customers")
	out := s.run(t, "log", "stats")
	contains(t, "log stats", out, "4 requests from", "STATUS", "2xx", "75.0 %", "4xx", "25.0 %", "█", "4 stored", "0 lost", "EACH COLUMN 30m")
	lacks(t, "log stats", out, "\x1b")
	contains(t, "log stats --by key", s.run(t, "log", "stats", "--by", "key", "--since", "2h", "--bucket", "1h"), "KEY", "key_aaaaaaaaaaaaaaaa", "EACH COLUMN 1h")
	contains(t, "log stats of nothing", s.run(t, "log", "stats", "--status", "5xx"), "0 requests")
	var both struct {
		Histogram api.RequestLogHistogram
		Log       api.RequestLogStats
	}
	if err := json.Unmarshal([]byte(s.run(t, "log", "stats", "--json")), &both); err != nil || both.Histogram.Total != 4 || both.Log.Stored != 4 {
		t.Errorf("log stats --json: %+v, %v", both, err)
	}
	for _, args := range [][]string{{"--by", "owner"}, {"--bucket", "30s"}, {"--since", "soon"}} {
		if r := s.try(t, "", append([]string{"log", "stats"}, args...)...); r.code != 1 {
			t.Errorf("%v: exit code %d, want 1", args, r.code)
		}
	}
}

// TestLogStatsWithALimit: callers who may not see how the log does see their counts all the same.
func TestLogStatsWithALimit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/stats") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":{"code":"scope_insufficient","message":"no"}}`))
			return
		}
		_, _ = w.Write([]byte(`{"object":"request_log_histogram","since":"2026-11-24T12:00:00Z","until":"2026-11-25T12:00:00Z","bucket_seconds":3600,"by":"status",
			"total":2,"groups":[{"name":"2xx","total":2}],"buckets":[{"time":"2026-11-24T12:00:00Z","total":2,"counts":[2]},{"time":"2026-11-24T13:00:00Z","total":0,"counts":[0]}],
			"complete":false,"counted_from":"2026-11-25T00:00:00Z"}`))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	r := execute(t, "", "log", "stats", "--address", address)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	contains(t, "log stats", r.stdout, "2xx", "█.")
	lacks(t, "log stats", r.stdout, "stored")
	contains(t, "standard error", r.stderr, "2026-11-25T00:00:00Z")
	if r = execute(t, "", "log", "stats", "--json", "--address", address); !strings.HasSuffix(r.stdout, `"log":null}`+"\n") {
		t.Errorf("--json: %s", r.stdout)
	}
}

func TestBars(t *testing.T) {
	t.Parallel()
	if got, want := bars([]int64{0, 1, 500, 1000}, 1000), ".▁▄█"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := share(1, 100_000); got != "<0.1 %" {
		t.Errorf("a small share is %q", got)
	}
}

// TestLogTailGoesOn: a tail that connects again says what it has seen.
func TestLogTailGoesOn(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Last-Event-ID"))
		id := "req_" + strings.Repeat("0", 18) + string(rune('0'+len(seen)))
		at, _ := time.Now().MarshalText()
		_, _ = w.Write([]byte("event: request_log\nid: " + id + "\ndata: {\"id\":\"" + id + "\",\"time\":\"" + string(at) + "\"}\n\n"))
	}))
	defer server.Close()
	r := execute(t, "", "log", "tail", "--count", "3", "--address", strings.TrimPrefix(server.URL, "http://"))
	if r.code != 0 || len(seen) != 3 || seen[0] != "" || !strings.HasSuffix(seen[1], "1") || !strings.HasSuffix(seen[2], "2") {
		t.Errorf("exit code %d, last events %q\n%s", r.code, seen, r.stderr)
	}
}
