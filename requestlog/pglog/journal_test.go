package pglog

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

func journalFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+requestlog.JournalSuffix))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// damage overwrites a stretch in the middle of a file and cuts its end off, and answers which records are lost with it.
func damage(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ids := func() map[string]bool {
		list := make(map[string]bool)
		for line := range bytes.Lines(text) {
			var r struct{ ID string }
			if json.Unmarshal(line, &r) == nil && r.ID != "" {
				list[r.ID] = true
			}
		}
		return list
	}
	before := ids()
	for i := len(text) / 2; i < len(text)/2+2000; i++ {
		text[i] = 0
	}
	text = text[:len(text)-100]
	for id := range ids() {
		delete(before, id)
	}
	if len(before) < 3 {
		t.Fatalf("the damage costs %d records: this test shows nothing", len(before))
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return before
}

// TestFullJournal: when the journal has taken what it may, the log drops records, counts them, and tells of it by a gap record
// once the database is back. Those that were taken are there.
func TestFullJournal(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	o := options(t, server.Database(t))
	o.MaxSize = 1 << 20
	s := open(t, o)
	l, err := requestlog.Open(requestlog.Options{Store: s, Node: "a", QueueSize: 256, FlushInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	until(t, "records are dropped", func() bool {
		for range 100 {
			r := l.NewRecord()
			now := time.Now()
			r.ID, r.Time, r.Decision, r.UserAgent = requestlog.NewID(now), now, "allowed", "Mozilla/5.0 (X11; Linux x86_64)"
			if l.Append(r) {
				accepted++
			}
		}
		return l.Stats().Dropped > 1000
	})
	if b := s.Stats().Backlog; b.Bytes > 2<<20 {
		t.Errorf("the journal has taken %d bytes, want about 1 MiB", b.Bytes)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	dropped := int64(l.Stats().Dropped)
	var told int64
	var requests int
	until(t, "the gaps tell of every dropped record", func() bool {
		if l.Stats().Queued > 0 || !s.empty() {
			return false
		}
		told, requests = 0, 0
		for _, r := range all(t, s, requestlog.Filter{}) {
			if told += r.Lost; r.Lost == 0 {
				requests++
			}
		}
		return told >= dropped
	})
	if told != dropped || requests != accepted {
		t.Errorf("%d requests are there and gaps tell of %d lost ones; %d were accepted and %d dropped", requests, told, accepted, dropped)
	}
}

// TestShippedFilesAreDeleted: the journal does not grow while records arrive.
func TestShippedFilesAreDeleted(t *testing.T) {
	t.Parallel()
	o := options(t, pgtest.Shared(t).Database(t))
	o.JournalSize = 64 << 10
	s := open(t, o)
	records := requestlogtest.Records(3000, 4)
	for batch := range slices.Chunk(records, 100) {
		write(t, s, batch)
	}
	until(t, "only the file being written is left", func() bool { return s.empty() && len(journalFiles(t, o.Dir)) <= 1 })
	same(t, s, records)
	// Of a stop nothing is left behind.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if files := journalFiles(t, o.Dir); len(files) != 0 {
		t.Errorf("after a stop the journal has %v", files)
	}
}

// TestVanishedFile: somebody deletes what is waiting. The rest goes on.
func TestVanishedFile(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	o := options(t, server.Database(t))
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	o.JournalSize = 32 << 10
	s := open(t, o)
	records := requestlogtest.Records(600, 5)
	for batch := range slices.Chunk(records, 50) {
		write(t, s, batch)
	}
	until(t, "files are sealed", func() bool {
		names, _ := filepath.Glob(filepath.Join(o.Dir, "2*"+requestlog.JournalSuffix))
		return len(names) > 3
	})
	names, _ := filepath.Glob(filepath.Join(o.Dir, "2*"+requestlog.JournalSuffix))
	if err := os.Remove(names[1]); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "the rest arrives", s.empty)
	if got := all(t, s, requestlog.Filter{}); len(got) >= len(records) || len(got) < len(records)/2 {
		t.Errorf("%d of %d records are there", len(got), len(records))
	}
}

// TestVanishedCurrentFile: somebody deletes the file that is being written. What was shipped of it does not count for those to come.
func TestVanishedCurrentFile(t *testing.T) {
	t.Parallel()
	o := options(t, pgtest.Shared(t).Database(t))
	s := open(t, o)
	records := requestlogtest.Records(200, 6)
	write(t, s, records[:100])
	until(t, "records arrive", s.empty)
	files := s.journal.JournalFiles()
	if err := os.Remove(files[len(files)-1].Path); err != nil {
		t.Fatal(err)
	}
	write(t, s, records[100:])
	until(t, "the places agree again", func() bool { total, shipped := s.places(); return shipped == total })
	same(t, s, records)
}

func TestMarks(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	var m marks
	for i := range 10_000 {
		m.add(int64(i+1)*100, 2, begin.Add(time.Duration(i)*2*time.Second))
	}
	if len(m.list) > maxMarks || m.records() != 20_000 || !m.oldest().Equal(begin) {
		t.Errorf("%d marks of %d records from %v", len(m.list), m.records(), m.oldest())
	}
	m.drop(500_000)
	if n := m.records(); n < 9_990 || n > 10_010 {
		t.Errorf("half of the way there are %d records", n)
	}
	if at := m.oldest().Sub(begin); at < 9_900*time.Second || at > 10_000*time.Second {
		t.Errorf("half of the way the oldest is of %v", at)
	}
	m.drop(1_000_000)
	if m.records() != 0 || !m.oldest().IsZero() {
		t.Errorf("at the end there are %d records from %v", m.records(), m.oldest())
	}
}

// fullDisk is the real file system, on which nothing can be written while full is set.
type fullDisk struct {
	requestlog.FS
	full atomic.Bool
}

func (d *fullDisk) OpenFile(path string, flag int, perm fs.FileMode) (requestlog.File, error) {
	f, err := d.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &fullFile{f, d}, nil
}

type fullFile struct {
	requestlog.File
	disk *fullDisk
}

func (f *fullFile) Write(b []byte) (int, error) {
	if f.disk.full.Load() {
		n, _ := f.File.Write(b[:len(b)/2]) // what was left
		return n, syscall.ENOSPC
	}
	return f.File.Write(b)
}

// TestFullDisk: while the node's disk is full, nothing is taken that is not kept; what was taken arrives.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	o := options(t, pgtest.Shared(t).Database(t))
	disk := &fullDisk{FS: requestlog.SystemFS()}
	o.FS = disk
	s := open(t, o)
	var want []*requestlog.Record
	for i, batch := range slices.Collect(slices.Chunk(requestlogtest.Records(1000, 11), 100)) {
		disk.full.Store(i%3 == 1)
		n, err := s.Write(batch)
		if (err == nil) == disk.full.Load() {
			t.Errorf("Write on a disk that is full %v: %v", disk.full.Load(), err)
		}
		want = append(want, batch[:n]...)
	}
	until(t, "what was taken arrives", s.empty)
	same(t, s, want)
}
