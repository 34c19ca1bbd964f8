package archive

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// fakeClock is a clock that a test sets, and that the archive's goroutines read. Its time passes as it is set, but for what it is stepped.
type fakeClock struct{ ns, stepped atomic.Int64 }

func newFakeClock(t time.Time) *fakeClock {
	c := new(fakeClock)
	c.set(t)
	return c
}

func (c *fakeClock) set(t time.Time) { c.ns.Store(t.UnixNano()) }
func (c *fakeClock) now() time.Time  { return time.Unix(0, c.ns.Load()) }

func (c *fakeClock) elapsed() time.Duration { return time.Duration(c.ns.Load() - c.stepped.Load()) }

// step sets the clock forth, or back, without any time passing.
func (c *fakeClock) step(d time.Duration) {
	c.stepped.Add(int64(d))
	c.ns.Add(int64(d))
}

// hours writes a file of ten records for each of n hours from Begin.
func hours(t *testing.T, a *Archive, n int) []*requestlog.Record {
	t.Helper()
	var all []*requestlog.Record
	for hour := range n {
		records := requestlogtest.Records(10, uint64(hour+1))
		for i, r := range records {
			r.Time = r.Time.Add(time.Duration(hour) * time.Hour)
			r.ID = requestlogtest.ID(r.Time, uint64(hour*1000+i))
		}
		write(t, a, records)
		settle(a)
		all = append(all, records...)
	}
	return all
}

func TestWholeFilesAreDeletedByAgeAndSize(t *testing.T) {
	t.Parallel()
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		clock := newFakeClock(requestlogtest.Begin)
		a := openArchive(t, Options{Dir: t.TempDir(), Retention: 24 * time.Hour, Now: clock.now, Elapsed: clock.elapsed})
		records := hours(t, a, 10)
		clock.set(requestlogtest.Begin.Add(28*time.Hour + time.Minute))
		a.keep(t.Context())
		checkIDs(t, a, records[50:])
		if s, err := a.KeySummary(t.Context(), records[0].Key); err != nil || s.Requests == 0 || !s.FirstSeen.Before(records[50].Time) {
			t.Errorf("what a key did: got %+v, %v, want what was deleted counted too", s, err)
		}
		closeArchive(t, a)
	})
	t.Run("size", func(t *testing.T) {
		t.Parallel()
		clock := newFakeClock(requestlogtest.Begin)
		o := Options{Dir: t.TempDir(), Now: clock.now, Elapsed: clock.elapsed}
		a := openArchive(t, o)
		records := hours(t, a, 10)
		one := a.Stats().Bytes / 10
		closeArchive(t, a)
		o.MaxSize = 4*one + one/2
		a = openArchive(t, o)
		a.keep(t.Context())
		checkIDs(t, a, records[60:])
		if files := a.Stats().Files; files != 4 {
			t.Errorf("got %d files, want 4", files)
		}
		closeArchive(t, a)
	})
	t.Run("set aside", func(t *testing.T) {
		t.Parallel()
		clock := newFakeClock(time.Now())
		dir := t.TempDir()
		path := filepath.Join(dir, "20261120T100000.000Z_20261120T100002.000Z.parquet"+asideSuffix)
		if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		a := openArchive(t, Options{Dir: dir, Now: clock.now, Elapsed: clock.elapsed})
		a.keep(t.Context())
		if left := names(t, dir); len(left) != 1 {
			t.Errorf("got %q, want the damaged file kept", left)
		}
		clock.set(time.Now().Add(31 * 24 * time.Hour))
		a.keep(t.Context())
		if left := names(t, dir); len(left) != 0 {
			t.Errorf("got %q, want it deleted by age", left)
		}
		closeArchive(t, a)
	})
}

// The directory of an earlier version holds a journal only. It is taken over as it is.
func TestJournalOfAnEarlierVersionIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := requestlog.OpenJournal(requestlog.JournalOptions{Dir: dir, MaxFileSize: 20 << 10})
	if err != nil {
		t.Fatal(err)
	}
	records := requestlogtest.Records(500, 1)
	for batch := range slices.Chunk(records, 20) {
		if _, err := j.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	files := len(names(t, dir))
	a := openArchive(t, Options{Dir: dir})
	checkIDs(t, a, records)
	settle(a)
	checkIDs(t, a, records)
	checkSums(t, a, records)
	if s := a.Stats(); s.Sealed != files || s.Files != files {
		t.Errorf("stats: got %+v, want %d archived files", s, files)
	}
	closeArchive(t, a)
}

