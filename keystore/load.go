package keystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-memdb"
)

// loadBatch is how many keys go through the pipeline together.
const loadBatch = 256

// keyLoader takes stored keys apart on all cores, to see that they are whole and what they are found by, while one
// goroutine collects them for the base in the order in which they came.
type keyLoader struct {
	builder *baseBuilder
	loaded  loadedKeys

	filling *loadingKeys
	decode  chan *loadingKeys
	ordered chan *loadingKeys // in the order of the rows
	free    chan *loadingKeys
	learned []*interner    // of the goroutines that decode
	ended   sync.WaitGroup // goroutines
	failed  atomic.Pointer[error]
}

// loadedKeys is what a load knows of the keys beside the base.
type loadedKeys struct {
	count    int
	sealed   string // id of one whose token is sealed, "": there is none
	imported bool
	ids      idMaker // has seen their ids
}

// loadingKeys are some rows on their way. The rows' data are copied: a backend may use its own memory again.
type loadingKeys struct {
	rows  []Row
	arena []byte
	keys  []loadingKey
	err   error // of the row behind the last key
	done  chan struct{}
}

type loadingKey struct {
	row              baseRow
	sealed, imported bool
}

// newKeyLoader starts the pipeline. in knows what was read before the keys.
func newKeyLoader(in *interner) *keyLoader {
	workers := runtime.GOMAXPROCS(0)
	depth := 2*workers + 2
	l := &keyLoader{
		builder: newBaseBuilder(),
		decode:  make(chan *loadingKeys, depth), ordered: make(chan *loadingKeys, depth), free: make(chan *loadingKeys, depth),
	}
	for range depth {
		l.free <- &loadingKeys{rows: make([]Row, 0, loadBatch), keys: make([]loadingKey, 0, loadBatch)}
	}
	for range workers {
		own := newInterner() // each its own
		own.texts = maps.Clone(in.texts)
		l.learned = append(l.learned, own)
		l.ended.Go(func() {
			scratch := Key{usage: new(usageCell), version: 1}
			for b := range l.decode {
				b.decodeAll(own, l.builder.base, scratch)
				close(b.done)
			}
		})
	}
	l.ended.Go(func() {
		for b := range l.ordered {
			<-b.done
			l.collect(b)
			l.free <- b
		}
	})
	return l
}

// add takes a row. The error may be that of an earlier one.
func (l *keyLoader) add(r Row) error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	b := l.filling
	if b == nil {
		b = <-l.free
		b.rows, b.arena, b.keys, b.err, b.done = b.rows[:0], b.arena[:0], b.keys[:0], nil, make(chan struct{})
		l.filling = b
	}
	at := len(b.arena)
	b.arena = append(b.arena, r.Data...) // if it moves, the earlier rows keep the memory that they are in
	r.Data = b.arena[at:len(b.arena):len(b.arena)]
	b.rows = append(b.rows, r)
	if len(b.rows) == loadBatch {
		l.send()
	}
	return nil
}

func (l *keyLoader) send() {
	b := l.filling
	l.filling = nil
	l.ordered <- b
	l.decode <- b
}

// close ends the pipeline. What was added may be collected or not.
func (l *keyLoader) close() {
	close(l.decode)
	close(l.ordered)
	l.ended.Wait()
}

// finish ends the pipeline and makes the base of all that was added.
func (l *keyLoader) finish() (*keyBase, error) {
	if l.filling != nil {
		l.send()
	}
	l.close()
	if err := l.failed.Load(); err != nil {
		return nil, *err
	}
	known := newInterner()
	for _, in := range l.learned {
		known.merge(in)
	}
	l.builder.base.known = known.fix()
	return l.builder.finish()
}

func (b *loadingKeys) decodeAll(in *interner, base *keyBase, k Key) {
	for i := range b.rows {
		r := &b.rows[i]
		k = Key{usage: k.usage, version: k.version}
		err := k.decode(in, r.Data)
		if err == nil {
			err = k.checkLoaded(r.ID)
		}
		if err == nil && string(recordID(r.Data)) != r.ID {
			err = errors.New("the id of the key is not the first in its record") // which is where it is looked for from now on
		}
		if err != nil {
			b.err = rowError(r, err)
			return
		}
		b.keys = append(b.keys, loadingKey{row: base.describe(&k), sealed: k.sealed != "", imported: k.Imported})
	}
}

func (l *keyLoader) collect(b *loadingKeys) {
	if l.failed.Load() != nil {
		return
	}
	for i, k := range b.keys {
		r := &b.rows[i]
		if err := l.builder.add(k.row, r.Data, nil); err != nil {
			err = rowError(r, err)
			l.failed.Store(&err)
			return
		}
		l.loaded.ids.seen(r.ID)
		l.loaded.count++
		l.loaded.imported = l.loaded.imported || k.imported
		if k.sealed {
			l.loaded.sealed = r.ID
		}
	}
	if err := b.err; err != nil {
		l.failed.Store(&err) // not &b.err: the batch is used again
	}
}

func rowError(r *Row, err error) error { return fmt.Errorf("%s %q: %w", r.Table, r.ID, err) }

// loader reads all rows of a backend, or of a copy: keys for the base, and the rest into the transaction.
type loader struct {
	store *Store
	txn   *memdb.Txn
	found loaded
	keys  *keyLoader // nil before the first key
}

// row takes a row.
func (l *loader) row(r Row) error {
	if r.Table == TableKey {
		if l.keys == nil {
			l.keys = newKeyLoader(l.store.intern)
		}
		return l.keys.add(r)
	}
	if err := l.store.loadRow(l.txn, r, &l.found); err != nil {
		return rowError(&r, err)
	}
	return nil
}

// loadRows runs read, which gives all rows to its argument, and makes memory of them.
func (s *Store) loadRows(read func(row func(Row) error) (Head, error)) (*loaded, error) {
	l := &loader{store: s, txn: s.db.Txn(true)}
	defer l.txn.Abort() // does nothing after a commit
	head, err := read(l.row)
	if err != nil {
		if l.keys != nil {
			l.keys.close()
		}
		return nil, err
	}
	base := emptyBase()
	if l.keys != nil {
		if base, err = l.keys.finish(); err != nil {
			return nil, err
		}
		keys := &l.keys.loaded
		l.found.keys = keys.count
		if keys.sealed != "" {
			l.found.sealed = keys.sealed
		}
		if keys.imported {
			s.imported.Store(true)
		}
		s.ids.last = max(s.ids.last, keys.ids.last)
	}
	l.txn.Commit()
	s.directory.load(l.found.accounts)
	s.head = head
	s.snap.Store(&Snapshot{txn: s.db.Txn(false), base: base, head: head, keys: l.found.keys})
	return &l.found, nil
}

func (s *Store) load(ctx context.Context) (*loaded, error) {
	found, err := s.loadRows(func(row func(Row) error) (Head, error) { return s.backend.Load(ctx, row) })
	if err != nil {
		return nil, err
	}
	return found, s.loadUsage(ctx, time.Time{})
}
