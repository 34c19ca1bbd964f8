package requestlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// childDirectory, in the environment, makes the test binary a writer to be killed; childPause is how long it waits between
// two records.
const (
	childDirectory = "REQUESTLOG_TEST_CHILD_DIRECTORY"
	childPause     = "REQUESTLOG_TEST_CHILD_PAUSE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		writeUntilKilled(dir)
		return
	}
	os.Exit(m.Run())
}

// writeUntilKilled appends records, flat out if no pause is asked for, numbered without a gap, and every millisecond tells
// its parent the number of the newest that Append accepted, and when that was.
func writeUntilKilled(dir string) {
	pause, err := time.ParseDuration(os.Getenv(childPause))
	if err != nil {
		panic(err)
	}
	l, err := Open(Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	told := time.Now()
	for number := int64(0); ; {
		r := l.NewRecord()
		now := time.Now()
		r.ID, r.Time, r.Method, r.Path, r.Decision, r.BytesIn = NewID(now), now, "POST", "/v1/charges", "allowed", number
		r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64)"
		if !l.Append(r) {
			time.Sleep(100 * time.Microsecond) // full: the record of this number is made again
			continue
		}
		if now.Sub(told) >= time.Millisecond {
			told = now
			var b [16]byte
			binary.LittleEndian.PutUint64(b[:8], uint64(number))
			binary.LittleEndian.PutUint64(b[8:], uint64(now.UnixNano()))
			_, _ = os.Stdout.Write(b[:])
		}
		number++
		if pause > 0 {
			time.Sleep(pause)
		}
	}
}

// accepted is what the child tells: this record was accepted at this time.
type accepted struct {
	number int64
	at     time.Time
}

func killedWriter(t *testing.T, dir string, pause, life time.Duration) (told []accepted, killed time.Time) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childDirectory+"="+dir, childPause+"="+pause.String())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	var first [16]byte
	_, err = io.ReadFull(in, first[:]) // its life begins when it writes
	if err == nil {
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
	for b := append(first[:], rest...); len(b) >= 16; b = b[16:] {
		told = append(told, accepted{int64(binary.LittleEndian.Uint64(b)), time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:])))})
	}
	return told, killed
}

// A process that is killed while it writes, flat out or at leisure, loses nothing older than the longest flush interval, leaves no file that
// cannot be read, and the next one goes on at once. Each round finds what all rounds before it left.
func TestKilledProcessLosesNothingOld(t *testing.T) {
	dir := t.TempDir()
	total := 0
	known := make(map[string]bool)
	for round := range 26 {
		pause, life := time.Duration(0), time.Duration(1+rand.IntN(300))*time.Millisecond
		if round >= 20 {
			pause, life = time.Millisecond, 500*time.Millisecond
		}
		told, killed := killedWriter(t, dir, pause, life)

		j := openJournal(t, JournalOptions{Dir: dir, MaxSize: 1 << 40})
		var got []int64
		for _, name := range journalFiles(t, dir) { // in the order of time
			if !known[name] {
				known[name] = true
				got = append(got, readNumbers(t, filepath.Join(dir, name))...)
			}
		}
		skipped := j.Stats().Skipped
		closeJournal(t, j)

		for i, n := range got {
			if n != int64(i) {
				t.Fatalf("round %d: record %d has number %d: one is missing or doubled", round, i, n)
			}
		}
		bound := MaxFlushInterval + allowance(told)
		for _, a := range told {
			if age := killed.Sub(a.at); age > bound && a.number >= int64(len(got)) {
				t.Errorf("round %d: record %d was accepted %v before the kill and is lost; %d are stored", round, a.number, age, len(got))
				break
			}
		}
		if skipped > 1 {
			t.Errorf("round %d: %d lines torn, want at most the last", round, skipped)
		}
		total += len(got)
	}

	j := openJournal(t, JournalOptions{Dir: dir, MaxSize: 1 << 40, ScanBudget: 1 << 40})
	defer j.Close()
	listed := 0
	for after := ""; ; {
		page, err := j.List(t.Context(), Query{Limit: MaxLimit, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			if !r.IsGap() {
				listed++
			}
		}
		if after = page.Next; !page.More {
			break
		}
	}
	if s := j.Stats(); listed != total || s.Skipped != 0 || s.Errors != 0 {
		t.Errorf("in the end: got %d records listed and %+v, want %d and nothing skipped", listed, s, total)
	}
}

// allowance is what the promise is widened by on a machine that lets the child wait for a processor: the promise counts from
// when the child could run. The child tells of itself every millisecond, so that a longer silence is how long it stood.
func allowance(told []accepted) time.Duration {
	var stood time.Duration
	for i := 1; i < len(told); i++ {
		stood = max(stood, told[i].at.Sub(told[i-1].at))
	}
	return min(max(4*stood, 100*time.Millisecond), time.Second)
}

// readNumbers reads a file's requests. Each line must be whole, for us and for any other reader of JSON.
func readNumbers(t *testing.T, path string) []int64 {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []int64
	var r Record
	for line := range bytes.Lines(content) {
		if err := decodeLine(line, &r); err != nil || !json.Valid(line) {
			t.Fatalf("%s: unreadable line %q: %v", filepath.Base(path), line, err)
		}
		if !r.IsGap() {
			list = append(list, r.BytesIn)
		}
	}
	return list
}
