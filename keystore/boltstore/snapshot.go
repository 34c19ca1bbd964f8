package boltstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/keystile/keystile/keystore"
)

var _ keystore.Snapshotter = (*Store)(nil)

// Snapshot copies the file, as it is at one moment, to a file beside it that has no name. A reading transaction keeps the
// store's file from growing, and thereby commits from going on: so it is open only for a copy within one disk, and never
// while somebody far away reads. There must be room for the copy.
func (s *Store) Snapshot(ctx context.Context) (_ *keystore.SnapshotCopy, err error) {
	file, err := newScratch(filepath.Dir(s.path))
	if err != nil {
		return nil, s.named(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	snapshot := &keystore.SnapshotCopy{ReadCloser: file}
	sum := sha256.New()
	err = s.view(func(tx *bolt.Tx) (err error) {
		if snapshot.Head, err = decodeHead(tx.Bucket(bucketMeta).Get(metaHead)); err != nil {
			return err
		}
		snapshot.Size, err = tx.WriteTo(&checkedWriter{ctx: ctx, w: io.MultiWriter(file, sum)})
		return err
	})
	if err != nil {
		return nil, err
	}
	sum.Sum(snapshot.SHA256[:0])
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, s.named(err)
	}
	return snapshot, nil
}

// checkedWriter gives up when its context ends.
type checkedWriter struct {
	ctx context.Context //nolint:containedctx // of one copy
	w   io.Writer
}

func (c *checkedWriter) Write(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}

// scratch is a file for the time of its use, readable by its owner only.
type scratch struct{ *os.File }

// newScratch takes the name away at once, so that nothing is left behind by a crash. Windows does that at Close.
func newScratch(dir string) (*scratch, error) {
	file, err := os.CreateTemp(dir, ".backup-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" {
		if err := os.Remove(file.Name()); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return &scratch{file}, nil
}

// Close removes the file.
func (f *scratch) Close() error {
	err := f.File.Close()
	if runtime.GOOS == "windows" {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// OpenCopy opens a copy of a store for reading only, such as one of a backup. Nothing is changed, and what a commit would
// say is an error. The copy must not be in use.
func OpenCopy(path string) (*Store, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	s := &Store{path: path}
	err := guard(func() (err error) {
		s.db, err = bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: DefaultLockTimeout})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("the key store %q cannot be opened: %w", path, err)
	}
	if err := s.view(checkFormat); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// ErrInUse is the answer to who wants to lock a store that a process has open.
var ErrInUse = errInUse

// Lock keeps processes from opening a store until release is called; a file that does not exist, or that is no store, needs
// no lock.
func Lock(path string) (release func() error, err error) {
	nothing := func() error { return nil }
	if err := checkFile(path); err != nil {
		return nothing, nil //nolint:nilerr // nobody can have opened it
	}
	var db *bolt.DB
	err = guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: DefaultLockTimeout})
		return err
	})
	switch {
	case errors.Is(err, boltErrors.ErrTimeout):
		return nil, fmt.Errorf("the key store %q %w", path, errInUse)
	case err != nil:
		return nothing, nil //nolint:nilerr // it is damaged: nobody can have opened it
	}
	return db.Close, nil
}