func TestArchiveOfTwoProcesses(t *testing.T) {
	t.Parallel()
	o := Options{Dir: t.TempDir()}
	a := openArchive(t, o)
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: got %v, want an error about another process", err)
	}
	closeArchive(t, a)
	closeArchive(t, openArchive(t, o))
}

func TestOpenRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {Dir: file}, {Dir: t.TempDir(), MaxSize: -1}, {Dir: t.TempDir(), RollAge: -1}} {
		if a, err := Open(o); err == nil {
			a.Close()
			t.Errorf("Open(%+v): got no error", o)
		}
	}
}

// What keys did is the same after a restart, also after one without a clean end, also with the file of it lost or damaged.
func TestUsageOutlastsTheProcess(t *testing.T) {
	t.Parallel()
	records := requestlogtest.Records(1500, 1)
	for name, harm := range map[string]func(path string) error{
		"clean":   func(string) error { return nil },
		"lost":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("nonsense nonsense nonsense"), 0o600) },
		"one bit": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 4
			return os.WriteFile(path, b, 0o600)
		},
		"older": func(path string) error { // the last file is not in it
			return os.Rename(path+".older", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			a := openArchive(t, Options{Dir: dir})
			path := filepath.Join(dir, usageName)
			for i := range 5 {
				write(t, a, records[i*300:(i+1)*300])
				if i < 4 {
					settle(a)
				}
				if i == 2 && name == "older" {
					a.house.Lock()
					if err := a.saveUsage(); err != nil {
						t.Fatal(err)
					}
					a.house.Unlock()
					if err := os.Rename(path, path+".older"); err != nil {
						t.Fatal(err)
					}
				}
			}
			before := summaries(t, a)
			closeArchive(t, a)
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			a = openArchive(t, Options{Dir: dir})
			for when := range 2 {
				if got := summaries(t, a); got != before {
					t.Errorf("restarted (%d):\n got %.600s\nwant %.600s", when, got, before)
				}
				a.keep(t.Context())
			}
			checkSums(t, a, records)
			closeArchive(t, a)
		})
	}
}

// summaries is what all keys did, but for the counts of addresses: those of an address that fell off the list begin anew, and
// where it did so depends on the files.
func summaries(t *testing.T, a *Archive) string {
	t.Helper()
	var out bytes.Buffer
	for i := range 20 {
		s, err := a.KeySummary(t.Context(), fmt.Sprintf("key_%d", i))
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Addresses {
			s.Addresses[i].Requests = 0
		}
		fmt.Fprintf(&out, "%+v\n", *s)
	}
	return out.String()
}

func TestUsageForgetsTheKeysThatWereNotSeenForLongest(t *testing.T) {
	t.Parallel()
	u := newUsage()
	for file := range 6 {
		d := newUsageDelta()
		for i := range 10_000 {
			n := file*10_000 + i
			d.add(&requestlog.Record{Key: fmt.Sprint("key_", n), Time: requestlogtest.Begin.Add(time.Duration(n) * time.Second), Status: 200})
		}
		u.merge(d, fmt.Sprint(file))
		u.merge(d, fmt.Sprint(file)) // once more is no more
	}
	if len(u.keys) != maxUsageKeys*9/10 || !u.forgot {
		t.Errorf("got %d keys, forgot %v, want %d", len(u.keys), u.forgot, maxUsageKeys*9/10)
	}
	if u.keys["key_59999"] == nil || u.keys["key_59999"].requests != 1 || u.keys["key_0"] != nil {
		t.Error("the wrong keys were forgotten")
	}
}

