package archive

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/bloom"

	"github.com/keystile/keystile/requestlog"
)

const (
	// maxHandles bounds the files that stay open between queries, and with them the footers that stay in memory.
	maxHandles = 64
	// What a sound file stays below. A damaged one must not make us ask for more memory than there is.
	maxGroupRows  = 1 << 17
	maxBloomBytes = 1 << 20
	maxFooter     = 16 << 20

	readBytes = 16 << 10 // what is read of a column at once, at least)
)

// handleCache keeps the files open that were asked last.
type handleCache struct {
	mu     sync.Mutex
	open   map[*file]*handle
	clock  uint64
	closed bool
}

// handle is an open file, used by any number of queries at once.
type handle struct {
	file   *file
	in     *checkedReader
	refs   int    // guarded by handleCache.mu
	used   uint64 // likewise
	cached bool   // likewise

	once    sync.Once
	parquet *openFile
	err     error
}

// checkedReader tells a disk that fails from a file that is damaged.
type checkedReader struct {
	requestlog.File
	failed atomic.Pointer[error]
}

func (r *checkedReader) ReadAt(b []byte, offset int64) (int, error) {
	n, err := r.File.ReadAt(b, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// acquire opens the file, or answers the handle that is open. The caller releases it.
func (a *Archive) acquire(f *file) (*handle, error) {
	c := &a.handles
	c.mu.Lock()
	if h := c.open[f]; h != nil {
		h.refs++
		c.clock++
		h.used = c.clock
		c.mu.Unlock()
		return h, nil
	}
	c.mu.Unlock()
	in, err := a.fs.OpenFile(f.path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[f]; h != nil { // another query was faster
		_ = in.Close()
		h.refs++
		return h, nil
	}
	h := &handle{file: f, in: &checkedReader{File: in}, refs: 1}
	if c.closed {
		return h, nil
	}
	if c.open == nil {
		c.open = make(map[*file]*handle)
	}
	if len(c.open) >= maxHandles {
		c.evict()
	}
	c.clock++
	h.used, h.cached = c.clock, true
	c.open[f] = h
	return h, nil
}

// evict closes the handle that was not used for the longest time; one that is in use is closed by its last user.
func (c *handleCache) evict() {
	var oldest *handle
	for _, h := range c.open {
		if oldest == nil || h.used < oldest.used {
			oldest = h
		}
	}
	c.remove(oldest)
}

func (c *handleCache) remove(h *handle) {
	delete(c.open, h.file)
	h.cached = false
	if h.refs == 0 {
		_ = h.in.Close()
	}
}

func (c *handleCache) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.refs--; h.refs == 0 && !h.cached {
		_ = h.in.Close()
	}
}

// drop closes the file's handle.
func (c *handleCache) drop(f *file) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.open[f]; h != nil {
		c.remove(h)
	}
}

func (c *handleCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, h := range c.open {
		c.remove(h)
	}
}

// read calls fn with the file open. It makes errors of the library's panics, and decides what a failure means: a damaged file
// is set aside, a disk that fails is asked again the next time. One file that cannot be read never hides others.
func (a *Archive) read(f *file, fn func(*handle) error) error {
	if f.state.Load() != fileGood {
		return nil
	}
	h, err := a.acquire(f)
	if err == nil {
		err = guard(func() error { return fn(h) })
		if err != nil {
			if failed := h.in.failed.Load(); failed != nil {
				err = fmt.Errorf("reading: %w", *failed)
				a.handles.drop(f)
			} else if !errors.Is(err, errStop) {
				err = fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		a.handles.release(h)
	}
	switch {
	case err == nil || errors.Is(err, errStop):
		return err
	case errors.Is(err, fs.ErrNotExist):
		f.state.CompareAndSwap(fileGood, fileGone)
	case errors.Is(err, errDamaged):
		f.state.CompareAndSwap(fileGood, fileDamaged)
	}
	a.report("reading "+f.name(), err)
	a.wake()
	return nil
}

// errStop ends a reading for a reason that is not the file's.
var errStop = errors.New("stopped")

// check opens the file and reads its metadata.
func (a *Archive) check(f *file) error {
	h, err := a.acquire(f)
	if err != nil {
		return err
	}
	defer a.handles.release(h)
	return guard(func() error {
		_, err := f.load(h)
		return err
	})
}

func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}

// openFile is a file whose footer was read.
type openFile struct {
	file    *parquet.File
	columns []requestlog.Column
	places  map[string]int // of our columns in the file, -1 for those that it lacks
}

// open reads the footer, once.
func (h *handle) open() (*openFile, error) {
	h.once.Do(func() { h.err = guard(h.readFooter) })
	return h.parquet, h.err
}

func (h *handle) readFooter() error {
	info, err := h.in.Stat()
	if err != nil {
		return err
	}
	if err := checkFooter(h.in, info.Size()); err != nil {
		return err
	}
	p, err := parquet.OpenFile(h.in, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true), parquet.ReadBufferSize(readBytes))
	if err != nil {
		return err
	}
	o := &openFile{file: p, columns: requestlog.Columns(), places: make(map[string]int)}
	for i := range o.columns {
		c := &o.columns[i]
		place, err := findColumn(p, c)
		if err != nil {
			return err
		}
		o.places[c.Name] = place
	}
	h.parquet = o
	return nil
}

// checkFooter refuses a footer that is absurdly long, before memory is asked for it.
func checkFooter(in io.ReaderAt, size int64) error {
	var end [8]byte
	if size < int64(len(end)) {
		return fmt.Errorf("%w: %d bytes", errDamaged, size)
	}
	if _, err := in.ReadAt(end[:], size-int64(len(end))); err != nil {
		return err
	}
	length := int64(end[0]) | int64(end[1])<<8 | int64(end[2])<<16 | int64(end[3])<<24
	if length > maxFooter || length > size-int64(len(end)) {
		return fmt.Errorf("%w: a footer of %d bytes", errDamaged, length)
	}
	return nil
}

// findColumn finds a column in a file, -1 if the file lacks it: then an earlier version wrote it.
func findColumn(p *parquet.File, c *requestlog.Column) (int, error) {
	leaf, ok := p.Schema().Lookup(c.Name)
	if !ok {
		return -1, nil
	}
	want := parquet.Int64
	switch {
	case c.IsText():
		want = parquet.ByteArray
	case c.Kind == requestlog.ColumnBool:
		want = parquet.Boolean
	}
	if got := leaf.Node.Type().Kind(); got != want || leaf.Node.Repeated() || leaf.MaxDefinitionLevel > 1 {
		return -1, fmt.Errorf("%w: column %s is of type %v", errDamaged, c.Name, got)
	}
	return leaf.ColumnIndex, nil
}

// mayHold asks a row group's bloom filter; true if there is none.
func (g *group) mayHold(in io.ReaderAt, column int, value string) (bool, error) {
	b := g.blooms[column]
	if b.size == 0 {
		return true, nil
	}
	return bloom.CheckSplitBlock(io.NewSectionReader(in, b.offset, int64(b.size)), int64(b.size), bloom.XXH64{}.Sum64([]byte(value)))
}
