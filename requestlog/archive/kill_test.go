package archive

import (
	"bufio"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// childDirectory, in the environment, makes the test binary a writer to be killed; childFirst is the number of its first
// record.
const (
	childDirectory = "ARCHIVE_TEST_CHILD_DIRECTORY"
	childFirst     = "ARCHIVE_TEST_CHILD_FIRST"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		writeUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends records flat out, numbered without a gap, and every millisecond tells its parent the number of the
// newest that Append accepted, and when that was. Files are rolled and archived meanwhile.
func writeUntilKilled(dir string) {
	first, err := strconv.ParseInt(os.Getenv(childFirst), 10, 64)
	if err != nil {
		panic(err)
	}
	a, err := Open(Options{Dir: dir, RollSize: 1 << 20})
	if err != nil {
		panic(err)
	}
	// A short queue: flat out, what waits in a long one would be older than the interval on a machine that starves the writer.
	store := &timedStore{Archive: a}
	l, err := requestlog.Open(requestlog.Options{Store: store, QueueSize: 1024})
	if err != nil {
		panic(err)
	}
	told := time.Now()
	for number := first; ; {
		r := l.NewRecord()
		now := time.Now()
		r.ID, r.Time, r.Method, r.Path, r.Decision, r.BytesIn = requestlog.NewID(now), now, "POST", "/v1/charges", "allowed", number
		r.Key, r.UserAgent = "key_"+strconv.FormatInt(number%100, 10), "Client/v1"
		if !l.Append(r) {
			time.Sleep(100 * time.Microsecond) // full: the record of this number is made again
			continue
		}
		if now.Sub(told) >= time.Millisecond {
			told = now
			var b [24]byte
			binary.LittleEndian.PutUint64(b[:8], uint64(number))
			binary.LittleEndian.PutUint64(b[8:], uint64(now.UnixNano()))
			binary.LittleEndian.PutUint64(b[16:], uint64(store.stalled(now)))
			_, _ = os.Stdout.Write(b[:])
		}
		number++
	}
}

// timedStore knows how long the disk held a write up at most.
type timedStore struct {
	*Archive
	began, longest atomic.Int64 // Unix nanoseconds, 0 while nothing is written; nanoseconds
}

func (s *timedStore) Write(records []*requestlog.Record) (int, error) {
	began := time.Now()
	s.began.Store(began.UnixNano())
	n, err := s.Archive.Write(records)
	s.longest.Store(max(s.longest.Load(), int64(time.Since(began))))
	s.began.Store(0)
	return n, err
}

func (s *timedStore) stalled(now time.Time) int64 {
	if began := s.began.Load(); began != 0 {
		return max(s.longest.Load(), now.UnixNano()-began)
	}
	return s.longest.Load()
}

// accepted is what the child tells: this record was accepted at this time, and no write had taken longer than this until then.
type accepted struct {
	number int64
	at     time.Time
	stall  time.Duration
}

// killedWriter lets a child live until it is ready, and a little longer.
func killedWriter(t *testing.T, dir string, first int64, ready func() bool, life time.Duration) (told []accepted, killed time.Time) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childDirectory+"="+dir, childFirst+"="+strconv.FormatInt(first, 10))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	var head [24]byte
	_, err = io.ReadFull(in, head[:]) // its life begins when it writes
	if err == nil {
		eventually(t, "a file that the child archived", ready)
		time.Sleep(life)
	}
	killed = time.Now()
	if kill := child.Process.Kill(); kill != nil || err != nil {
		t.Fatalf("child: %v, %v", kill, err)
	}
	rest, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // "signal: killed"
	for b := append(head[:], rest...); len(b) >= 24; b = b[24:] {
		told = append(told, accepted{
			int64(binary.LittleEndian.Uint64(b)), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
			time.Duration(binary.LittleEndian.Uint64(b[16:])),
		})
	}
	return told, killed
}

// A process that is killed while it writes and archives loses nothing older than the longest flush interval, and leaves no file
// that cannot be read. Each round goes on where the one before was killed. Four rounds, or twenty with the benchmark.
func TestKilledProcessLosesNothingOld(t *testing.T) {
	rounds := 4
	if os.Getenv(benchRecords) != "" {
		rounds = 20
	}
	dir := t.TempDir()
	var stored int64
	for round := range rounds {
		sealed := func() int {
			return len(slices.DeleteFunc(names(t, dir), func(name string) bool { return !strings.HasSuffix(name, parquetSuffix) }))
		}
		before := sealed()
		ready := func() bool { return round%4 != 0 || sealed() > before } // the others are killed earlier
		told, killed := killedWriter(t, dir, stored, ready, time.Duration(rand.IntN(400))*time.Millisecond)
		a := openArchive(t, Options{Dir: dir, RollSize: 1 << 20})
		skipped := a.Stats().Skipped
		if round%2 == 0 {
			settle(a)
		}
		last := stored
		stored = countNumbers(t, a)
		if s := a.Stats(); s.SetAside > 0 || skipped > 1 || s.Errors > 0 {
			t.Errorf("round %d: got %+v, want at most the last line torn", round, s)
		}
		closeArchive(t, a)

		bound := requestlog.MaxFlushInterval + allowance(told)
		for _, a := range told {
			if age := killed.Sub(a.at); age > bound && a.number >= stored {
				t.Errorf("round %d: record %d was accepted %v before the kill and is lost; %d are stored, %d before", round, a.number, age, stored, last)
				break
			}
		}
	}
	t.Logf("%d records in %d rounds", stored, rounds)
}

// countNumbers reads everything, and wants each number from 0 on once.
func countNumbers(t *testing.T, a *Archive) int64 {
	t.Helper()
	var numbers []bool
	for after := ""; ; {
		p, err := a.List(t.Context(), requestlog.Query{Limit: requestlog.MaxLimit, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range p.Records {
			if r.IsGap() {
				continue
			}
			for int64(len(numbers)) <= r.BytesIn {
				numbers = append(numbers, false)
			}
			if numbers[r.BytesIn] {
				t.Fatalf("record %d is there twice", r.BytesIn)
			}
			numbers[r.BytesIn] = true
		}
		if after = p.Next; !p.More {
			break
		}
	}
	for n, ok := range numbers {
		if !ok {
			t.Fatalf("record %d of %d is missing", n, len(numbers))
		}
	}
	return int64(len(numbers))
}

// allowance is what the promise is widened by on a machine that lets the child wait for a processor or for the disk: the promise
// counts from when the child could run, and could write. It tells of itself every millisecond, so that a longer silence is how long
// it stood.
func allowance(told []accepted) time.Duration {
	var stood time.Duration
	for i := 1; i < len(told); i++ {
		stood = max(stood, told[i].at.Sub(told[i-1].at))
	}
	return min(max(4*stood, 100*time.Millisecond), time.Second) + told[len(told)-1].stall
}
