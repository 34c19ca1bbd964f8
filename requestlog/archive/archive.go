package archive

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/requestlog"
)

// Archive is the embedded store of request records. All methods are safe for concurrent use, but for Write, which one
// goroutine calls at a time.
type Archive struct {
	o       Options
	fs      requestlog.FS
	logger  *zap.Logger
	journal *requestlog.Journal
	handles handleCache

	// mu guards what queries begin with: the view and the usage of its records, which change together.
	mu    sync.Mutex
	view  *view
	usage *usage

	bounds atomic.Pointer[bounds]
	aged   *requestlog.AgeClock // says what is too old

	house    sync.Mutex // held by who seals, deletes or sets aside: only then does the view change
	aside    []asideFile
	keepLog  quiet
	unsaved  int       // files whose usage is not on the disk
	saved    time.Time // when usage was written the last time
	kick     chan struct{}
	stop     context.CancelFunc
	finished chan struct{}

	skipped  atomic.Uint64
	errors   atomic.Uint64
	setAside atomic.Uint64
}

// Options configure [Open]. Only Dir must be given.
type Options struct {
	// Dir holds everything. It is made (0700) if it does not exist, and belongs to one process at a time.
	Dir string
	// Retention and MaxSize bound what is kept: whole files are deleted, the oldest first, when all their records are older
	// than Retention, or while all files together are larger than MaxSize bytes. Default 30 days and 10 GiB.
	Retention time.Duration
	MaxSize   int64
	// RollSize and RollAge say when a file of the journal ends and is made into a Parquet file. Default 32 MiB and 6 hours.
	RollSize int64
	RollAge  time.Duration
	// ScanBudget is how many values one query looks at before it answers with what it has. Default 20 million.
	ScanBudget int64
	// TallyBudget is the same for a histogram, which has no second page. Default 100 million.
	TallyBudget int64

	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Elapsed is how much time has passed since some moment, whatever is done to the clock. Default: since Open.
	Elapsed func() time.Duration
	// Logger hears of failures, at a bounded rate. Default: nobody does.
	Logger *zap.Logger
	// FS is the file system. Default: the real one.
	FS requestlog.FS
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("a directory must be given")
	}
	for _, v := range []int64{int64(o.Retention), o.MaxSize, o.RollSize, int64(o.RollAge), o.ScanBudget, o.TallyBudget} {
		if v < 0 {
			return errors.New("sizes and times must not be negative")
		}
	}
	o.Retention = orDefault(o.Retention, defaultRetention)
	o.MaxSize = orDefault(o.MaxSize, defaultMaxSize)
	o.RollSize = orDefault(o.RollSize, 32<<20)
	o.RollAge = orDefault(o.RollAge, 6*time.Hour)
	o.ScanBudget = orDefault(o.ScanBudget, 20_000_000)
	o.TallyBudget = orDefault(o.TallyBudget, 100_000_000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.FS == nil {
		o.FS = requestlog.SystemFS()
	}
	return nil
}

