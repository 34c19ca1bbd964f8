package requestlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

func openJournal(t *testing.T, o JournalOptions) *Journal {
	t.Helper()
	j, err := OpenJournal(o)
	if err != nil {
		t.Fatalf("OpenJournal: %v", err)
	}
	return j
}

// testClock is a clock that a test sets, and that the journal's goroutines read.
type testClock struct{ ns atomic.Int64 }

func newTestClock(t time.Time) *testClock {
	c := new(testClock)
	c.set(t)
	return c
}

func (c *testClock) set(t time.Time) { c.ns.Store(t.UnixNano()) }
func (c *testClock) now() time.Time  { return time.Unix(0, c.ns.Load()) }

func closeJournal(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

var journalBegin = time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)

// journalRecord is record number n, one a second.
func journalRecord(n int) *Record {
	at := journalBegin.Add(time.Duration(n) * time.Second)
	return &Record{
		ID: fmt.Sprintf("req_%s%08d", encodedPosition(positionOf(at)), n), Time: at, Method: "GET", Path: "/v1/charges", Status: 200, Decision: "allowed",
		Key: fmt.Sprintf("key_%d", n%10), BytesIn: int64(n), UserAgent: strings.Repeat("x", 300),
	}
}

func writeRecords(t *testing.T, j *Journal, from, n int) []*Record {
	t.Helper()
	records := make([]*Record, n)
	for i := range records {
		records[i] = journalRecord(from + i)
	}
	if stored, err := j.Write(records); stored != n || err != nil {
		t.Fatalf("Write: got %d, %v, want %d", stored, err, n)
	}
	return records
}

// numbers lists all records' numbers, oldest first.
func numbers(t *testing.T, j *Journal, f Filter) []int {
	t.Helper()
	var list []int
	for after := ""; ; {
		page, err := j.List(t.Context(), Query{Filter: f, Limit: MaxLimit, After: after})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		for _, r := range page.Records {
			list = append(list, int(r.BytesIn))
		}
		if after = page.Next; !page.More {
			slices.Reverse(list)
			return list
		}
	}
}

func sequence(from, to int) []int {
	var list []int
	for i := from; i < to; i++ {
		list = append(list, i)
	}
	return list
}

func checkNumbers(t *testing.T, j *Journal, want []int) {
	t.Helper()
	if got := numbers(t, j, Filter{}); !slices.Equal(got, want) {
		t.Errorf("journal: got %d records %v, want %d %v", len(got), got, len(want), want)
	}
}

// journalFiles lists the directory but for the lock.
func journalFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestJournalFilesAreNamedByTimeAndPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "requests")
	j := openJournal(t, JournalOptions{Dir: dir, Now: func() time.Time { return journalBegin }})
	if names := journalFiles(t, dir); len(names) != 0 {
		t.Errorf("before the first record: got %q, want no file", names)
	}
	writeRecords(t, j, 0, 3)
	if got, want := journalFiles(t, dir), []string{"open_20261120T100000.000Z.jsonl"}; !slices.Equal(got, want) {
		t.Errorf("while it is written: got %q, want %q", got, want)
	}
	closeJournal(t, j)
	closeJournal(t, j) // twice is harmless
	name := "20261120T100000.000Z_20261120T100002.000Z.jsonl"
	if got := journalFiles(t, dir); !slices.Equal(got, []string{name}) {
		t.Errorf("sealed: got %q, want %q", got, name)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, name): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %v, want %v", path, got, want)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(content) {
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil || fields["decision"] != "allowed" || fields["level"] != nil || fields["caller"] != nil {
			t.Errorf("line %s: %v", line, err)
		}
	}
}

