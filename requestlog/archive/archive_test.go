package archive

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		if e.Name() != "lock" {
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
