package boltstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"

	"github.com/keystile/keystile/keystore"
)

// create makes the file whole under another name and then gives it its own, so that a crash at any moment leaves either no
// store or a good one. If somebody else is faster, theirs stays.
func (s *Store) create() (err error) {
	dir := filepath.Dir(s.path)
	if s.madeDir, err = makeDir(dir); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".keystore-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := guard(func() error { return initialize(tmp.Name()) }); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace a file that is there.
	switch err := os.Link(tmp.Name(), s.path); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	s.fresh.Store(true)
	return syncDir(dir)
}

func initialize(path string) error {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		for _, name := range append([][]byte{bucketEvents, bucketUsage, bucketKept}, tables()...) {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := meta.Put(metaFormat, format); err != nil {
			return err
		}
		return meta.Put(metaHead, encodeHead(keystore.Head{}))
	})
	return errors.Join(err, db.Close())
}

// Close releases the file. The store cannot be used after it.
func (s *Store) Close() error {
	// While the lock is ours: nobody else can have begun to use the file.
	s.removeFresh()
	return s.db.Close()
}

// removeFresh removes a file that Open made and that nothing was stored in, and its directory if Open made that too.
func (s *Store) removeFresh() {
	if s.fresh.Load() {
		_ = os.Remove(s.path)
	}
	if s.madeDir != "" {
		_ = os.Remove(s.madeDir) // only if it is empty
	}
}

// makeDir makes the directory, and says so if it was not there.
func makeDir(dir string) (made string, err error) {
	if _, err := os.Stat(dir); err == nil {
		return "", nil
	}
	return dir, os.MkdirAll(dir, 0o700)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err = d.Sync(); runtime.GOOS == "windows" {
		err = nil // directories cannot be synced there
	}
	return errors.Join(err, d.Close())
}