// Texts that come once each do not gather: what is kept of them is what the lists of the keys show, and those stay right.
func TestUsageOfAFileLetsTextsGo(t *testing.T) {
	t.Parallel()
	d := newUsageDelta()
	want := new(requestlog.KeySummary)
	for i := range 3 * fewDeltaTexts {
		r := requestlog.Record{
			Key: "key_1", Time: requestlogtest.Begin.Add(time.Duration(i) * time.Second), Status: 200, UserAgent: fmt.Sprint("agent ", i),
			Client: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), Resource: fmt.Sprint("things", i%3),
		}
		d.add(&r)
		want.Add(&r)
		if len(d.texts) > fewDeltaTexts+3 || len(d.addresses) > fewDeltaTexts+3 {
			t.Fatalf("after %d records: %d texts, %d addresses", i+1, len(d.texts), len(d.addresses))
		}
	}
	u := newUsage()
	u.merge(d, "file")
	got := new(requestlog.KeySummary)
	summarize(u.keys["key_1"], "key_1", got)
	if !reflect.DeepEqual(got.Resources, want.Resources) || !reflect.DeepEqual(got.UserAgents, want.UserAgents) || !reflect.DeepEqual(got.Addresses, want.Addresses) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// A forgotten key is answered from its records.
func TestForgottenKeyIsCountedFromRecords(t *testing.T) {
	t.Parallel()
	a := openArchive(t, Options{Dir: t.TempDir()})
	records := requestlogtest.Records(500, 1)
	write(t, a, records[:400])
	settle(a)
	write(t, a, records[400:])
	before := summaries(t, a)
	a.house.Lock()
	a.mu.Lock()
	clear(a.usage.keys)
	a.usage.forgot = true
	a.mu.Unlock()
	a.house.Unlock()
	if got := summaries(t, a); got != before {
		t.Errorf("got %.600s\nwant %.600s", got, before)
	}
	closeArchive(t, a)
}

// A page never looks at more than its budget and a little, whatever the filter, and always says how to go on.
func TestListIsBounded(t *testing.T) {
	t.Parallel()
	a := openArchive(t, Options{Dir: t.TempDir(), ScanBudget: 3 * costOfFile})
	records := hours(t, a, 10)
	pages := 0
	for after := ""; ; pages++ {
		page, err := a.List(t.Context(), requestlog.Query{Filter: requestlog.Filter{Host: "nowhere"}, Limit: 10, After: after})
		if err != nil || len(page.Records) > 0 {
			t.Fatalf("List: got %d records, %v", len(page.Records), err)
		}
		if !page.More {
			break
		}
		if after != "" && requestlog.CompareIDs(page.Next, after) >= 0 {
			t.Fatalf("the cursor %q does not fall below %q", page.Next, after)
		}
		after = page.Next
	}
	if pages < 2 || pages > 5 {
		t.Errorf("got %d pages for ten files that were never opened, want about one for three", pages)
	}
	a.o.TallyBudget = 1
	h, err := a.Histogram(t.Context(), requestlog.HistogramQuery{By: requestlog.ByKey, Bucket: time.Hour, Filter: requestlog.Filter{
		Since: records[0].Time, Until: records[99].Time.Add(time.Hour),
	}})
	if err != nil || h.Complete || !h.From.After(records[80].Time) || h.From.After(records[99].Time) {
		t.Errorf("histogram: complete %v from %v, %v; want it to end before the last file", h.Complete, h.From, err)
	}
	closeArchive(t, a)
}

// While the disk cannot be read nothing is taken for counted: what keys did is complete once it can be read again.
func TestUsageIsNotMadeOfFilesThatCouldNotBeRead(t *testing.T) {
	t.Parallel()
	records := requestlogtest.Records(600, 1)
	dir, disk := t.TempDir(), newDiskFS()
	a := openArchive(t, Options{Dir: dir})
	for half := range slices.Chunk(records, 300) {
		write(t, a, half)
		settle(a)
	}
	before := summaries(t, a)
	closeArchive(t, a)
	if err := os.Remove(filepath.Join(dir, usageName)); err != nil {
		t.Fatal(err)
	}
	disk.setReading(func(name string) error {
		if strings.HasSuffix(name, parquetSuffix) {
			return syscall.EIO
		}
		return nil
	})
	a = openArchive(t, Options{Dir: dir, FS: disk})
	a.keep(t.Context())
	disk.setReading(nil)
	a.keep(t.Context())
	if got := summaries(t, a); got != before {
		t.Errorf("got %.600s\nwant %.600s", got, before)
	}
	closeArchive(t, a)
}
