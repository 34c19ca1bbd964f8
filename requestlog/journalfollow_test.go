package requestlog

import (
	"errors"
	"io/fs"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
)

// badSectorFS is the real file system, with a place in each file that cannot be read for a while.
type badSectorFS struct {
	osFS
	at atomic.Int64 // 0: none
}

func (f *badSectorFS) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	file, err := f.osFS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &badSectorFile{file, f}, nil
}

type badSectorFile struct {
	File
	fs *badSectorFS
}

func (f *badSectorFile) ReadAt(b []byte, off int64) (int, error) {
	at := f.fs.at.Load()
	if at == 0 || off+int64(len(b)) <= at {
		return f.File.ReadAt(b, off)
	}
	n, _ := f.File.ReadAt(b[:max(0, at-off)], off)
	return n, syscall.EIO
}

// TestReadFromBadSector: a line of which the disk gives half is not passed over. It is read when the disk gives it.
func TestReadFromBadSector(t *testing.T) {
	disk := new(badSectorFS)
	j := openJournal(t, JournalOptions{Dir: t.TempDir(), FS: disk})
	var want []string
	for i := range 3 {
		r := journalRecord(i)
		want = append(want, r.ID)
		if _, err := j.Write([]*Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	defer j.Close()
	f := j.JournalFiles()[0]
	disk.at.Store(f.Size - 10) // in the last line
	var got []string
	read := func(offset int64) (int64, int, error) {
		return j.ReadFrom(f.JournalFile, offset, f.Size, func(r *Record) bool { got = append(got, r.ID); return true })
	}
	next, skipped, err := read(0)
	if !errors.Is(err, syscall.EIO) || skipped != 0 || len(got) != 2 {
		t.Fatalf("with a bad sector: %d records, %d skipped, %v", len(got), skipped, err)
	}
	if again, _, err := read(next); again != next || !errors.Is(err, syscall.EIO) {
		t.Errorf("again: goes on from %d to %d, %v", next, again, err)
	}
	disk.at.Store(0)
	if next, skipped, err = read(next); next != f.Size || skipped != 0 || err != nil || !slices.Equal(got, want) {
		t.Errorf("behind it: %v, want %v; %d skipped, %v", got, want, skipped, err)
	}
}
