package requestlog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

// retiredFile is a file that will not be written any more. handle is nil if it was lost to a failure.
type retiredFile struct {
	file   *journalFile
	handle File
}

const retentionInterval = time.Minute

// keepHouse syncs, seals and deletes, apart from the writer: a slow sync must not keep records in memory.
func (j *Journal) keepHouse() {
	defer close(j.finished)
	syncs := time.NewTicker(j.o.SyncInterval)
	defer syncs.Stop()
	retention := time.NewTicker(retentionInterval)
	defer retention.Stop()
	j.retain()
	for {
		select {
		case <-j.kick:
			j.sealRetired()
			j.retain()
		case <-syncs.C:
			j.report("syncing", j.sync())
		case <-retention.C:
			j.rollIdle()
			j.sealRetired()
			j.retain()
		case <-j.quit:
			j.sealRetired()
			return
		}
	}
}

func (j *Journal) sealRetired() {
	j.sealing.Lock()
	defer j.sealing.Unlock()
	j.mu.Lock()
	retired := j.retired
	j.retired = nil
	j.mu.Unlock()
	for _, r := range retired {
		j.report("sealing a file", j.seal(r))
		j.sealAgain(r.file)
	}
	if len(retired) > 0 && j.o.OnSealed != nil {
		j.o.OnSealed()
	}
}

// sealAgain has a file sealed the next time that has kept its name, as on a disk that takes no changes for a while.
func (j *Journal) sealAgain(f *journalFile) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !f.sealed && slices.Contains(j.files, f) && j.exists(f.path) {
		j.retired = append(j.retired, retiredFile{file: f})
	}
}

func (j *Journal) report(doing string, err error) {
	if err == nil {
		return
	}
	j.errors.Add(1)
	if j.keepLog.allow(j.now()) {
		j.logger.Error("request log: "+doing, zap.Error(err))
	}
}

// sync makes durable what was written since the last time. The writer may write, or even close the file, meanwhile.
func (j *Journal) sync() error {
	if !j.dirty.Swap(false) {
		return nil
	}
	j.wmu.Lock()
	sink := j.sink
	j.wmu.Unlock()
	if sink == nil {
		return nil
	}
	if err := sink.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// rollIdle retires a file that nothing was written to for long: Write rolls only when it is called.
func (j *Journal) rollIdle() {
	j.wmu.Lock()
	defer j.wmu.Unlock()
	if j.current != nil && j.handle != nil && j.mustRoll(0) {
		j.retire()
	}
}

// seal syncs and closes a file and renames it after its records, or, if none can be read, after the time at which it was
// begun; an empty one is removed.
func (j *Journal) seal(r retiredFile) error {
	var errs []error
	if r.handle != nil {
		if err := r.handle.Sync(); err != nil {
			errs = append(errs, fmt.Errorf("syncing %s: %w", r.file.path, err))
		}
		if err := r.handle.Close(); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", r.file.path, err))
		}
	}
	j.mu.Lock()
	r.file.closeBlock()
	if len(r.file.blocks) == 0 {
		r.file.span = emptySpan
		r.file.span.add(positionOf(r.file.begun), r.file.begun.UnixMilli())
	}
	if r.file.size == 0 {
		j.files = slices.DeleteFunc(j.files, func(f *journalFile) bool { return f == r.file })
		errs = append(errs, ignoreMissing(j.fs.Remove(r.file.path)))
	} else {
		errs = append(errs, j.renameLocked(r.file))
	}
	j.mu.Unlock()
	return errors.Join(append(errs, j.syncDir())...)
}

// renameLocked gives a file its sealed name. Readers open files under the same lock, so that none meets the moment between.
func (j *Journal) renameLocked(f *journalFile) error {
	for attempt := range maxNameAttempts {
		path := filepath.Join(j.o.Dir, sealedName(f.span, attempt))
		if j.exists(path+journalSuffix) || j.exists(path+parquetSuffix) {
			continue // a rename would replace it, or make it look like what was archived already
		}
		if err := j.fs.Rename(f.path, path+journalSuffix); err != nil {
			return ignoreMissing(err) // it keeps its name until the next try
		}
		f.path, f.sealed = path+journalSuffix, true
		return nil
	}
	return fmt.Errorf("more than %d files like %s", maxNameAttempts, sealedName(f.span, 0))
}

func (j *Journal) exists(path string) bool {
	_, err := j.fs.Stat(path)
	return err == nil
}

// syncDir makes renames and removals durable.
func (j *Journal) syncDir() error {
	d, err := j.fs.OpenFile(j.o.Dir, os.O_RDONLY, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		err = nil // some file systems know no such thing
	}
	return errors.Join(err, d.Close())
}

// retain deletes whole files, the oldest first: those too old, and then as many as are too much. The file being written
// stays: it is the last one, unless it is sealed already. Asking Write for it would tell of the one before, when Write is just
// beginning a new one, which holds no record yet and looks as old as can be.
func (j *Journal) retain() {
	bounds := j.bounds.Load()
	oldest := j.aged().Add(-bounds.age).UnixMilli()
	j.mu.Lock()
	var current *journalFile
	if n := len(j.files); n > 0 && !j.files[n-1].sealed {
		current = j.files[n-1]
	}
	byAge := slices.Clone(j.files)
	slices.SortStableFunc(byAge, func(a, b *journalFile) int { return cmp.Compare(a.span.last, b.span.last) })
	var total int64
	for _, f := range byAge {
		total += f.size
	}
	var remove []*journalFile
	for _, f := range byAge {
		if f == current || f.span.last >= oldest && total <= bounds.size {
			continue
		}
		total -= f.size
		remove = append(remove, f)
	}
	j.files = slices.DeleteFunc(j.files, func(f *journalFile) bool { return slices.Contains(remove, f) })
	j.mu.Unlock()

	for _, f := range remove {
		j.report("deleting an old file", ignoreMissing(j.fs.Remove(f.path)))
	}
}

// retentionBounds are what is kept: by age, and by size in bytes.
type retentionBounds struct {
	age  time.Duration
	size int64
}

// SetRetention changes what is kept, see RetentionSetter.
func (j *Journal) SetRetention(age time.Duration, size int64) {
	j.bounds.Store(&retentionBounds{orDefault(age, defaultRetention), orDefault(size, defaultMaxSize)})
	signal(j.kick)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
