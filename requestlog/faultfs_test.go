package requestlog

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// faultFS is the real file system behind which a test can put a failing disk.
type faultFS struct {
	osFS
	mu       sync.Mutex
	room     int64 // bytes that may still be written; -1 for any number
	truncate error // of every Truncate
	open     error // of every OpenFile that writes
	sync     error // of every Sync
	rename   error
	syncs    int // calls of Sync
}

func newFaultFS() *faultFS { return &faultFS{room: -1} }

func (f *faultFS) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *faultFS) fault(e *error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *e
}

func (f *faultFS) OpenFile(path string, flag int, perm fs.FileMode) (File, error) {
	if err := f.fault(&f.open); err != nil && flag != os.O_RDONLY {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	file, err := f.osFS.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Rename(from, to string) error {
	return errors.Join(f.fault(&f.rename), f.osFS.Rename(from, to))
}

type faultFile struct {
	File
	fs *faultFS
}

// Write writes as much as there is room for, as a full disk does.
func (f *faultFile) Write(b []byte) (int, error) {
	f.fs.mu.Lock()
	room := f.fs.room
	if room >= 0 {
		f.fs.room = max(0, room-int64(len(b)))
	}
	f.fs.mu.Unlock()
	if room < 0 || int64(len(b)) <= room {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:room])
	return n, errors.Join(err, syscall.ENOSPC)
}

func (f *faultFile) Truncate(size int64) error {
	return errors.Join(f.fs.fault(&f.fs.truncate), f.File.Truncate(size))
}

func (f *faultFS) count(n *int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *n
}

func (f *faultFile) Sync() error {
	f.fs.set(func() { f.fs.syncs++ })
	return errors.Join(f.fs.fault(&f.fs.sync), f.File.Sync())
}
