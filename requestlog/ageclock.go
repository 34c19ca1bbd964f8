package requestlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/settled"
)

const (
	// settleTime is how long a clock that jumps ahead must stay there before records are deleted by it.
	settleTime = 6 * time.Hour
	// clockName is the file that says until when a directory's clock was believed, and, while it is ahead of that, how far and for how
	// long it has been there: the two jumps of a settled.State, four durations after the time.
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
	logger  *zap.Logger

	mu      sync.Mutex
	saved   time.Duration // when, by elapsed
	failing bool          // the last writing failed, which was told
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
	a := &AgeClock{dir: o.Dir, fs: o.FS, elapsed: o.Elapsed, logger: o.Logger}
	from := a.read()
	if from.At.IsZero() {
		from.At = newestIn(o.FS, o.Dir)
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

// write does its best, and says once if that is not enough: without the file, the next process goes on from an earlier time, and keeps
// records for longer.
func (a *AgeClock) write() {
	err := a.replace()
	if err != nil && !a.failing {
		a.logger.Warn("request log: cannot write down how far the clock is believed; records are kept for longer after the next start",
			zap.String("directory", a.dir), zap.Error(err))
	}
	a.failing = err != nil
}

func (a *AgeClock) replace() error {
	temp := filepath.Join(a.dir, clockTemp)
	_ = a.fs.Remove(temp) // one that a process of another user has left cannot be written, but removed
	f, err := a.fs.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(clockText(a.clock.State())))
	if err = errors.Join(err, f.Close()); err == nil {
		err = a.fs.Rename(temp, filepath.Join(a.dir, clockName))
	}
	if err != nil {
		_ = a.fs.Remove(temp)
	}
	return err
}

func (a *AgeClock) read() settled.State {
	f, err := a.fs.OpenFile(filepath.Join(a.dir, clockName), os.O_RDONLY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			a.logger.Warn("request log: cannot read how far the clock was believed; it begins with the newest record", zap.String("directory", a.dir), zap.Error(err))
		}
		return settled.State{}
	}
	defer f.Close()
	text := make([]byte, maxClockText)
	n, err := f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return settled.State{}
	}
	return parseClock(string(text[:n]))
}

// maxClockText is more than a clockText is long.
const maxClockText = 256

func clockText(s settled.State) string {
	text := s.At.UTC().Format(fileTimeLayout)
	if s.First.Ahead != 0 {
		text += fmt.Sprintf(" %v %v %v %v", s.First.Ahead, s.First.Stayed, s.Rest.Ahead, s.Rest.Stayed)
	}
	return text
}

// parseClock is the opposite of clockText. What is cut off, or no such text, says as little as none: then a jump waits anew.
func parseClock(text string) (s settled.State) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return s
	}
	var err error
	if s.At, err = time.Parse(fileTimeLayout, fields[0]); err != nil || len(fields) != 5 {
		return s
	}
	var d [4]time.Duration
	for i, field := range fields[1:] {
		if d[i], err = time.ParseDuration(field); err != nil {
			return s
		}
	}
	s.First, s.Rest = settled.Jump{Ahead: d[0], Stayed: d[1]}, settled.Jump{Ahead: d[2], Stayed: d[3]}
	return s
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
