package requestlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Journal is the embedded store: JSON Lines in files of one directory. A record is in the page cache when Write returns, so
// that it survives the process; it is synced to the disk within a second, which is what a power cut may cost. Files are
// rolled by size and age, sealed by a sync and a rename, and deleted whole. A line that a crash tore is cut off, and counted,
// when the next process opens the directory; writing always begins in a new file.
type Journal struct {
	o      JournalOptions
	fs     FS
	now    func() time.Time
	aged   func() time.Time
	logger *zap.Logger

	// wmu is held by Write, and by whoever rolls or closes: it guards the file being written.
	wmu     sync.Mutex
	closed  bool
	lock    io.Closer
	current *journalFile // nil before the first record
	handle  File         // of current; nil after a failure
	sink    zapcore.WriteSyncer
	encoder *encoder
	buf     []byte
	lines   []lineMark
	missing logLimit

	// mu guards the lists of files and their indexes. It is held for moments only, by readers too. Where both locks are
	// needed, wmu is taken first.
	mu      sync.Mutex
	files   []*journalFile // the current one is the last
	retired []retiredFile  // to be sealed by the housekeeper

	sealing sync.Mutex // held while retired files are sealed

	kick     chan struct{} // capacity 1: something was retired
	quit     chan struct{}
	finished chan struct{}
	dirty    atomic.Bool // written since the last sync
	bounds   atomic.Pointer[retentionBounds]
	keepLog  logLimit // housekeeper only

	skipped atomic.Uint64
	errors  atomic.Uint64
}

// JournalOptions configure [OpenJournal]. Only Dir must be given; the defaults of Retention, MaxSize, Now, Logger and FS are
// those of [Options].
type JournalOptions struct {
	Dir       string
	Retention time.Duration
	MaxSize   int64
	// MaxFileSize and MaxFileAge say when a file is sealed and a new one begun. Default 64 MiB and one hour.
	MaxFileSize int64
	MaxFileAge  time.Duration
	// SyncInterval is how often what was written is synced to the disk. Default one second.
	SyncInterval time.Duration
	// OnSealed is called by the journal's housekeeper when files were sealed. It must not block.
	OnSealed func()
	// ScanBudget is how many bytes one List reads before it answers with what it has. Default 256 MiB.
	ScanBudget int64

	Now    func() time.Time
	Logger *zap.Logger
	FS     FS
	// Aged is the time by which records are too old. Default: an AgeClock of the directory.
	Aged func() time.Time
}

func (o *JournalOptions) setDefaults() error {
	if o.Dir == "" {
		return errors.New("a directory must be given")
	}
	o.Retention = orDefault(o.Retention, defaultRetention)
	o.MaxSize = orDefault(o.MaxSize, defaultMaxSize)
	o.MaxFileSize = orDefault(o.MaxFileSize, 64<<20)
	o.MaxFileAge = orDefault(o.MaxFileAge, time.Hour)
	o.SyncInterval = orDefault(o.SyncInterval, time.Second)
	o.ScanBudget = orDefault(o.ScanBudget, 256<<20)
	for _, v := range []int64{int64(o.Retention), o.MaxSize, o.MaxFileSize, int64(o.MaxFileAge), int64(o.SyncInterval), o.ScanBudget} {
		if v < 0 {
			return errors.New("sizes and times must not be negative")
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.FS == nil {
		o.FS = osFS{}
	}
	return nil
}

func orDefault[T int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// OpenJournal opens the journal of a directory, which is made if it does not exist, and seals what a crash left open.
func OpenJournal(o JournalOptions) (*Journal, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	j := &Journal{
		o: o, fs: o.FS, now: o.Now, logger: o.Logger.With(zap.String("directory", o.Dir)),
		encoder:  newEncoder(),
		kick:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
		finished: make(chan struct{}),
	}
	if err := j.fs.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	if j.aged = o.Aged; j.aged == nil {
		j.aged = OpenAgeClock(AgeClockOptions{Dir: o.Dir, Now: o.Now, Logger: o.Logger, FS: o.FS}).Now
	}
	var err error
	j.bounds.Store(&retentionBounds{o.Retention, o.MaxSize})
	if j.lock, err = j.fs.Lock(filepath.Join(o.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("locking %s: %w", o.Dir, err)
	}
	if err := j.load(); err != nil {
		_ = j.lock.Close()
		return nil, fmt.Errorf("reading %s: %w", o.Dir, err)
	}
	go j.keepHouse()
	return j, nil
}

// load lists the files that are there, and recovers those that were not sealed.
func (j *Journal) load() error {
	entries, err := j.fs.ReadDir(j.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(j.o.Dir, e.Name())
		if isOpenName(e.Name()) {
			// A file that cannot be recovered must not keep the gateway from starting: it stays for the next start.
			if err := j.recover(path); err != nil {
				j.errors.Add(1)
				j.logger.Error("request log: cannot recover a file", zap.String("file", path), zap.Error(err))
			}
			continue
		}
		s, ok := parseSealedName(e.Name(), journalSuffix)
		info, err := e.Info()
		if !ok || err != nil {
			continue // not ours, or just deleted
		}
		j.files = append(j.files, &journalFile{path: path, size: info.Size(), span: s, sealed: true})
	}
	slices.SortFunc(j.files, func(a, b *journalFile) int { return strings.Compare(a.path, b.path) })
	return nil
}

// recover indexes a file that was never sealed, cuts a torn last line off, and seals it.
func (j *Journal) recover(path string) error {
	f, err := j.fs.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	res, err := indexFile(f, info.Size())
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.skipped.Add(res.skipped)
	if res.skipped > 0 {
		j.logger.Warn("request log: unreadable lines after a crash", zap.String("file", path),
			zap.Uint64("lines", res.skipped), zap.Int64("torn_bytes", res.torn))
	}
	if res.torn > 0 {
		if err := f.Truncate(res.file.size); err != nil {
			j.errors.Add(1) // harmless: readers stop at the last whole line
		}
	}
	file := &res.file
	file.path, file.begun = path, info.ModTime()
	j.files = append(j.files, file)
	return j.seal(retiredFile{file, f})
}

// Stats answers the store's own counts.
func (j *Journal) Stats() StoreStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := StoreStats{Files: len(j.files), Skipped: j.skipped.Load(), Errors: j.errors.Load()}
	for _, f := range j.files {
		s.Bytes += f.size
	}
	return s
}

// Close syncs and seals the current file and releases the directory.
func (j *Journal) Close() error {
	j.wmu.Lock()
	if j.closed {
		j.wmu.Unlock()
		return nil
	}
	j.closed = true
	last := retiredFile{j.current, j.handle}
	j.current, j.handle, j.sink = nil, nil, nil
	j.wmu.Unlock()

	close(j.quit)
	<-j.finished
	var errs []error
	if last.file != nil {
		errs = append(errs, j.seal(last))
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
	}
	return errors.Join(errs...)
}