func orDefault[T int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Open opens the archive of a directory, or makes one. The journal of an earlier version is one whose files are not archived
// yet. Reading is left to queries: the names of the files say what they can hold.
func Open(o Options) (*Archive, error) {
	if err := o.setDefaults(); err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	a := &Archive{
		o: o, fs: o.FS, logger: o.Logger.With(zap.String("directory", o.Dir)),
		view: &view{}, usage: newUsage(), saved: o.Now(),
		kick: make(chan struct{}, 1), finished: make(chan struct{}),
	}
	a.bounds.Store(&bounds{o.Retention, o.MaxSize})
	a.aged = requestlog.OpenAgeClock(requestlog.AgeClockOptions{Dir: o.Dir, Now: o.Now, Elapsed: o.Elapsed, Logger: o.Logger, FS: o.FS})
	var err error
	a.journal, err = requestlog.OpenJournal(requestlog.JournalOptions{
		Dir: o.Dir, Retention: o.Retention, MaxSize: o.MaxSize, MaxFileSize: o.RollSize, MaxFileAge: o.RollAge,
		OnSealed: a.wake, Now: o.Now, Aged: a.aged.Now, Logger: o.Logger, FS: o.FS,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the archive: %w", err)
	}
	if err := a.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the archive: %w", err), a.journal.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	go a.keepHouse(ctx)
	return a, nil
}

// load lists the files that are there, and clears away what a crash left.
func (a *Archive) load() error {
	entries, err := a.fs.ReadDir(a.o.Dir)
	if err != nil {
		return err
	}
	v := &view{sources: make(map[string]bool)}
	for _, e := range entries {
		path := filepath.Join(a.o.Dir, e.Name())
		info, err := e.Info()
		if err != nil {
			continue // just deleted
		}
		switch {
		case isUnfinished(e.Name()):
			a.report("deleting what was not finished", a.fs.Remove(path))
		case isAside(e.Name()):
			a.aside = append(a.aside, asideFile{path, info.Size(), info.ModTime()})
		default:
			if f, ok := newFile(path, info.Size()); ok {
				v.files = append(v.files, f)
			}
		}
	}
	a.dropSealed(v)
	a.view = v
	a.usage.load(a, v.files)
	return nil
}

// isUnfinished says whether a file is one of ours that a crash left half written.
func isUnfinished(name string) bool {
	name, ok := strings.CutSuffix(name, tempSuffix)
	_, _, sealed := requestlog.SealedSpan(name, parquetSuffix)
	return ok && (sealed || name == usageName)
}

// isAside says whether a file is one of ours that was set aside.
func isAside(name string) bool {
	name, ok := strings.CutSuffix(name, asideSuffix)
	_, _, parquet := requestlog.SealedSpan(name, parquetSuffix)
	_, _, journal := requestlog.SealedSpan(name, requestlog.JournalSuffix)
	return ok && (parquet || journal)
}

// dropSealed finishes what a crash came between: a file of the journal that was archived and not yet deleted. If the archived
// file cannot be opened, the journal's is archived anew.
func (a *Archive) dropSealed(v *view) {
	for _, s := range a.journal.Sealed() {
		i := slices.IndexFunc(v.files, func(f *file) bool { return f.source() == s.Path })
		if i < 0 {
			continue
		}
		f := v.files[i]
		if err := a.check(f); err != nil {
			v.files = slices.Delete(v.files, i, i+1)
			a.report("reading an archived file", err)
			a.putAside(f.path, f.size)
			continue
		}
		if err := a.journal.Forget(s.Path); err != nil {
			a.report("deleting an archived file of the journal", err)
			v.sources[s.Path] = true
		}
	}
}

// Write appends the records to the journal.
func (a *Archive) Write(records []*requestlog.Record) (stored int, err error) {
	return a.journal.Write(records)
}

// Stats answers the archive's own counts.
func (a *Archive) Stats() requestlog.StoreStats {
	s := a.journal.Stats()
	s.Skipped += a.skipped.Load()
	s.Errors += a.errors.Load()
	s.SetAside = a.setAside.Load()
	v := a.pin()
	defer v.readers.Done()
	for _, f := range v.files {
		s.Files++
		s.Sealed++
		s.Bytes += f.size
	}
	return s
}

// Close makes everything durable and releases the directory. What is being made into a Parquet file stays in the journal; the
// next start goes on with it.
func (a *Archive) Close() error {
	a.stop()
	<-a.finished
	a.house.Lock()
	defer a.house.Unlock()
	a.aged.Close()
	err := errors.Join(a.saveUsage(), a.journal.Close())
	a.handles.close()
	return err
}

// report counts a failure, and tells of it at a bounded rate.
func (a *Archive) report(doing string, err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	a.errors.Add(1)
	if a.keepLog.allow(a.o.Now()) {
		a.logger.Error("request log: "+doing, zap.Error(err))
	}
}

// quiet lets one log line through in quietInterval, so that a lasting failure does not fill the log of the process.
type quiet struct {
	mu   sync.Mutex
	next time.Time
}

const quietInterval = 10 * time.Second

func (q *quiet) allow(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Before(q.next) {
		return false
	}
	q.next = now.Add(quietInterval)
	return true
}
