package otlp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otellog "go.opentelemetry.io/otel/log"
	collogpb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/keystile/keystile/requestlog"
)

func typical(n int) *requestlog.Record {
	return &requestlog.Record{
		ID: requestlog.NewID(time.Now()), Time: time.Now(), Duration: 3 * time.Millisecond, Upstream: 2 * time.Millisecond,
		Method: "POST", Path: fmt.Sprintf("/v1/charges/%d", n), Target: "/v1/charges?limit=***", Query: "limit=", Host: "api.example.com:8443",
		Status: 402, Decision: "allowed", Key: "key_1", Mode: "live", Client: netip.MustParseAddr("203.0.113.7"), UserAgent: "curl/8",
		TLS: "1.3", Protocol: "HTTP/2.0", ErrorCode: "card_declined", SuccessorUsed: true, BytesIn: 7,
	}
}

func TestLogRecord(t *testing.T) {
	t.Parallel()
	r := typical(1)
	got := logRecord(r, time.Now())
	if !got.Timestamp().Equal(r.Time) || got.Severity() != otellog.SeverityWarn || got.EventName() != "keystile.request" || got.Body().AsString() != "POST /v1/charges/1 402" {
		t.Errorf("got %v %v %s %v", got.Timestamp(), got.Severity(), got.EventName(), got.Body())
	}
	have := make(map[string]any)
	got.WalkAttributes(func(kv attribute.KeyValue) bool {
		if _, twice := have[string(kv.Key)]; twice {
			t.Errorf("%s comes twice", kv.Key)
		}
		have[string(kv.Key)] = kv.Value.AsInterface()
		return true
	})
	for key, want := range map[string]any{
		"http.request.method": "POST", "http.response.status_code": int64(402), "url.path": "/v1/charges/1", "url.query": "limit=", "url.scheme": "https",
		"server.address": "api.example.com", "server.port": int64(8443), "client.address": "203.0.113.7", "user_agent.original": "curl/8",
		"network.protocol.name": "http", "network.protocol.version": "2", "tls.protocol.version": "1.3", "http.request.body.size": int64(7),
		"error.type": "card_declined", "keystile.request_id": r.ID, "keystile.key": "key_1", "keystile.mode": "live", "keystile.decision": "allowed",
		"keystile.duration_us": int64(3000), "keystile.upstream_us": int64(2000), "keystile.successor_used": true, "keystile.target": "/v1/charges?limit=***",
	} {
		if have[key] != want {
			t.Errorf("%s: got %v, want %v", key, have[key], want)
		}
	}
	for key := range have {
		if key == "" || strings.HasPrefix(key, "keystile.") && key == "keystile.host" {
			t.Errorf("has %q", key)
		}
	}
	odd := logRecord(&requestlog.Record{Method: "BREW", Status: 500, Host: "[::1]"}, time.Now())
	methods := ""
	odd.WalkAttributes(func(kv attribute.KeyValue) bool {
		if strings.HasPrefix(string(kv.Key), "http.request.method") || kv.Key == "server.address" || kv.Key == "error.type" {
			methods += kv.Value.AsString() + " "
		}
		return true
	})
	if odd.Severity() != otellog.SeverityError || methods != "_OTHER BREW ::1 500 " {
		t.Errorf("got %v %q", odd.Severity(), methods)
	}
	gap := logRecord(&requestlog.Record{Lost: 3, Decision: "gap"}, time.Now())
	if gap.EventName() != "keystile.gap" || gap.Body().AsString() != "3 request records are missing" || gap.Severity() != otellog.SeverityWarn {
		t.Errorf("a gap is %s %v %v", gap.EventName(), gap.Body(), gap.Severity())
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"": "must be an address", "collector:4318": "must be an address", "ftp://x": "must be an address",
		"https://u:p@x": "credentials go into headers", "https://x?key=1": "holds a query", "http://collector:4318": "is not encrypted",
		"http://10.0.0.1:4318": "is not encrypted", "http://localhost.evil:1": "is not encrypted",
		"https://x": "", "http://localhost:4318": "", "http://127.0.0.1:4318/v1/logs": "", "http://[::1]:4318": "",
	} {
		o := Options{Endpoint: endpoint}
		if err := o.Validate(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", endpoint, err, want)
		}
	}
	for want, o := range map[string]Options{
		"protocol": {Endpoint: "https://x", Protocol: "udp"}, "path": {Endpoint: "https://x/v1/logs", Protocol: "grpc"},
		"queue": {Endpoint: "https://x", QueueSize: -1},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", o, err, want)
		}
	}
	insecure := Options{Endpoint: "http://collector:4318", Insecure: true}
	if err := insecure.Validate(); err != nil {
		t.Error(err)
	}
}

// fakeCollector takes OTLP over HTTP.
type fakeCollector struct {
	*httptest.Server
	mu      sync.Mutex
	paths   []string // of what was taken
	headers http.Header
	largest int // message, in bytes
	refuse  int // so many requests are answered with 503
	block   chan struct{}
}

