package requestlog

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestFullDiskKeepsWholeLinesAndRecovers(t *testing.T) {
	t.Parallel()
	for name, truncate := range map[string]error{"": nil, "and truncation fails": syscall.EIO} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := newFaultFS()
			dir := t.TempDir()
			j := openJournal(t, JournalOptions{Dir: dir, FS: disk})
			first := writeRecords(t, j, 0, 10)
			line := j.Stats().Bytes / int64(len(first))

			disk.set(func() { disk.room, disk.truncate = 3*line+line/2, truncate })
			var records []*Record
			for i := range 10 {
				records = append(records, journalRecord(10+i))
			}
			stored, err := j.Write(records)
			if stored != 3 || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("Write to a full disk: got %d, %v, want 3, no space", stored, err)
			}
			checkNumbers(t, j, sequence(0, 13))
			for range 3 {
				if n, err := j.Write(records[3:]); n != 0 || !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("again: got %d, %v, want 0, no space", n, err)
				}
			}
			disk.set(func() { disk.room, disk.truncate = -1, nil })
			if n, err := j.Write(records[3:]); n != 7 || err != nil {
				t.Fatalf("with room again: got %d, %v, want 7", n, err)
			}
			checkNumbers(t, j, sequence(0, 20))
			closeJournal(t, j)
			j = openJournal(t, JournalOptions{Dir: dir})
			defer j.Close()
			checkNumbers(t, j, sequence(0, 20))
		})
	}
}

func TestReadOnlyDirectoryRecovers(t *testing.T) {
	t.Parallel()
	disk := newFaultFS()
	disk.open = syscall.EROFS
	j := openJournal(t, JournalOptions{Dir: t.TempDir(), FS: disk})
	defer j.Close()
	if n, err := j.Write([]*Record{journalRecord(0)}); n != 0 || !errors.Is(err, syscall.EROFS) {
		t.Errorf("Write: got %d, %v, want a read-only file system", n, err)
	}
	disk.set(func() { disk.open = nil })
	writeRecords(t, j, 1, 1)
	checkNumbers(t, j, []int{1})
}

func TestDeletedDirectoryIsMadeAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, MaxFileSize: 2 << 10})
	defer j.Close()
	for i := range 5 {
		writeRecords(t, j, i*3, 3)
	}
	j.sealRetired()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, j, Filter{}); len(got) != 0 {
		t.Errorf("deleted: got records %v", got)
	}
	writeRecords(t, j, 100, 2)
	checkNumbers(t, j, []int{100, 101})
	if names := journalFiles(t, dir); len(names) != 1 {
		t.Errorf("got files %q, want one", names)
	}
	if _, err := OpenJournal(JournalOptions{Dir: dir}); err == nil {
		t.Error("the directory made again is not locked")
	}
	if s := j.Stats(); s.Files != 1 || s.Errors == 0 {
		t.Errorf("stats: got %+v, want one file and an error counted", s)
	}
}

func TestDeletedFileIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir})
	defer j.Close()
	writeRecords(t, j, 0, 2)
	if err := os.Remove(j.current.path); err != nil {
		t.Fatal(err)
	}
	writeRecords(t, j, 2, 2)
	checkNumbers(t, j, []int{2, 3})
}

func TestFailedSyncAndRenameAreCountedOnly(t *testing.T) {
	t.Parallel()
	disk := newFaultFS()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, FS: disk, MaxFileSize: 1})
	writeRecords(t, j, 0, 2)
	disk.set(func() { disk.sync, disk.rename = syscall.EIO, syscall.EIO })
	writeRecords(t, j, 2, 2)
	j.sealRetired()
	if err := j.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Close: got %v, want the disk's error", err)
	}
	j = openJournal(t, JournalOptions{Dir: dir})
	defer j.Close()
	checkNumbers(t, j, sequence(0, 4))
}

func TestUnreadableFileHidesNoOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, MaxFileSize: 1})
	for i := range 3 {
		writeRecords(t, j, i, 1)
	}
	closeJournal(t, j)
	names := journalFiles(t, dir)
	damaged := dir + "/" + names[1]
	if err := os.Remove(damaged); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(damaged, 0o700); err != nil { // a directory in the place of a file cannot be read
		t.Fatal(err)
	}
	j = openJournal(t, JournalOptions{Dir: dir})
	defer j.Close()
	checkNumbers(t, j, []int{0, 2})
	if s := j.Stats(); s.Errors == 0 {
		t.Error("the unreadable file is not counted")
	}
}

// A file that changed while the disk failed is left as it is, and a new one begun.
func TestFileThatShrankDuringAFailureIsNotContinued(t *testing.T) {
	t.Parallel()
	disk := newFaultFS()
	j := openJournal(t, JournalOptions{Dir: t.TempDir(), FS: disk})
	defer j.Close()
	writeRecords(t, j, 0, 2)
	half := j.Stats().Bytes / 2
	disk.set(func() { disk.room = 0 })
	if _, err := j.Write([]*Record{journalRecord(2)}); err == nil {
		t.Fatal("Write to a full disk: got no error")
	}
	if err := os.Truncate(j.current.path, half); err != nil {
		t.Fatal(err)
	}
	disk.set(func() { disk.room = -1 })
	writeRecords(t, j, 2, 1)
	if got := numbers(t, j, Filter{}); !slices.Contains(got, 2) {
		t.Errorf("got records %v, want 2 among them", got)
	}
}

func TestWrittenRecordsAreSyncedInTime(t *testing.T) {
	t.Parallel()
	disk := newFaultFS()
	j := openJournal(t, JournalOptions{Dir: t.TempDir(), FS: disk, SyncInterval: time.Millisecond})
	defer j.Close()
	writeRecords(t, j, 0, 1)
	for disk.count(&disk.syncs) == 0 {
		time.Sleep(time.Millisecond)
	}
	disk.set(func() { disk.sync = syscall.EIO })
	writeRecords(t, j, 1, 1)
	for j.Stats().Errors == 0 {
		time.Sleep(time.Millisecond)
	}
	disk.set(func() { disk.sync = nil })
	checkNumbers(t, j, sequence(0, 2))
}

// The whole log over a disk that fills and empties again: requests are never held up, everything is stored or counted.
func TestLogOverAFullDisk(t *testing.T) {
	t.Parallel()
	disk := newFaultFS()
	l := openLog(t, Options{Dir: t.TempDir(), FS: disk, QueueSize: 64})
	appendN(l, 0, 20)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk.set(func() { disk.room = 0 })
	appendN(l, 20, 300)
	if l.Ready() {
		t.Error("Ready: got true with a full disk and a full queue")
	}
	for l.Stats().Errors == 0 {
		time.Sleep(time.Millisecond)
	}
	disk.set(func() { disk.room = -1 })
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	s := checkSum(t, l, 320)
	if s.Dropped == 0 || s.Gaps == 0 || s.Queued != 0 {
		t.Errorf("stats: got %+v, want drops and a gap", s)
	}

	j := openJournal(t, JournalOptions{Dir: l.store.(*Journal).o.Dir})
	defer j.Close()
	var requests, lost uint64
	page, err := j.List(t.Context(), Query{Limit: MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range page.Records {
		if r.IsGap() {
			lost += uint64(r.Lost)
		} else {
			requests++
		}
	}
	if requests != s.Stored || lost != s.Dropped {
		t.Errorf("journal: got %d records and %d in gaps, want %d and %d", requests, lost, s.Stored, s.Dropped)
	}
}
