package archive

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/keystile/keystile/requestlog"
)

// diskFS is the real file system, in which a test can let anything fail.
type diskFS struct {
	requestlog.FS
	mu sync.Mutex
	// fail is asked before everything that changes the disk, with what is done and the file's name; n is how many bytes a
	// write has. A write that fails behind some bytes answers how many in partErr.
	fail func(op, name string, n int) error
	// reading is asked before every read of a file.
	reading func(name string) error
	locks   []io.Closer
}

// partErr is a write that failed behind n bytes.
type partErr struct {
	n   int
	err error
}

func (e *partErr) Error() string { return e.err.Error() }
func (e *partErr) Unwrap() error { return e.err }

func newDiskFS() *diskFS { return &diskFS{FS: requestlog.SystemFS()} }

func (d *diskFS) set(fail func(op, name string, n int) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

func (d *diskFS) setReading(reading func(name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reading = reading
}

func (d *diskFS) ask(op, path string, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	return d.fail(op, filepath.Base(path), n)
}

func (d *diskFS) askReading(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reading == nil {
		return nil
	}
	return d.reading(filepath.Base(path))
}

func (d *diskFS) MkdirAll(path string, perm fs.FileMode) error {
	return errors.Join(d.ask("mkdir", path, 0), d.FS.MkdirAll(path, perm))
}

func (d *diskFS) OpenFile(path string, flag int, perm fs.FileMode) (requestlog.File, error) {
	if flag != os.O_RDONLY {
		if err := d.ask("open", path, 0); err != nil {
			return nil, err
		}
	} else if err := d.askReading(path); err != nil {
		return nil, err
	}
	f, err := d.FS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d, path}, nil
}

func (d *diskFS) Rename(from, to string) error {
	if err := d.ask("rename", to, 0); err != nil {
		return err
	}
	return d.FS.Rename(from, to)
}

func (d *diskFS) Remove(path string) error {
	if err := d.ask("remove", path, 0); err != nil {
		return err
	}
	return d.FS.Remove(path)
}

func (d *diskFS) Lock(path string) (io.Closer, error) {
	l, err := d.FS.Lock(path)
	if err == nil {
		d.mu.Lock()
		d.locks = append(d.locks, l)
		d.mu.Unlock()
	}
	return l, err
}

// unlock gives the locks back, as the kernel does when a process ends.
func (d *diskFS) unlock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.locks {
		_ = l.Close()
	}
}

type diskFile struct {
	requestlog.File
	disk *diskFS
	path string
}

func (f *diskFile) Write(b []byte) (int, error) {
	if err := f.disk.ask("write", f.path, len(b)); err != nil {
		n := 0
		if part := (*partErr)(nil); errors.As(err, &part) {
			n, _ = f.File.Write(b[:part.n])
		}
		return n, err
	}
	return f.File.Write(b)
}

func (f *diskFile) ReadAt(b []byte, offset int64) (int, error) {
	if err := f.disk.askReading(f.path); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, offset)
}

func (f *diskFile) Sync() error {
	if err := f.disk.ask("sync", f.path, 0); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *diskFile) Truncate(size int64) error {
	if err := f.disk.ask("truncate", f.path, 0); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
