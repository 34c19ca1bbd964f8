package requestlog

import (
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/settled"
)

const (
	// settleTime is how long a clock that jumps ahead must stay there before records are deleted by it.
	settleTime = 6 * time.Hour
	// clockName is the file that says until when a directory's clock was believed.
	clockName     = "clock"
	clockTemp     = clockName + ".tmp"
	clockInterval = time.Minute // between two writings of it
)

// AgeClock is the time by which records are too old. A clock that is ahead for a while must not delete a log: see package settled. What
// it knows outlasts the process, so that a start with a wrong clock does not either.
type AgeClock struct {
	clock   *settled.Clock
	dir     string
	fs      FS
	elapsed func() time.Duration

	mu    sync.Mutex
	saved time.Duration // when, by elapsed
}

// AgeClockOptions configure [OpenAgeClock]. Only Dir must be given.
type AgeClockOptions struct {
	Dir string // of the records
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Elapsed is how much time has passed since some moment, whatever is done to the clock. Default: since the call.
	Elapsed func() time.Duration
	Logger  *zap.Logger
	FS      FS
}

// OpenAgeClock goes on from where the last process has left, or else from the newest record of the directory. What cannot be read is
// not known: then it begins with what the clock says.
func OpenAgeClock(o AgeClockOptions) *AgeClock {
	if o.FS == nil {
		o.FS = osFS{}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Elapsed == nil {
		begun := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(begun) }
	}
	a := &AgeClock{dir: o.Dir, fs: o.FS, elapsed: o.Elapsed}
	from := a.read()
	if from.IsZero() {
		from = newestIn(o.FS, o.Dir)
	}
	a.saved = o.Elapsed()
	warned := false
	a.clock = settled.New(settled.Options{
		From: from, Wait: settleTime, Now: o.Now, Elapsed: o.Elapsed,
		Told: func(ahead time.Duration) {
			switch {
			case ahead == 0 && warned:
				warned = false
				o.Logger.Info("request log: the clock is believed again: old records are deleted by it", zap.String("directory", o.Dir))
			case ahead >= settleTime: // less is a restart, and deletes little
				warned = true
				o.Logger.Warn("request log: the clock has jumped ahead, or nothing ran for as long; if it stays there, records are deleted by it later",
					zap.String("directory", o.Dir), zap.Duration("ahead", ahead), zap.Duration("after", settleTime))
			}
		},
	})
	return a
}

// Now is the time that may delete.
func (a *AgeClock) Now() time.Time { return a.clock.Now() }

// Keep writes down, about once a minute, how far the clock is believed.
func (a *AgeClock) Keep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.elapsed(); now-a.saved >= clockInterval {
		a.saved = now
		a.write()
	}
}

// Close writes it down for the next process.
func (a *AgeClock) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write()
}

// write does its best: without the file, the next process goes on from an earlier time, and keeps records for longer.
func (a *AgeClock) write() {
	temp := filepath.Join(a.dir, clockTemp)
	text := a.Now().UTC().Format(fileTimeLayout)
	f, err := a.fs.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, err = f.Write([]byte(text))
	if f.Close() == nil && err == nil {
		err = a.fs.Rename(temp, filepath.Join(a.dir, clockName))
	}
	if err != nil {
		_ = a.fs.Remove(temp)
	}
}

func (a *AgeClock) read() time.Time {
	f, err := a.fs.OpenFile(filepath.Join(a.dir, clockName), os.O_RDONLY, 0)
	if err != nil {
		return time.Time{}
	}
	defer f.Close()
	text := make([]byte, len(fileTimeLayout))
	if _, err := f.ReadAt(text, 0); err != nil {
		return time.Time{}
	}
	at, _ := time.Parse(fileTimeLayout, string(text))
	return at
}

// newestIn is the time of the newest record of a directory, by the names of its files, zero if there is none.
func newestIn(files FS, dir string) (newest time.Time) {
	entries, err := files.ReadDir(dir)
	if err != nil {
		return newest
	}
	for _, e := range entries {
		_, last, ok := SealedSpan(e.Name(), journalSuffix)
		if !ok {
			_, last, ok = SealedSpan(e.Name(), parquetSuffix)
		}
		if !ok && isOpenName(e.Name()) {
			info, err := e.Info()
			if ok = err == nil; ok {
				last = info.ModTime() // of a process that was killed
			}
		}
		if ok && last.After(newest) {
			newest = last
		}
	}
	return newest
}
