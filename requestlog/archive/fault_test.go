package archive

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func newest(t *testing.T, dir, suffix string) string {
	t.Helper()
	for _, name := range slices.Backward(names(t, dir)) {
		if strings.HasSuffix(name, suffix) {
			return filepath.Join(dir, name)
		}
	}
	t.Fatalf("no file *%s among %q", suffix, names(t, dir))
	return ""
}

func TestFullDiskKeepsTheJournalUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	dir := t.TempDir()
	a := openArchive(t, Options{Dir: dir, FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records)
	disk.set(func(op, name string, _ int) error {
		if op == "write" && strings.Contains(name, parquetSuffix) {
			return syscall.ENOSPC
		}
		return nil
	})
	for range 3 {
		settle(a)
	}
	checkIDs(t, a, records)
	if s := a.Stats(); s.Sealed != 0 || s.Errors < 3 || s.SetAside != 0 {
		t.Errorf("on a full disk: got %+v, want three errors and nothing archived", s)
	}
	a.house.Lock() // the housekeeper is not at it just now
	if left := names(t, dir); slices.ContainsFunc(left, func(n string) bool { return strings.HasSuffix(n, tempSuffix) }) {
		t.Errorf("on a full disk: got %q, want nothing unfinished", left)
	}
	a.house.Unlock()
	disk.set(nil)
	settle(a)
	checkIDs(t, a, records)
	if s := a.Stats(); s.Sealed != 1 {
		t.Errorf("with room again: got %+v, want one file archived", s)
	}
	closeArchive(t, a)
}

// Each thing that can fail while a file is archived leaves every record in place, and the next try succeeds.
func TestFailuresWhileArchivingLoseNothing(t *testing.T) {
	t.Parallel()
	for _, fails := range []string{"open .parquet", "sync .parquet", "rename .parquet", "sync ", "remove .jsonl", "rename usage", "sync usage"} {
		t.Run(fails, func(t *testing.T) {
			t.Parallel()
			op, suffix, _ := strings.Cut(fails, " ")
			disk := newDiskFS()
			dir := t.TempDir()
			a := openArchive(t, Options{Dir: dir, FS: disk})
			records := requestlogtest.Records(100, 1)
			write(t, a, records)
			a.house.Lock() // the housekeeper waits
			a.journal.Roll()
			disk.set(func(did, name string, _ int) error {
				if did == op && (strings.Contains(name, suffix) && suffix != "" || suffix == "" && name == filepath.Base(dir)) {
					return syscall.EIO
				}
				return nil
			})
			a.house.Unlock()
			a.keep(t.Context())
			a.house.Lock()
			a.unsaved = 1
			saved := a.saveUsage()
			a.house.Unlock()
			checkIDs(t, a, records)
			checkSums(t, a, records)
			if a.Stats().Errors == 0 && saved == nil {
				t.Error("no error is counted")
			}
			disk.set(nil)
			settle(a)
			checkIDs(t, a, records)
			closeArchive(t, a)
			a = openArchive(t, Options{Dir: dir})
			checkIDs(t, a, records)
			checkSums(t, a, records)
			if s := a.Stats(); s.Files != 1 || s.Sealed != 1 {
				t.Errorf("in the end: got %+v, want one archived file; have %q", s, names(t, dir))
			}
			closeArchive(t, a)
		})
	}
}

func TestReadOnlyDirectoryRecovers(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	a := openArchive(t, Options{Dir: t.TempDir(), FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records[:100])
	settle(a)
	disk.set(func(op, _ string, _ int) error {
		if op == "open" || op == "rename" || op == "remove" {
			return syscall.EROFS
		}
		return nil
	})
	if n, err := a.Write(records[100:]); n != 0 || !errors.Is(err, syscall.EROFS) {
		t.Errorf("Write: got %d, %v, want a read-only file system", n, err)
	}
	settle(a)
	checkIDs(t, a, records[:100])
	disk.set(nil)
	write(t, a, records[100:])
	settle(a)
	checkIDs(t, a, records)
	closeArchive(t, a)
}

func TestDeletedDirectoryIsMadeAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := openArchive(t, Options{Dir: dir})
	records := requestlogtest.Records(300, 1)
	write(t, a, records[:100])
	settle(a)
	write(t, a, records[100:200])
	v := a.pin()
	a.handles.drop(v.files[0]) // an open file would stay readable
	v.readers.Done()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	write(t, a, records[200:])
	checkIDs(t, a, records[200:])
	settle(a)
	checkIDs(t, a, records[200:])
	if s := a.Stats(); s.Files != 1 || s.Errors == 0 || s.SetAside != 0 {
		t.Errorf("got %+v, want one file, and errors counted", s)
	}
	closeArchive(t, a)
	a = openArchive(t, Options{Dir: dir})
	checkIDs(t, a, records[200:])
	closeArchive(t, a)
}

