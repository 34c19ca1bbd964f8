package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	boltErrors "go.etcd.io/bbolt/errors"
)

// The layout of a bbolt file's first two pages. bbolt maps the file into memory and believes what it finds there: a file
// that is cut short would end the process by a signal. So the little that says how long the file must be is read first,
// by plain reading.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltMetaSize   = 64 // with its checksum
	boltMetaFlag   = 0x04
)

// checkFile says whether a file can be a whole bbolt file. It reads at most a few kilobytes and changes nothing. A file
// that does not exist is fs.ErrNotExist.
func checkFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return fmt.Errorf("the key store %q cannot be opened: %w", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("the key store %q cannot be opened: %w", path, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("the key store %q is not a regular file", path)
	}
	size, err := wantedSize(f)
	if err != nil {
		return fmt.Errorf("the key store %q is damaged or is none; nothing was changed: %w", path, err)
	}
	if info.Size() < size {
		return fmt.Errorf("the key store %q is cut off; nothing was changed: it has %d bytes and should have %d", path, info.Size(), size)
	}
	return nil
}

// wantedSize is how long the file must at least be, by the newest of its two meta pages that is whole.
func wantedSize(f io.ReaderAt) (int64, error) {
	var newest, size uint64
	found := false
	// The second meta page stands at the page size, which the first one names; if the first is broken, any will do that has
	// a whole meta page there.
	pageSizes := []uint64{0}
	for p := uint64(512); p <= 1<<16; p *= 2 {
		pageSizes = append(pageSizes, p)
	}
	for _, at := range pageSizes {
		m, ok := readMeta(f, int64(at))
		if !ok || (at != 0 && m.pageSize != at) {
			continue
		}
		if !found || m.txid > newest {
			found, newest, size = true, m.txid, m.pages*m.pageSize
		}
	}
	if !found {
		return 0, errors.New("neither of its two header pages is whole")
	}
	if size > 1<<62 {
		return 0, errors.New("its header page asks for an impossible size")
	}
	return int64(size), nil
}

type boltMeta struct{ pageSize, pages, txid uint64 }

// readMeta reads the meta page at an offset. The fields are in the byte order of the machine that wrote the file, and bolt
// reads only files of its own order, which is little-endian everywhere we run.
func readMeta(f io.ReaderAt, at int64) (boltMeta, bool) {
	var page [boltPageHeader + boltMetaSize]byte
	if _, err := f.ReadAt(page[:], at); err != nil {
		return boltMeta{}, false
	}
	m := page[boltPageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(m[:56])
	if binary.LittleEndian.Uint16(page[8:]) != boltMetaFlag ||
		binary.LittleEndian.Uint32(m) != boltMagic ||
		binary.LittleEndian.Uint32(m[4:]) != boltVersion ||
		binary.LittleEndian.Uint64(m[56:]) != sum.Sum64() {
		return boltMeta{}, false
	}
	meta := boltMeta{
		pageSize: uint64(binary.LittleEndian.Uint32(m[8:])),
		pages:    binary.LittleEndian.Uint64(m[40:]),
		txid:     binary.LittleEndian.Uint64(m[48:]),
	}
	return meta, meta.pageSize >= 512 && meta.pageSize <= 1<<16 && meta.pages < 1<<46
}

// guard turns a panic of bolt, and a fault while reading the mapped file, into an error: a damaged file must not end the
// process that serves everybody else. It must be called on the goroutine that does the reading.
func guard(do func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is damaged: %v", r)
		}
	}()
	return do()
}

// Probe says whether Open would find a good file. It creates nothing, changes nothing, and waits for nobody: a file that
// another process has open is checked by its header alone. A file that does not exist is fine.
func Probe(path string) error {
	err := checkFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &Store{path: path}
	err = guard(func() (err error) {
		s.db, err = bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: 50 * time.Millisecond})
		return err
	})
	switch {
	case errors.Is(err, boltErrors.ErrTimeout):
		return nil // whoever has it open has found it good
	case err != nil:
		return fmt.Errorf("the key store %q cannot be opened: %w", path, err)
	}
	return errors.Join(s.view(checkFormat), s.db.Close())
}
