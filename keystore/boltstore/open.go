package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"

	"github.com/keystile/keystile/keystore"
)

// DefaultLockTimeout is how long Open waits for a file that another process has open.
const DefaultLockTimeout = time.Second

// Options of a store file. The zero value is good.
type Options struct {
	LockTimeout time.Duration // 0: DefaultLockTimeout
}

var (
	bucketMeta   = []byte("meta")
	bucketEvents = []byte("events")
	bucketUsage  = []byte("usage")
	bucketTables = map[keystore.Table][]byte{
		keystore.TableOrganization: []byte("organizations"),
		keystore.TableAccount:      []byte("accounts"),
		keystore.TableSandbox:      []byte("sandboxes"),
		keystore.TableKey:          []byte("keys"),
		keystore.TableAdminToken:   []byte("admin_tokens"),
		keystore.TableWebhook:      []byte("webhook_endpoints"),
		keystore.TableMember:       []byte("members"),
		keystore.TableSession:      []byte("sessions"),
	}
	// tableOrder is the order of a load: owners before what they own.
	tableOrder = []keystore.Table{
		keystore.TableOrganization, keystore.TableAccount, keystore.TableSandbox, keystore.TableKey,
		keystore.TableAdminToken, keystore.TableWebhook, keystore.TableMember, keystore.TableSession,
	}

	metaFormat = []byte("format")
	metaHead   = []byte("head")
	format     = []byte("keystile key store 1")
)

// Store is an open file. It is a [keystore.Backend].
type Store struct {
	db   *bolt.DB
	path string

	// fresh: Open made the file and nothing was stored since. Such a file is removed by Close, so that a start that fails
	// for another reason leaves nothing behind.
	fresh   atomic.Bool
	madeDir string // the directory that Open made, "" if it was there
}

var _ keystore.Backend = (*Store)(nil)

// Open opens a store file, or makes it (0600) and its directory (0700). The errors are for the operator: one sentence
// that names the file.
func Open(path string, o Options) (*Store, error) {
	if o.LockTimeout == 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	s := &Store{path: path}
	switch err := checkFile(path); {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.create(); err != nil {
			s.removeFresh()
			return nil, fmt.Errorf("the key store %q cannot be made: %w", path, err)
		}
	case err != nil:
		return nil, err
	}
	if err := s.open(&o); err != nil {
		if !errors.Is(err, errInUse) {
			s.removeFresh()
		}
		return nil, err
	}
	return s, nil
}

var errInUse = errors.New("is in use by another process")

func (s *Store) open(o *Options) error {
	var file *os.File
	err := guard(func() (err error) {
		s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{
			Timeout:      o.LockTimeout,
			FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				file, err = os.OpenFile(name, flag&^os.O_CREATE, mode) // a file of ours is there, or something is wrong
				return file, err
			},
		})
		return err
	})
	switch {
	case errors.Is(err, boltErrors.ErrTimeout):
		return fmt.Errorf("the key store %q %w", s.path, errInUse)
	case err != nil:
		return fmt.Errorf("the key store %q cannot be opened: %w", s.path, err)
	}
	if err = s.stillThere(file); err == nil {
		err = s.view(checkFormat)
	}
	if err == nil {
		err = s.addLateBuckets()
	}
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// stillThere says whether the file that we have locked is the one that has the name. While we waited for the lock, its
// last owner may have removed it: what we would write then would be in no directory.
func (s *Store) stillThere(file *os.File) error {
	ours, err := file.Stat()
	if err == nil {
		var named os.FileInfo
		if named, err = os.Stat(s.path); err == nil && !os.SameFile(ours, named) {
			err = errors.New("it was replaced while it was being opened; start again")
		}
	}
	if err != nil {
		return fmt.Errorf("the key store %q cannot be opened: %w", s.path, err)
	}
	return nil
}

func tables() [][]byte {
	names := make([][]byte, 0, len(tableOrder))
	for _, t := range tableOrder {
		names = append(names, bucketTables[t])
	}
	return names
}

// checkFormat says whether an existing file is a store of ours.
func checkFormat(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		return errors.New("the file is no key store of this program")
	}
	if got := meta.Get(metaFormat); !bytes.Equal(got, format) {
		if bytes.HasPrefix(got, []byte("keystile key store ")) {
			return errors.New("it was written by a newer version of the program")
		}
		return errors.New("the file is no key store of this program")
	}
	for _, name := range append([][]byte{bucketEvents, bucketUsage}, tables()...) {
		late := slices.ContainsFunc(lateBuckets(), func(l []byte) bool { return bytes.Equal(l, name) })
		if tx.Bucket(name) == nil && !late {
			return fmt.Errorf("the file is damaged: it has no %s", name)
		}
	}
	_, err := decodeHead(meta.Get(metaHead))
	return err
}