// damages are what can become of a Parquet file.
var damages = map[string]func([]byte) []byte{
	"empty":         func([]byte) []byte { return nil },
	"no Parquet":    func([]byte) []byte { return []byte("nothing of the kind") },
	"half":          func(b []byte) []byte { return b[:len(b)/2] },
	"zeros at end":  func(b []byte) []byte { return append(b[:len(b)-100:len(b)-100], make([]byte, 100)...) },
	"zeros inside":  func(b []byte) []byte { return splice(b, 2000, make([]byte, 3000)) },
	"ones inside":   func(b []byte) []byte { return splice(b, 100, bytes.Repeat([]byte{0xff}, 5000)) },
	"footer size":   func(b []byte) []byte { return splice(b, len(b)-8, []byte{0xff, 0xff, 0xff, 0x7f}) },
	"footer broken": func(b []byte) []byte { return splice(b, len(b)-2000, bytes.Repeat([]byte{0x15}, 500)) },
}

func splice(b []byte, at int, with []byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], with)
	return b
}

// A damaged Parquet file is set aside, is counted, tells of itself, and hides nothing of any other file.
func TestDamagedFileIsSetAside(t *testing.T) {
	t.Parallel()
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			a := openArchive(t, Options{Dir: dir})
			records := requestlogtest.Records(400, 1)
			slices.SortFunc(records, func(a, b *requestlog.Record) int { return requestlog.CompareIDs(a.ID, b.ID) })
			var middle string
			for i := range 4 {
				write(t, a, records[i*100:(i+1)*100])
				settle(a)
				if i == 1 {
					middle = newest(t, dir, parquetSuffix)
				}
			}
			closeArchive(t, a)
			content, err := os.ReadFile(middle)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(middle, damage(content), 0o600); err != nil {
				t.Fatal(err)
			}

			core, logs := observer.New(zap.InfoLevel)
			a = openArchive(t, Options{Dir: dir, Logger: zap.New(core)})
			left := slices.Concat(records[:100], records[200:])
			checkIDs(t, a, left)
			for _, r := range []*requestlog.Record{records[7], records[150], records[307]} {
				got, err := a.Get(t.Context(), r.ID)
				if r == records[150] {
					if !errors.Is(err, requestlog.ErrNotFound) {
						t.Errorf("a lost record: got %v, %v", got, err)
					}
				} else if err != nil || *got != *r {
					t.Errorf("Get: got %v, %v", got, err)
				}
			}
			a.keep(t.Context())
			checkIDs(t, a, left)
			if s := a.Stats(); s.SetAside != 1 || s.Sealed != 3 || s.Errors == 0 {
				t.Errorf("stats: got %+v, want one file set aside", s)
			}
			if _, err := os.Stat(middle + asideSuffix); err != nil {
				t.Errorf("set aside: %v", err)
			}
			if logs.FilterMessageSnippet("set aside").Len() != 1 {
				t.Errorf("got %d log lines about it, want 1", logs.FilterMessageSnippet("set aside").Len())
			}
			closeArchive(t, a)
		})
	}
}

