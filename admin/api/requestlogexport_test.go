package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/requestlog"
)

func lineIDs(t *testing.T, body []byte) []string {
	t.Helper()
	var ids []string
	for line := range bytes.Lines(body) {
		var r requestlog.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func TestRequestLogExport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []string
	for i := range 25 {
		id := f.record(func(r *requestlog.Record) {
			r.Key, r.UserAgent, r.ErrorMessage = []string{"key_a", "key_b"}[i%2], "=cmd|' /C calc'!A0", `a "quoted", text`
		})
		want = append(want, id)
		f.advance(time.Second)
	}
	slices.Reverse(want)
	all := f.ok("GET", "/v1/request_logs/export", nil)
	if got := lineIDs(t, all.body); !slices.Equal(got, want) {
		t.Errorf("the export has %d rows, want %d, newest first", len(got), len(want))
	}
	if got := all.header.Get("Content-Disposition"); got != `attachment; filename="request_logs.jsonl"` {
		t.Errorf("Content-Disposition %q", got)
	}
	rest := f.ok("GET", "/v1/request_logs/export?starting_after="+want[9], nil)
	if got := lineIDs(t, rest.body); !slices.Equal(got, want[10:]) {
		t.Errorf("behind row 10: %d rows, want the other %d", len(got), len(want)-10)
	}
	if got := lineIDs(t, f.ok("GET", "/v1/request_logs/export?key=key_a&since=10s", nil).body); len(got) != 5 {
		t.Errorf("with filters: %d rows, want 5", len(got))
	}

	table := f.ok("GET", "/v1/request_logs/export?format=csv&key=key_b", nil)
	if !bytes.Contains(table.body, []byte("\r\n")) || bytes.Contains(bytes.ReplaceAll(table.body, []byte("\r\n"), nil), []byte("\n")) {
		t.Error("rows do not end as RFC 4180 has it")
	}
	rows, err := csv.NewReader(bytes.NewReader(table.body)).ReadAll()
	if err != nil || len(rows) != 13 {
		t.Fatalf("as CSV: %d rows, %v", len(rows), err)
	}
	var names []string
	for _, c := range requestlog.Columns() {
		names = append(names, c.Name)
	}
	agent, message := slices.Index(names, "user_agent"), slices.Index(names, "error_message")
	if !slices.Equal(rows[0], names) || rows[1][0] != want[1] || rows[1][agent] != "'=cmd|' /C calc'!A0" || rows[1][message] != `a "quoted", text` {
		t.Errorf("head %v, first row %v", rows[0], rows[1])
	}

	for query, param := range map[string]string{
		"format=xml": "format", "compress=zip": "compress", "status=9": "status", "starting_after=junk": "starting_after", "key=": "key",
	} {
		f.do("GET", "/v1/request_logs/export?"+query, nil).fails(400, "parameter_invalid", param)
	}
	f.do("GET", "/v1/request_logs/export?limit=5", nil).fails(400, "parameter_unknown", "limit")
	for _, format := range []string{"jsonl", "csv"} {
		if a := f.ok("HEAD", "/v1/request_logs/export?compress=gzip&format="+format, nil); a.header.Get("Content-Type") != "application/gzip" {
			t.Errorf("HEAD: %v", a.header)
		}
	}
}

// TestRequestLogExportGzip: of the transfer, where the caller takes it, and of the file, where that is asked for.
func TestRequestLogExportGzip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 50 {
		f.record(func(*requestlog.Record) {})
	}
	plain := f.ok("GET", "/v1/request_logs/export", nil)
	for _, tt := range []struct {
		query, accept, encoding, media string
		zipped                         bool
	}{
		{"", "gzip", "gzip", "application/x-ndjson", true},
		{"", "br;q=1.0, GZIP;q=0.5", "gzip", "application/x-ndjson", true},
		{"", "gzip;q=0, identity", "", "application/x-ndjson", false},
		{"", "*", "", "application/x-ndjson", false},
		{"?compress=gzip", "", "", "application/gzip", true},
		{"?compress=gzip", "gzip", "", "application/gzip", true},
	} {
		r := httptest.NewRequest("GET", "/v1/request_logs/export"+tt.query, nil)
		r.Header.Set("Accept-Encoding", tt.accept)
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		if w.Code != 200 || w.Header().Get("Content-Encoding") != tt.encoding || w.Header().Get("Content-Type") != tt.media || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q %q: %d %v", tt.query, tt.accept, w.Code, w.Header())
		}
		body := w.Body.Bytes()
		if tt.zipped {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain.body) {
			t.Errorf("%q %q: the content is another one", tt.query, tt.accept)
		}
	}
}

