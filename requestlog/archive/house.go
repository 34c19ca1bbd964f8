package archive

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	keepInterval = time.Minute
	saveInterval = time.Minute // between two writings of the usage

	maxFailures = 3 // to archive a file, before the others have to wait

	tempSuffix  = ".tmp"     // not finished
	asideSuffix = ".damaged" // set aside
)

// asideFile is a damaged file that nobody reads any more. It is kept for the operator until retention deletes it.
type asideFile struct {
	path string
	size int64
	at   time.Time
}

// wake tells the housekeeper that there is something to do.
func (a *Archive) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// keepHouse archives, sets aside and deletes, apart from the writer and the queries.
func (a *Archive) keepHouse(ctx context.Context) {
	defer close(a.finished)
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		// What files hold must never end the process, also where this code is wrong.
		a.report("keeping the archive", guard(func() error {
			a.keep(ctx)
			return nil
		}))
		select {
		case <-a.kick:
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// keep does once what there is to do.
func (a *Archive) keep(ctx context.Context) {
	a.house.Lock()
	defer a.house.Unlock()
	a.setAsideDamaged()
	a.usage.catchUp(ctx, a)
	failures := 0
	for _, s := range a.journal.Sealed() {
		if ctx.Err() != nil {
			return
		}
		if failures == maxFailures {
			break // the disk, not a file; the next time is soon
		}
		if a.view.sources[s.Path] {
			a.report("deleting an archived file of the journal", a.forget(s)) // it failed the last time
			continue
		}
		if err := a.seal(ctx, s); err != nil {
			failures++
			a.report("archiving a file of the journal", err)
		}
	}
	a.retain()
	a.aged.Keep()
	if a.unsaved > 0 && a.o.Now().Sub(a.saved) >= saveInterval {
		a.report("writing what keys did", a.saveUsage())
	}
}

// setAsideDamaged takes out of the view what queries found damaged or gone.
func (a *Archive) setAsideDamaged() {
	var damaged []*file
	for _, f := range a.view.files {
		if f.state.Load() != fileGood {
			damaged = append(damaged, f)
		}
	}
	if len(damaged) == 0 {
		return
	}
	a.publish(func(v *view) {
		v.files = slices.DeleteFunc(v.files, func(f *file) bool { return slices.Contains(damaged, f) })
		for _, f := range damaged {
			delete(v.sources, f.source()) // if it is still there, its records are found in it, and archived anew
		}
	}, nil)
	for _, f := range damaged {
		a.handles.drop(f)
		if f.state.Load() == fileDamaged {
			a.putAside(f.path, f.size)
		}
	}
}

// putAside gives a damaged file another name.
func (a *Archive) putAside(path string, size int64) {
	err := a.fs.Rename(path, path+asideSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	a.setAside.Add(1)
	a.logger.Error("request log: a damaged file was set aside; its records are missing from now on", zap.String("file", path+asideSuffix), zap.Error(err))
	if err != nil {
		a.errors.Add(1) // the next start meets it again
		return
	}
	a.aside = append(a.aside, asideFile{path + asideSuffix, size, a.o.Now()})
	a.report("setting a file aside", a.syncDir())
}

// retain deletes whole files, the oldest first: those too old, and then as many as are too much.
func (a *Archive) retain() {
	keep := a.bounds.Load()
	oldest := a.aged.Now().Add(-keep.age)
	total := a.journal.Stats().Bytes
	var aside []asideFile
	for _, f := range a.aside {
		if f.at.Before(oldest) {
			a.report("deleting a damaged file", ignoreMissing(a.fs.Remove(f.path)))
			continue
		}
		total += f.size
		aside = append(aside, f)
	}
	a.aside = aside
	byAge := slices.Clone(a.view.files)
	slices.SortStableFunc(byAge, func(a, b *file) int { return cmp.Compare(a.span.last, b.span.last) })
	for _, f := range byAge {
		total += f.size
	}
	var remove []*file
	for _, f := range byAge {
		if f.span.last < oldest.UnixMilli() || total > keep.size {
			total -= f.size
			remove = append(remove, f)
		}
	}
	if len(remove) == 0 {
		return
	}
	a.publish(func(v *view) {
		v.files = slices.DeleteFunc(v.files, func(f *file) bool { return slices.Contains(remove, f) })
	}, nil)
	for _, f := range remove {
		a.handles.drop(f)
		a.report("deleting an old file", ignoreMissing(a.fs.Remove(f.path)))
	}
}

// syncDir makes renames and removals durable.
func (a *Archive) syncDir() error {
	d, err := a.fs.OpenFile(a.o.Dir, os.O_RDONLY, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrInvalid) {
		err = nil // some file systems know no such thing
	}
	return errors.Join(err, d.Close())
}

// replaceFile writes a file whole or not at all: under another name, synced, renamed. The caller syncs the directory.
func (a *Archive) replaceFile(path string, write func(*outFile) error) (size int64, err error) {
	temp := path + tempSuffix
	handle, err := a.fs.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	out := newOutFile(handle)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = handle.Sync()
	}
	err = errors.Join(err, handle.Close())
	if err == nil {
		err = a.fs.Rename(temp, path)
	}
	if err != nil {
		_ = a.fs.Remove(temp) // the next start deletes it otherwise
		return 0, err
	}
	return out.size, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (a *Archive) join(name string) string { return filepath.Join(a.o.Dir, name) }