// A disk that cannot be read for a while is no damage: the file stays, and is read again.
func TestUnreadableDiskSetsNothingAside(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	a := openArchive(t, Options{Dir: t.TempDir(), FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records[:100])
	settle(a)
	write(t, a, records[100:])
	disk.setReading(func(name string) error {
		if strings.HasSuffix(name, parquetSuffix) {
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		checkIDs(t, a, records[100:])
		a.keep(t.Context())
	}
	if s := a.Stats(); s.SetAside != 0 || s.Errors < 3 {
		t.Errorf("stats: got %+v, want errors and nothing set aside", s)
	}
	disk.setReading(nil)
	checkIDs(t, a, records)
	closeArchive(t, a)
}

// A file of the journal with damage inside is archived as far as it can be read, and kept under another name.
func TestDamagedJournalFileIsArchivedAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := openArchive(t, Options{Dir: dir})
	records := requestlogtest.Records(100, 1)
	write(t, a, records)
	closeArchive(t, a)
	path := newest(t, dir, requestlog.JournalSuffix)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	lines[50] = append(bytes.Repeat([]byte{0}, len(lines[50])-1), '\n')
	lines[60] = []byte(`{"id":"nonsense"}` + "\n")
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	want := slices.Delete(slices.Delete(slices.Clone(records), 60, 61), 50, 51)
	a = openArchive(t, Options{Dir: dir})
	settle(a)
	checkIDs(t, a, want)
	if s := a.Stats(); s.SetAside != 1 || s.Sealed != 1 || s.Skipped < 2 {
		t.Errorf("stats: got %+v, want one archived, one set aside, two lines skipped", s)
	}
	if aside, err := os.ReadFile(path + asideSuffix); err != nil || len(bytes.SplitAfter(aside, []byte("\n"))) != len(lines) {
		t.Errorf("set aside: %v", err)
	}
	closeArchive(t, a)

	// Of one without any readable line, nothing is archived.
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(strings.TrimSuffix(path, requestlog.JournalSuffix) + parquetSuffix)
	a = openArchive(t, Options{Dir: dir})
	settle(a)
	if got := ids(t, a); len(got) != 0 {
		t.Errorf("got %d records, want none", len(got))
	}
	if s := a.Stats(); s.Files != 0 || s.SetAside != 1 {
		t.Errorf("stats: got %+v, want no file but one set aside", s)
	}
	closeArchive(t, a)
}

// A torn line is cut off when the file is opened; nothing is set aside for it.
func TestTornTailIsSkippedAndCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := newDiskFS()
	a := openArchive(t, Options{Dir: dir, FS: disk})
	records := requestlogtest.Records(100, 1)
	write(t, a, records)
	disk.unlock() // as if the process were gone; the archive is not closed
	f, err := os.OpenFile(newest(t, dir, requestlog.JournalSuffix), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, `{"id":"req_2F3HT6Qk6a0PeU6oqx6","ti`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	again := openArchive(t, Options{Dir: dir})
	settle(again)
	checkIDs(t, again, records)
	if s := again.Stats(); s.Skipped != 1 || s.SetAside != 0 || s.Sealed != 1 {
		t.Errorf("stats: got %+v, want one line skipped and one file archived", s)
	}
	closeArchive(t, again)
	_ = a.Close()
}

// A damaged file whose journal file is still there, since it could not be deleted, costs nothing: that is archived anew.
func TestDamagedFileIsMadeAnewOfItsSource(t *testing.T) {
	t.Parallel()
	dir, disk := t.TempDir(), newDiskFS()
	a := openArchive(t, Options{Dir: dir, FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records)
	disk.set(func(op, name string, _ int) error {
		if op == "sync" && name == filepath.Base(dir) {
			return syscall.EIO
		}
		return nil
	})
	settle(a)
	a.house.Lock()
	path := newest(t, dir, parquetSuffix)
	if err := os.WriteFile(path, []byte("PAR1 nonsense PAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = ids(t, a) // meets it
	disk.set(nil)
	a.house.Unlock()
	for range 2 {
		a.keep(t.Context())
	}
	checkIDs(t, a, records)
	closeArchive(t, a)
}

// A file that could not be given its sealed name is sealed, and archived, once the disk takes changes again.
func TestFileThatCouldNotBeSealedIsSealedLater(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	a := openArchive(t, Options{Dir: t.TempDir(), FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records)
	disk.set(func(op, _ string, _ int) error {
		if op == "rename" {
			return syscall.EROFS
		}
		return nil
	})
	settle(a)
	checkIDs(t, a, records)
	disk.set(nil)
	settle(a)
	checkIDs(t, a, records)
	if s := a.Stats(); s.Sealed != 1 || s.Files != 1 {
		t.Errorf("got %+v, want one file, archived", s)
	}
	closeArchive(t, a)
}

// Counts that lack what a disk did not give just now say so.
func TestHistogramOfAnUnreadableDiskIsNotComplete(t *testing.T) {
	t.Parallel()
	disk := newDiskFS()
	a := openArchive(t, Options{Dir: t.TempDir(), FS: disk})
	records := requestlogtest.Records(200, 1)
	write(t, a, records[:100])
	settle(a)
	write(t, a, records[100:])
	q := requestlog.HistogramQuery{By: requestlog.ByStatusClass, Bucket: time.Minute, Filter: requestlog.Filter{
		Since: requestlogtest.Begin, Until: requestlogtest.Begin.Add(time.Hour),
	}}
	for _, filter := range []string{"", "secret"} {
		q.Filter.Kind = filter
		for _, fails := range []bool{true, false} {
			disk.setReading(func(name string) error {
				if fails && strings.HasSuffix(name, parquetSuffix) {
					return syscall.EIO
				}
				return nil
			})
			h, err := a.Histogram(t.Context(), q)
			if err != nil || h.Complete == fails || h.Complete != h.From.Equal(q.Filter.Since) {
				t.Errorf("kind %q, disk fails %v: got complete %v from %v, %v", filter, fails, h.Complete, h.From, err)
			}
		}
	}
	closeArchive(t, a)
}
