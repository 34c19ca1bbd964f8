package requestlog

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestAgeClockOutlastsTheProcess: what a start believes is what the last process knew, or the newest file of the directory; never a later time.
func TestAgeClockOutlastsTheProcess(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	now := at.Add(40 * 24 * time.Hour)
	core, said := observer.New(zap.InfoLevel)
	open := func(dir string) *AgeClock {
		return OpenAgeClock(AgeClockOptions{
			Dir: dir, Now: func() time.Time { return now }, Elapsed: func() time.Duration { return 0 }, Logger: zap.New(core),
		})
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  time.Time
	}{
		"nothing":         {nil, now},
		"a sealed file":   {map[string]string{"20261120T100000.000Z_20261125T120000.000Z.jsonl": ""}, at},
		"a Parquet file":  {map[string]string{"20261120T100000.000Z_20261125T120000.000Z.parquet": "", "20261120T100000.000Z_20261121T120000.000Z-1.jsonl": ""}, at},
		"its own":         {map[string]string{clockName: "20261125T120000.000Z", "20261120T100000.000Z_20261230T120000.000Z.parquet": ""}, at},
		"its own, ahead":  {map[string]string{clockName: "20261125T120000.000Z 24h0m0s 5h0m0s 48h0m0s 1h0m0s"}, at},
		"its own, stayed": {map[string]string{clockName: "20261125T120000.000Z 24h0m0s 6h0m0s 48h0m0s 1h0m0s"}, at.Add(24 * time.Hour)},
		"its own, cut":    {map[string]string{clockName: "20261125T120000.000Z 24h0m0s 6h0m0s 48h"}, at},
		"its own, odd":    {map[string]string{clockName: "20261125T120000.000Z 24h0m0s six 48h0m0s 1h0m0s"}, at},
		"its own, absurd": {map[string]string{clockName: "20261125T120000.000Z 0s 6h0m0s 48h0m0s 6h0m0s"}, at},
		"its own, broken": {map[string]string{clockName: "2026", "20261120T100000.000Z_20261125T120000.000Z.parquet": ""}, at},
		"its own, later":  {map[string]string{clockName: "20291125T120000.000Z"}, now},
	} {
		dir := t.TempDir()
		for file, text := range test.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a := open(dir)
		if got := a.Now(); !got.Equal(test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		a.Close()
		if got := open(dir).Now(); !got.Equal(test.want) {
			t.Errorf("%s: the next process begins with %v, want %v", name, got, test.want)
		}
	}
	warnings := said.FilterMessageSnippet("the clock has jumped ahead").All()
	if len(warnings) == 0 || !strings.Contains(warnings[0].Message, "later") {
		t.Errorf("the process says %v", said.All())
	}
}

// TestAgeClockInShortRuns: what a process has seen of a clock that is ahead counts for the next one. Thus a machine that runs for less than
// the wait at a time deletes old records, too; and one whose clock is wrong for less than that, in all of them, deletes none.
func TestAgeClockInShortRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now, elapsed := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), time.Duration(0)
	run := func(d time.Duration, kill bool) time.Time {
		a := OpenAgeClock(AgeClockOptions{Dir: dir, Now: func() time.Time { return now }, Elapsed: func() time.Duration { return elapsed }})
		a.Now()
		for range int(d / time.Minute) {
			now, elapsed = now.Add(time.Minute), elapsed+time.Minute
			a.Keep()
		}
		if !kill {
			a.Close()
		}
		return a.Now()
	}
	begin := run(time.Hour, false)
	now = now.Add(40 * 24 * time.Hour)
	if got := run(3*time.Hour, false); !got.Equal(begin.Add(3 * time.Hour)) {
		t.Errorf("after three hours %v is believed, want %v", got, begin.Add(3*time.Hour))
	}
	if got := run(2*time.Hour, true); !got.Equal(begin.Add(5 * time.Hour)) {
		t.Errorf("after five hours %v is believed, want %v", got, begin.Add(5*time.Hour))
	}
	now = now.Add(14 * time.Hour) // a night waits by itself
	if got, want := run(70*time.Minute, false), now.Add(-14*time.Hour); !got.Equal(want) {
		t.Errorf("after more than six hours %v is believed, want %v", got, want)
	}
	if got := run(5*time.Hour, false); !got.Equal(now) {
		t.Errorf("after six hours of the next jump %v is believed, want %v", got, now)
	}
}

// TestAgeClockTemporaryFileLeftBehind: one that cannot be written, such as that of a process of another user, is put out of the way.
func TestAgeClockTemporaryFileLeftBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, clockTemp), 0o700); err != nil { // which nobody can write to, root neither
		t.Fatal(err)
	}
	OpenAgeClock(AgeClockOptions{Dir: dir}).Close()
	if text, err := os.ReadFile(filepath.Join(dir, clockName)); err != nil || len(text) != len(fileTimeLayout) {
		t.Errorf("the clock's file holds %q (%v)", text, err)
	}
	if _, err := os.Stat(filepath.Join(dir, clockTemp)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary file is there: %v", err)
	}
}

// TestAgeClockWriteFails: it is told once, and again after one that did not.
func TestAgeClockWriteFails(t *testing.T) {
	t.Parallel()
	core, said := observer.New(zap.WarnLevel)
	files := newFaultFS()
	var elapsed time.Duration
	a := OpenAgeClock(AgeClockOptions{Dir: t.TempDir(), FS: files, Elapsed: func() time.Duration { return elapsed }, Logger: zap.New(core)})
	for _, step := range []struct {
		err  error
		want int
	}{{os.ErrPermission, 1}, {os.ErrPermission, 1}, {nil, 1}, {os.ErrPermission, 2}} {
		files.set(func() { files.open = step.err })
		elapsed += clockInterval
		a.Keep()
		if n := said.FilterMessageSnippet("cannot write down").Len(); n != step.want {
			t.Errorf("writing answers %v: told %d times, want %d", step.err, n, step.want)
		}
	}
	a.Close()
	if said.Len() != 2 {
		t.Errorf("the process says %v", said.All())
	}
}

// TestAgeClockUnreadable: a file that is there and cannot be read is told; what is believed is the newest record's time.
func TestAgeClockUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	core, said := observer.New(zap.WarnLevel)
	if err := os.Symlink(clockName, filepath.Join(dir, clockName)); err != nil { // to itself: root cannot read it, either
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "20261120T100000.000Z_20261125T120000.000Z.parquet"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := OpenAgeClock(AgeClockOptions{
		Dir: dir, Now: func() time.Time { return at.Add(40 * 24 * time.Hour) }, Elapsed: func() time.Duration { return 0 }, Logger: zap.New(core),
	})
	if got := a.Now(); !got.Equal(at) || said.FilterMessageSnippet("cannot read").Len() != 1 {
		t.Errorf("got %v, told %v", got, said.All())
	}
}