// TestExportEndsWithTheCredential: an export that runs breaks off once its credential is deleted, so that it does not look
// whole. A reader that goes away leaves its place to others.
func TestExportEndsWithTheCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		tokens := auth.Tokens{Store: c.Store, Now: c.Now}
		c.Caller = func(r *http.Request) (*auth.Caller, error) { return tokens.Caller(r, netip.MustParseAddr("192.0.2.9")) }
	})
	fillLog(t, f, 30_000)
	by := keystore.Actor{Kind: "system"}
	token, secret, err := f.store.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "x", Role: keystore.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(f.handler)
	defer server.Close()
	begin := func() *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/request_logs/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+secret.Reveal())
		r.Header.Set("Accept-Encoding", "identity")
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for range 20 {
		for res := begin(); ; res = begin() {
			_, _ = io.ReadFull(res.Body, make([]byte, 1000))
			res.Body.Close()
			if res.StatusCode == 200 {
				break // the places of those before are free again
			}
		}
	}
	res := begin()
	for res.StatusCode == 503 {
		res.Body.Close()
		res = begin()
	}
	defer res.Body.Close()
	if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := f.store.DeleteAdminToken(t.Context(), by, token.ID); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the export ended as if it were whole, after %d lines", bytes.Count(rest, []byte("\n")))
	}
}

// TestExportsAreBounded: as many exports as a process serves at a time, and no more; the next one is told to come again.
func TestExportsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	fillLog(t, f, 20_000)
	server := httptest.NewServer(f.handler)
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	refused := false
	for range 9 {
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/v1/request_logs/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "identity")
		res, err := server.Client().Do(r) // nobody reads the body, and all of it does not fit into the connection
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode == 503 {
			body, _ := io.ReadAll(res.Body)
			refused = strings.Contains(string(body), "export_unavailable") && res.Header.Get("Retry-After") != ""
		}
	}
	if !refused {
		t.Error("nine exports run at a time, want eight")
	}
}

// fillLog stores n records of about a kilobyte each.
func fillLog(t *testing.T, f *fixture, n int) {
	t.Helper()
	agent := strings.Repeat("agent ", 80)
	for i := range n {
		r := f.log.NewRecord()
		r.ID, r.Time, r.Status, r.Decision = requestlog.NewID(f.clock()), f.clock(), 200, "allowed"
		r.Method, r.Path, r.UserAgent, r.Target = "GET", fmt.Sprint("/v1/charges/", i), agent, "/v1/"+strings.Repeat("x", 500)
		if !f.log.Append(r) {
			t.Fatal("the log took no record")
		}
		if i%2000 == 1999 {
			if err := f.log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := f.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRequestLogExportParquet: the file holds every record, in the columns of the schema.
func TestRequestLogExportParquet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []string
	for range 30 {
		want = append(want, f.record(func(*requestlog.Record) {}))
	}
	slices.Reverse(want)
	a := f.ok("GET", "/v1/request_logs/export?format=parquet&starting_after="+want[4], nil)
	if got := a.header.Get("Content-Type"); got != "application/vnd.apache.parquet" {
		t.Errorf("Content-Type %q", got)
	}
	file, err := parquet.OpenFile(bytes.NewReader(a.body), int64(len(a.body)))
	if err != nil {
		t.Fatal(err)
	}
	if file.NumRows() != 25 {
		t.Errorf("%d rows, want 25", file.NumRows())
	}
	for i, c := range requestlog.Columns() {
		if got := file.Schema().Columns()[i]; len(got) != 1 || got[0] != c.Name {
			t.Errorf("column %d is %v, want %s", i, got, c.Name)
		}
	}
	rows := make([]parquet.Row, 1)
	if n, err := parquet.NewReader(file).ReadRows(rows); n != 1 || rows[0][0].String() != want[5] {
		t.Errorf("the first of %d rows is %v, %v, want %s", n, rows[0], err, want[5])
	}
	f.ok("HEAD", "/v1/request_logs/export?format=parquet", nil)
	none := f.ok("GET", "/v1/request_logs/export?format=parquet&status=5xx", nil)
	if file, err := parquet.OpenFile(bytes.NewReader(none.body), int64(len(none.body))); err != nil || file.NumRows() != 0 {
		t.Errorf("a file of nothing: %v", err)
	}
	f.do("GET", "/v1/request_logs/export?format=parquet&compress=gzip", nil).fails(400, "parameter_invalid", "compress")
}
