package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// duckdbPackage makes sure that the other implementation lies beside its script, in the version of the lock file. `make test`
// installs it before; a bare `go test` installs it here. Its native code is part of the package.
func duckdbPackage(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@duckdb", "node-api", "package.json")); err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("installing the DuckDB package (npm ci): %v\n%s", err, out)
	}
}

// duckdbAnswer is one line that testdata/duckdb/read.mjs prints.
type duckdbAnswer struct {
	Types    map[string]string `json:"types"`
	Sums     map[string]any    `json:"sums"`
	Statuses map[string]any    `json:"statuses"`
	One      map[string]any    `json:"one"`
	Blooms   any               `json:"blooms"`
}

// An archived file and an export are files that any other reader of Parquet opens: DuckDB sees the columns that the schema has,
// with types that fit, and counts what we count.
func TestAnotherReader(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "duckdb")
	duckdbPackage(t, dir)
	records := requestlogtest.Records(groupRows+1000, 1)
	place := t.TempDir()
	a := openArchive(t, Options{Dir: place})
	for batch := range slices.Chunk(records, 1000) {
		write(t, a, batch)
	}
	settle(a)
	closeArchive(t, a)
	sealed := newest(t, place, parquetSuffix)
	export := filepath.Join(place, "export.parquet")
	out, err := os.Create(export)
	if err != nil {
		t.Fatal(err)
	}
	w := NewParquetWriter(out)
	for _, r := range slices.Backward(records) {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "read.mjs", sealed, export)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(answer)), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d answers, want 2:\n%s", len(lines), answer)
	}
	for i, name := range []string{"archived file", "export"} {
		var got duckdbAnswer
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatalf("%s: %v", lines[i], err)
		}
		checkTypes(t, name, got.Types)
		checkDuckDB(t, name, got, records)
		wantBlooms := "0"
		if i == 0 {
			wantBlooms = strconv.Itoa(2 * len(bloomColumns)) // two row groups
		}
		if fmt.Sprint(got.Blooms) != wantBlooms {
			t.Errorf("%s: got %v bloom filters, want %s", name, got.Blooms, wantBlooms)
		}
	}
}

func checkTypes(t *testing.T, name string, types map[string]string) {
	t.Helper()
	columns := requestlog.Columns()
	if len(types) != len(columns) {
		t.Errorf("%s: got %d columns, want %d", name, len(types), len(columns))
	}
	for _, c := range columns {
		want := map[requestlog.ColumnKind]string{
			requestlog.ColumnText: "VARCHAR", requestlog.ColumnAddress: "VARCHAR", requestlog.ColumnInteger: "BIGINT",
			requestlog.ColumnTime: "TIMESTAMP WITH TIME ZONE", requestlog.ColumnBool: "BOOLEAN",
		}[c.Kind]
		if types[c.Name] != want {
			t.Errorf("%s: column %s is %q, want %s", name, c.Name, types[c.Name], want)
		}
	}
}

func checkDuckDB(t *testing.T, name string, got duckdbAnswer, records []*requestlog.Record) {
	t.Helper()
	var bytesIn, failed, refused, sandboxed int64
	statuses := make(map[string]int)
	keys := make(map[string]bool)
	first, last := records[0].Time, records[0].Time
	var one *requestlog.Record
	for _, r := range records {
		bytesIn += r.BytesIn
		statuses[strconv.Itoa(r.Status)]++
		keys[r.Key] = true
		if r.ErrorCode != "" {
			failed++
		}
		if r.Status >= 400 {
			refused++
		}
		if r.Sandbox != "" {
			sandboxed++
		}
		if r.Time.Before(first) {
			first = r.Time
		}
		if r.Time.After(last) {
			last = r.Time
		}
		if r.Key == "key_7" && (one == nil || r.Time.Before(one.Time)) {
			one = r
		}
	}
	const layout = "2006-01-02 15:04:05+00"
	for what, want := range map[string]any{
		"requests": len(records), "keys": len(keys), "bytes_in": bytesIn, "failed": failed, "refused": refused, "sandboxed": sandboxed,
		"first": first.Format(layout), "last": last.Format(layout),
	} {
		if fmt.Sprint(got.Sums[what]) != fmt.Sprint(want) {
			t.Errorf("%s: %s: got %v, want %v", name, what, got.Sums[what], want)
		}
	}
	for status, n := range statuses {
		if fmt.Sprint(got.Statuses[status]) != strconv.Itoa(n) {
			t.Errorf("%s: status %s: got %v, want %d", name, status, got.Statuses[status], n)
		}
	}
	for _, c := range requestlog.Columns() {
		if c.Kind == requestlog.ColumnTime {
			continue // compared above
		}
		want := any(c.Text(one))
		if want == "" {
			want = nil
		}
		if fmt.Sprint(got.One[c.Name]) != fmt.Sprint(want) {
			t.Errorf("%s: %s of a record: got %v, want %v", name, c.Name, got.One[c.Name], want)
		}
	}
}

// TestDuckDBLockFile: the lock file names no place that only one workplace can reach.
func TestDuckDBLockFile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("testdata", "duckdb", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Resolved, Integrity string } `json:"packages"`
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if p.Resolved != "" && !strings.HasPrefix(p.Resolved, "https://registry.npmjs.org/") {
			t.Errorf("%s is resolved at %s", name, p.Resolved)
		}
		if name != "" && !strings.HasPrefix(p.Integrity, "sha512-") {
			t.Errorf("%s has no integrity hash", name)
		}
	}
}
