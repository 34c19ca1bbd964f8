package command

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

func TestLogExport(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	first := s.record(t, "key_aaaaaaaaaaaaaaaa", 200, "/v1/charges")
	second := s.record(t, "key_bbbbbbbbbbbbbbbb", 403, "/v1/customers")
	out := s.run(t, "log", "export")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[0], second) || !strings.Contains(lines[1], first) {
		t.Errorf("log export:\n%s\nwant %s and %s", out, second, first)
	}
	contains(t, "log export --format csv", s.run(t, "log", "export", "--format", "csv", "--status", "4xx"), "id,time,", second)
	lacks(t, "log export --starting-after", s.run(t, "log", "export", "--starting-after", second), second)

	for name, begin := range map[string]string{"all.jsonl": `{"id":"` + second, "all.csv": "id,time,", "all.parquet": "PAR1", "all.jsonl.gz": "\x1f\x8b", "all.csv.gz": "\x1f\x8b", "all.txt": `{"id":"`} {
		path := filepath.Join(dir, name)
		r := s.try(t, "", "log", "export", "--since", "1h", "-o", path)
		data, err := os.ReadFile(path)
		if r.code != 0 || err != nil || !strings.HasPrefix(string(data), begin) {
			t.Errorf("%s: exit code %d, %v, %.20q, want %q\n%s", name, r.code, err, data, begin, r.stderr)
		}
		contains(t, name, r.stderr, "wrote "+path)
	}
	file, err := os.ReadFile(filepath.Join(dir, "all.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || !strings.HasPrefix(string(text), "id,time,") || !strings.Contains(string(text), first) {
		t.Errorf("all.csv.gz holds %.40q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.partial*")); len(left) != 0 {
		t.Errorf("%q are left over", left)
	}
	// What is there is not replaced, and an error of the API leaves nothing behind.
	if r := s.try(t, "", "log", "export", "-o", filepath.Join(dir, "all.csv")); r.code != 1 {
		t.Errorf("over a file: exit code %d, want 1", r.code)
	}
	bad := filepath.Join(dir, "bad.jsonl")
	if r := s.try(t, "", "log", "export", "--status", "many", "-o", bad); r.code != 1 {
		t.Errorf("a bad filter: exit code %d, want 1", r.code)
	}
	if left, _ := filepath.Glob(bad + "*"); len(left) != 0 {
		t.Errorf("behind a bad filter %q are there", left)
	}
}

// brokenExport serves rows of JSON Lines, and breaks off behind so many bytes.
type brokenExport struct {
	rows  []string
	cut   int // 0: not
	asked []string
}

func (b *brokenExport) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked = append(b.asked, r.URL.RawQuery)
	after := r.URL.Query().Get("starting_after")
	var text strings.Builder
	for _, row := range b.rows {
		switch {
		case after == "":
			text.WriteString(row + "\n")
		case strings.Contains(row, after):
			after = ""
		}
	}
	if b.cut == 0 {
		_, _ = io.WriteString(w, text.String())
		return
	}
	_, _ = io.WriteString(w, text.String()[:b.cut])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// TestLogExportResumes: an export that broke off in the middle of a row, and once more, is whole in the end, and is not called