func TestJournalRollsBySizeAndAge(t *testing.T) {
	t.Parallel()
	clock := newTestClock(journalBegin)
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, MaxFileSize: 12 << 10, MaxFileAge: time.Hour, Now: clock.now})
	for i := range 10 {
		writeRecords(t, j, i*10, 10) // about 5.5 kB
	}
	checkNumbers(t, j, sequence(0, 100))
	clock.set(journalBegin.Add(2 * time.Hour))
	writeRecords(t, j, 7200, 1)
	closeJournal(t, j)
	names := journalFiles(t, dir)
	if len(names) != 10/2+1 {
		t.Errorf("got %d files %q, want one for each two writes of about 5.5 kB, and one for the new age", len(names), names)
	}
	j = openJournal(t, JournalOptions{Dir: dir})
	defer j.Close()
	checkNumbers(t, j, append(sequence(0, 100), 7200))
	if s := j.Stats(); s.Files != len(names) || s.Bytes == 0 || s.Skipped != 0 || s.Errors != 0 {
		t.Errorf("stats: got %+v, want %d files", s, len(names))
	}
}

func TestJournalSealsIdleFiles(t *testing.T) {
	t.Parallel()
	clock := newTestClock(journalBegin)
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, Now: clock.now})
	defer j.Close()
	writeRecords(t, j, 0, 1)
	clock.set(journalBegin.Add(2 * time.Hour))
	j.rollIdle()
	j.sealRetired()
	if names := journalFiles(t, dir); len(names) != 1 || isOpenName(names[0]) {
		t.Errorf("idle file: got %q, want it sealed", names)
	}
	writeRecords(t, j, 1, 1)
	checkNumbers(t, j, sequence(0, 2))
}

func TestJournalOfTwoProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir})
	if _, err := OpenJournal(JournalOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: got %v, want an error about another process", err)
	}
	closeJournal(t, j)
	closeJournal(t, openJournal(t, JournalOptions{Dir: dir}))
}

func TestOpenJournalFailures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []JournalOptions{{}, {Dir: file}, {Dir: filepath.Join(file, "below")}, {Dir: t.TempDir(), MaxSize: -1}} {
		if j, err := OpenJournal(o); err == nil {
			j.Close()
			t.Errorf("OpenJournal(%+v): got no error", o)
		}
	}
}

func TestJournalCutsATornLineOff(t *testing.T) {
	t.Parallel()
	line, err := json.Marshal(journalRecord(3))
	if err != nil {
		t.Fatal(err)
	}
	torn := map[string]struct {
		tail    string
		skipped uint64
	}{
		"whole":           {"", 0},
		"half a line":     {string(line[:len(line)/2]), 1},
		"all but newline": {string(line), 1},
		"zeros":           {strings.Repeat("\x00", 4096), 1},
		"junk lines":      {"junk\n{}\n" + string(line) + "\n{\"id\":\"req_", 3},
		"one long line":   {strings.Repeat("x", 3*maxLine) + "\n" + string(line) + "\n", 1},
	}
	for name, tt := range torn {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			j := openJournal(t, JournalOptions{Dir: dir})
			writeRecords(t, j, 0, 3)
			path := j.current.path
			j.lock.Close() // as if the process were gone; the journal is not closed
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tt.tail); err != nil {
				t.Fatal(err)
			}
			f.Close()

			again := openJournal(t, JournalOptions{Dir: dir})
			want := sequence(0, 3)
			if strings.Contains(tt.tail, string(line)+"\n") {
				want = append(want, 3)
			}
			checkNumbers(t, again, want)
			if s := again.Stats(); s.Skipped != tt.skipped {
				t.Errorf("got %d lines skipped, want %d", s.Skipped, tt.skipped)
			}
			writeRecords(t, again, 10, 2)
			checkNumbers(t, again, append(want, 10, 11))
			closeJournal(t, again)

			again = openJournal(t, JournalOptions{Dir: dir})
			defer again.Close()
			checkNumbers(t, again, append(want, 10, 11))
		})
	}
}

