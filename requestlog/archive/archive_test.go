package archive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

func openArchive(t *testing.T, o Options) *Archive {
	t.Helper()
	a, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return a
}

func closeArchive(t *testing.T, a *Archive) {
	t.Helper()
	if err := a.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// settle archives everything.
func settle(a *Archive) {
	a.journal.Roll()
	a.keep(context.Background())
}

// settled is an archive that has archived all it can behind every write, so that readers meet Parquet files.
type settled struct {
	*Archive
	t *testing.T
}

func (s settled) Write(records []*requestlog.Record) (int, error) {
	n, err := s.Archive.Write(records)
	settle(s.Archive)
	return n, err
}

// reopened is an archive that is closed and opened behind every write, so that readers meet the files of an earlier process.
type reopened struct {
	*Archive
	o Options
	t *testing.T
}

func (r *reopened) Write(records []*requestlog.Record) (int, error) {
	n, err := r.Archive.Write(records)
	if err != nil {
		return n, err
	}
	if err := r.Archive.Close(); err != nil {
		return n, err
	}
	r.Archive, err = Open(r.o)
	if err == nil {
		r.keep(context.Background())
	}
	return n, err
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"Archived":     {},
		"Both":         {RollSize: 200 << 10},
		"SmallBudget":  {ScanBudget: 50_000},
		"ReopenedEach": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requestlogtest.Run(t, func(t *testing.T) requestlog.Store {
				o := o
				o.Dir = t.TempDir()
				a := openArchive(t, o)
				switch name {
				case "ReopenedEach":
					return &reopenedStore{r: &reopened{a, o, t}}
				case "Archived", "SmallBudget":
					return settled{a, t}
				}
				return a
			})
		})
	}
}

func write(t *testing.T, a *Archive, records []*requestlog.Record) {
	t.Helper()
	if n, err := a.Write(records); n != len(records) || err != nil {
		t.Fatalf("Write: got %d, %v, want %d", n, err, len(records))
	}
}

// names lists the directory, but for the lock.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Name() != "lock" && e.Name() != "clock" {
			list = append(list, e.Name())
		}
	}
	return list
}

func TestFilesAreNamedByTimeAndPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "requests")
	a := openArchive(t, Options{Dir: dir})
	write(t, a, requestlogtest.Records(100, 1))
	settle(a)
	write(t, a, requestlogtest.Records(100, 1))
	closeArchive(t, a)
	closed := names(t, dir)
	want := []string{"20261120T100000.000Z_20261120T100139.000Z-1.jsonl", "20261120T100000.000Z_20261120T100139.000Z.parquet", "usage"}
	if strings.Join(closed, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", closed, want)
	}
	for _, name := range closed {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s: got mode %v, want 0600", name, got)
		}
	}
}

// Every column comes back from a Parquet file, present or absent, from any row: what columns hold is asked of the schema, so that
// a new one is tested too.
func TestEveryColumnComesBack(t *testing.T) {
	t.Parallel()
	columns := requestlog.Columns()
	var records []*requestlog.Record
	for i := range 300 {
		at := requestlogtest.Begin.Add(time.Duration(i) * time.Second)
		r := &requestlog.Record{ID: requestlogtest.ID(at, uint64(i)), Time: at}
		for n, c := range columns {
			if c.Name == "id" || c.Name == "time" || (i*7+n)%3 == 0 {
				continue
			}
			v := requestlog.Value{Text: fmt.Sprintf("%s %d ü", c.Name, i%50), Integer: int64(i * 1000)}
			switch c.Kind {
			case requestlog.ColumnAddress:
				v.Text = fmt.Sprintf("2001:db8::%x", i)
			case requestlog.ColumnBool:
				v.Integer = 1
			case requestlog.ColumnTime:
				v.Integer = at.UnixMilli() + 1
			}
			if err := c.SetValue(r, v); err != nil {
				t.Fatal(err)
			}
		}
		records = append(records, r)
	}
	a := openArchive(t, Options{Dir: t.TempDir()})
	write(t, a, records)
	settle(a)
	for i, r := range records {
		got, err := a.Get(t.Context(), r.ID)
		if err != nil || *got != *r {
			t.Fatalf("record %d, %v:\n got %+v\nwant %+v", i, err, got, r)
		}
	}
	p, err := a.List(t.Context(), requestlog.Query{Limit: 1000})
	if err != nil || len(p.Records) != len(records) {
		t.Fatalf("List: %d records, %v", len(p.Records), err)
	}
	for i, r := range p.Records {
		if want := records[len(records)-1-i]; *r != *want {
			t.Errorf("record %d:\n got %+v\nwant %+v", i, r, want)
		}
	}
	closeArchive(t, a)
}

// Files that are not ours stay, whatever they are called.
func TestOtherFilesStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	others := []string{"notes.tmp", "other.damaged", "other.parquet", "readme"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := openArchive(t, Options{Dir: dir, MaxSize: 1})
	a.keep(t.Context())
	closeArchive(t, a)
	if got := names(t, dir); !slices.Equal(got, others) {
		t.Errorf("got %q, want %q", got, others)
	}
}

// Nobody's records are no owner's, and a filter that says otherwise makes no file look damaged.
func TestWithinNobodyShowsNothing(t *testing.T) {
	t.Parallel()
	a := openArchive(t, Options{Dir: t.TempDir()})
	records := requestlogtest.Records(50, 1)
	for _, r := range records[:25] {
		r.Account, r.Owner, r.Key = "", "", ""
	}
	write(t, a, records)
	settle(a)
	page, err := a.List(t.Context(), requestlog.Query{Filter: requestlog.Filter{Within: []string{""}}, Limit: 100})
	if err != nil || len(page.Records) != 0 {
		t.Errorf("got %d records, %v", len(page.Records), err)
	}
	a.keep(t.Context())
	checkIDs(t, a, records)
	closeArchive(t, a)
}