// by its name before.
func TestLogExportResumes(t *testing.T) {
	b := new(brokenExport)
	for i := range 10 {
		b.rows = append(b.rows, fmt.Sprintf(`{"id":"%s","time":"2026-11-25T10:00:%02dZ","status":200,"decision":"allowed"}`, requestlog.NewID(time.Now()), i))
	}
	whole := strings.Join(b.rows, "\n") + "\n"
	server := httptest.NewServer(b)
	defer server.Close()
	dir := t.TempDir()
	name := filepath.Join(dir, "out.jsonl")
	export := func(more ...string) result {
		return execute(t, "", append([]string{"log", "export", "--since", "24h", "-o", name, "--address", strings.TrimPrefix(server.URL, "http://")}, more...)...)
	}

	b.cut = 250
	r := export("--resume") // nothing is there yet: it begins
	if r.code != 1 {
		t.Fatalf("broken off: exit code %d, want 1", r.code)
	}
	contains(t, "broken off", r.stderr, name+".partial", "--resume")
	if _, err := os.Stat(name); err == nil {
		t.Error("half an export has the name of a whole one")
	}
	if r = export(); r.code != 1 || !strings.Contains(r.stderr, "--resume") {
		t.Errorf("anew: exit code %d, %s", r.code, r.stderr)
	}
	if r = export("--resume", "--key", "key_other"); r.code != 2 || !strings.Contains(r.stderr, "other filters") {
		t.Errorf("with other filters: exit code %d, %s", r.code, r.stderr)
	}
	b.cut = 130
	if r = export("--resume"); r.code != 1 {
		t.Fatalf("broken off once more: exit code %d, want 1", r.code)
	}
	b.cut = 0
	if r = export("--resume"); r.code != 0 {
		t.Fatalf("in the end: exit code %d, want 0: %s", r.code, r.stderr)
	}
	data, err := os.ReadFile(name)
	if err != nil || string(data) != whole {
		t.Errorf("the file holds\n%s, %v, want\n%s", data, err, whole)
	}
	contains(t, "in the end", r.stderr, "more records")
	if left, _ := filepath.Glob(name + ".*"); len(left) != 0 {
		t.Errorf("%q are left over", left)
	}
	if r = export("--resume"); r.code != 1 || !strings.Contains(r.stderr, "exists already") {
		t.Errorf("when it is whole: exit code %d, %s", r.code, r.stderr)
	}
	// The time is what it was at first, however much later the rest is asked for.
	var since string
	for _, query := range b.asked {
		one := query[strings.Index(query, "since="):]
		one, _, _ = strings.Cut(one, "&")
		if since == "" {
			since = one
		}
		if one != since || strings.Contains(one, "24h") {
			t.Errorf("asked for %s, want %s, a time", one, since)
		}
	}

	// What is no export cannot be gone on with.
	name = filepath.Join(dir, "other.jsonl")
	state, err := json.Marshal(partialState{Given: "since=24h"})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"not JSON\n", `{"id":"key_1"}` + "\n", strings.Repeat("x", 9<<20)} {
		if err := os.WriteFile(name+".partial", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name+".partial.json", state, 0o600); err != nil {
			t.Fatal(err)
		}
		if r = export("--resume"); r.code != 1 || !strings.Contains(r.stderr, "cannot be gone on with") {
			t.Errorf("%.20q: exit code %d, %s", content, r.code, r.stderr)
		}
		if now, err := os.ReadFile(name + ".partial"); err != nil || len(now) == 0 {
			t.Errorf("%.20q was taken away: %v", content, err)
		}
	}
}

// TestLogExportBreaksOff: what cannot be gone on with leaves nothing behind; on standard output the error says how to go on.
func TestLogExportBreaksOff(t *testing.T) {
	id := requestlog.NewID(time.Now())
	b := &brokenExport{rows: []string{`{"id":"` + id + `","status":200}`, `{"id":"` + requestlog.NewID(time.Now()) + `","status":200}`}, cut: 60}
	server := httptest.NewServer(b)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	for _, name := range []string{"out.csv", "out.parquet", "out.jsonl.gz"} {
		if r := execute(t, "", "log", "export", "-o", filepath.Join(dir, name), "--address", address); r.code != 1 {
			t.Errorf("%s: exit code %d, want 1", name, r.code)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("%q are left over", left)
	}
	r := execute(t, "", "log", "export", "--address", address)
	if r.code != 1 {
		t.Errorf("to standard output: exit code %d, want 1", r.code)
	}
	contains(t, "standard error", r.stderr, "not whole", "--starting-after "+id)
}

func TestExportMeter(t *testing.T) {
	t.Parallel()
	id := requestlog.NewID(time.Now())
	text := "id,time,x\r\n" + id + ",2026-11-25T09:00:00.000Z,a\r\n" + requestlog.NewID(time.Now()) + ",2026-11-25T08"
	for size := 1; size < len(text); size++ {
		m := &exportMeter{format: "csv", rowed: true, since: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)}
		for rest := text; rest != ""; {
			n, err := m.Write([]byte(rest[:min(size, len(rest))]))
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if m.rows() != 1 || m.id() != id {
			t.Fatalf("in pieces of %d: %d rows, the last %q, want 1, %q", size, m.rows(), m.id(), id)
		}
		if got, want := m.text(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)), "back to 2026-11-25T09:00:00Z (75 %)"; !strings.Contains(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestFixedTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 5e8, time.UTC)
	for text, want := range map[string]string{
		"24h": "2026-11-24T12:00:00Z", "30d": "2026-10-26T12:00:00Z", "90m": "2026-11-25T10:30:00Z", "0s": "2026-11-25T12:00:00Z",
		"2026-11-01": "2026-11-01", "2026-11-01T10:00:00+02:00": "2026-11-01T10:00:00+02:00", "-5m": "-5m", "many": "many", "": "", "d": "d", "1.5d": "1.5d",
	} {
		if got := fixedTime(text, now); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