func TestJournalDeletesWholeFilesByAgeAndSize(t *testing.T) {
	t.Parallel()
	fill := func(t *testing.T, o JournalOptions) *Journal {
		o.Dir, o.MaxFileSize = t.TempDir(), 1 // a file for each write
		j := openJournal(t, o)
		for i := range 10 {
			writeRecords(t, j, i*3600, 1) // one an hour
		}
		return j
	}
	t.Run("age", func(t *testing.T) {
		clock := newTestClock(journalBegin)
		j := fill(t, JournalOptions{Retention: 24 * time.Hour, Now: clock.now, Aged: clock.now})
		defer j.Close()
		clock.set(journalBegin.Add(24*time.Hour + 4*time.Hour + time.Minute))
		j.retain()
		checkNumbers(t, j, []int{5 * 3600, 6 * 3600, 7 * 3600, 8 * 3600, 9 * 3600})
	})
	t.Run("size", func(t *testing.T) {
		clock := newTestClock(journalBegin)
		j := fill(t, JournalOptions{Now: clock.now})
		o, size := j.o, j.Stats().Bytes
		closeJournal(t, j)
		o.MaxSize = 45 * size / 100
		j = openJournal(t, o)
		j.retain()
		checkNumbers(t, j, []int{6 * 3600, 7 * 3600, 8 * 3600, 9 * 3600})
		names := journalFiles(t, o.Dir)
		for end := time.Now().Add(20 * time.Second); len(names) != 4 && time.Now().Before(end); names = journalFiles(t, o.Dir) {
			time.Sleep(time.Millisecond) // the housekeeper was faster, and is deleting still
		}
		if len(names) != 4 {
			t.Errorf("got %d files, want 4", len(names))
		}
		closeJournal(t, j)
		o.MaxSize = 1
		j = openJournal(t, o)
		defer j.Close()
		writeRecords(t, j, 10*3600, 1)
		j.retain()
		checkNumbers(t, j, []int{10 * 3600}) // the file being written stays
	})
	t.Run("changed while open", func(t *testing.T) {
		clock := newTestClock(journalBegin.Add(10 * time.Hour))
		j := fill(t, JournalOptions{Now: clock.now})
		l := openLog(t, Options{Store: j})
		defer l.Close()
		l.SetRetention(0, 0) // the defaults
		l.SetRetention(150*time.Minute, 1<<30)
		for deadline := time.Now().Add(30 * time.Second); j.Stats().Files > 2 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		checkNumbers(t, j, []int{8 * 3600, 9 * 3600})
	})
}

// A page never reads more than its budget and a little, whatever the filter, and always says how to go on.
func TestJournalListIsBounded(t *testing.T) {
	t.Parallel()
	j := openJournal(t, JournalOptions{Dir: t.TempDir(), ScanBudget: 300 << 10})
	defer j.Close()
	for i := range 10 {
		writeRecords(t, j, i*1000, 1000)
	}
	pages := 0
	for after := ""; ; pages++ {
		page, err := j.List(t.Context(), Query{Filter: Filter{Key: "key_unknown"}, Limit: 10, After: after})
		if err != nil || len(page.Records) > 0 {
			t.Fatalf("List: got %d records, %v", len(page.Records), err)
		}
		if !page.More {
			break
		}
		if page.Next >= after && after != "" {
			t.Fatalf("the cursor %q does not fall below %q", page.Next, after)
		}
		after = page.Next
	}
	if most := int(j.Stats().Bytes/(300<<10)) + 1; pages < 5 || pages > most {
		t.Errorf("got %d pages for %d bytes, want at most %d", pages, j.Stats().Bytes, most)
	}
}

// A file that Write has just begun holds no record yet. Retention must not take it for an old one.
func TestRetentionSparesAFileJustBegun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openJournal(t, JournalOptions{Dir: dir, MaxSize: 1, Now: func() time.Time { return journalBegin }})
	defer j.Close()
	writeRecords(t, j, 0, 1)
	j.wmu.Lock() // as Write is, between beginning a file and its first record
	file, handle, err := j.create()
	if err != nil {
		t.Fatal(err)
	}
	j.retire()
	j.current, j.handle, j.sink = file, handle, zapcore.AddSync(handle)
	j.mu.Lock()
	j.files = append(j.files, file)
	j.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		j.retain()
	}()
	<-done // it does not wait for Write either
	j.wmu.Unlock()
	if _, err := os.Stat(file.path); err != nil {
		t.Errorf("the new file: %v", err)
	}
	writeRecords(t, j, 1, 2)
	checkNumbers(t, j, []int{1, 2})
}