func newFakeCollector(t *testing.T) *fakeCollector {
	t.Helper()
	c := &fakeCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if c.block != nil {
			select {
			case <-c.block:
			case <-r.Context().Done():
				return
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refuse > 0 {
			c.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		c.headers = r.Header
		c.largest = max(c.largest, len(body))
		var request collogpb.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &request); err != nil || r.URL.Path != "/v1/logs" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, resource := range request.GetResourceLogs() {
			for _, scope := range resource.GetScopeLogs() {
				for _, record := range scope.GetLogRecords() {
					for _, kv := range record.GetAttributes() {
						if kv.GetKey() == "url.path" {
							c.paths = append(c.paths, kv.GetValue().GetStringValue())
						}
					}
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func closeIn(t *testing.T, e *Exporter, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	if err := e.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestExport: everything arrives, in order, also if the collector refuses at first; and what the environment says of other
// collectors does not go there.
func TestExport(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=secret")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	c := newFakeCollector(t)
	c.refuse = 1
	var counts Counts
	e, err := New(Options{Endpoint: c.URL, Headers: map[string]string{"x-api-key": "k"}, Counts: &counts})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1500
	for i := range n {
		e.Observe(typical(i))
	}
	closeIn(t, e, 30*time.Second)
	if len(c.paths) != n || counts.Exported.Load() != n || counts.Queued.Load() != 0 {
		t.Fatalf("%d arrived, %d counted, %d queued, want %d", len(c.paths), counts.Exported.Load(), counts.Queued.Load(), n)
	}
	for i, path := range c.paths {
		if path != fmt.Sprintf("/v1/charges/%d", i) {
			t.Fatalf("%d is %s", i, path)
		}
	}
	if c.headers.Get("X-Api-Key") != "k" || c.headers.Get("X-Other") != "" {
		t.Errorf("headers %v", c.headers)
	}
	e.Observe(typical(0))
	if counts.Dropped.Load() != 1 {
		t.Errorf("a record after the end counts as %d dropped", counts.Dropped.Load())
	}
}

// TestOverload: a collector that hangs costs dropped records, never time; and the end is bounded. Every record is counted once.
func TestOverload(t *testing.T) {
	t.Parallel()
	c := newFakeCollector(t)
	c.block = make(chan struct{})
	defer close(c.block)
	var counts Counts
	e, err := New(Options{Endpoint: c.URL, Counts: &counts, QueueSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	var together sync.WaitGroup
	const n = 5000
	for range 4 {
		together.Go(func() {
			for i := range n / 4 {
				e.Observe(typical(i))
			}
		})
	}
	together.Wait()
	if counts.Dropped.Load() == 0 {
		t.Error("nothing was dropped: the test shows nothing")
	}
	closeIn(t, e, 50*time.Millisecond)
	if total := counts.Exported.Load() + counts.Dropped.Load() + counts.Failed.Load(); total != n || counts.Queued.Load() != 0 {
		t.Errorf("%d counted, %d still queued, want %d and 0", total, counts.Queued.Load(), n)
	}
}

// TestRefused: what the collector does not take is counted as failed.
func TestRefused(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	var counts Counts
	e, err := New(Options{Endpoint: server.URL, Counts: &counts})
	if err != nil {
		t.Fatal(err)
	}
	e.Observe(typical(0))
	closeIn(t, e, 30*time.Second)
	if counts.Failed.Load() != 1 || counts.Exported.Load() != 0 {
		t.Errorf("%d failed, %d exported", counts.Failed.Load(), counts.Exported.Load())
	}
}

// TestCapturedTextIsBounded: the queue holds a bounded amount of captured text; beyond it, records go without.
func TestCapturedTextIsBounded(t *testing.T) {
	t.Parallel()
	c := newFakeCollector(t)
	c.block = make(chan struct{})
	e, err := New(Options{Endpoint: c.URL, QueueSize: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		r := typical(i)
		r.ResponseBody = strings.Repeat("x", requestlog.MaxCapturedBody)
		e.Observe(r)
	}
	if text := e.text.Load(); text > queuedText+1000*100 {
		t.Errorf("%d bytes of captured text are queued", text)
	}
	close(c.block)
	closeIn(t, e, 30*time.Second)
	if len(c.paths) != 1000 || e.text.Load() != 0 {
		t.Errorf("%d records arrived, %d bytes are counted as queued", len(c.paths), e.text.Load())
	}
}

// TestMessagesAreBounded: clients choose how long most texts of a record are, and must not be able to make messages that
// collectors refuse, with the records of others in them.
func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	c := newFakeCollector(t)
	e, err := New(Options{Endpoint: c.URL})
	if err != nil {
		t.Fatal(err)
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	for i := range 1200 {
		r := typical(i)
		r.Path, r.Target, r.Query, r.Host, r.UserAgent, r.ErrorMessage = long(2048), long(2048), long(1024), long(255), long(512), long(1024)
		r.IdempotencyKey, r.RequestHeaders = long(255), long(1000)
		e.Observe(r)
	}
	closeIn(t, e, 30*time.Second)
	if len(c.paths) != 1200 || c.largest > 4<<20 {
		t.Errorf("%d records arrived, the largest message has %d bytes, want 1200 and at most 4 MiB", len(c.paths), c.largest)
	}
}
