package keystore

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
)

// loadBatch is how many keys go through the pipeline together.
const loadBatch = 256

// keyLoader takes stored keys apart on all cores, while one goroutine puts them into the index in the order in which they
// came: the index takes one writer at a time, and it is what a start with a million keys waits for.
type keyLoader struct {
	insert func(*Key) error

	filling *loadingKeys
	decode  chan *loadingKeys
	ordered chan *loadingKeys // in the order of the rows
	free    chan *loadingKeys
	flying  sync.WaitGroup // batches on their way
	ended   sync.WaitGroup // goroutines
	failed  atomic.Pointer[error]
}

// loadingKeys are some rows on their way. The rows' data are copied: a backend may use its own memory again.
type loadingKeys struct {
	rows  []Row
	arena []byte
	keys  []*Key
	err   error // of the row behind the last key
	done  chan struct{}
}

// newKeyLoader starts the pipeline. insert is called from one goroutine, and by none while the pipeline is empty.
func newKeyLoader(in *interner, insert func(*Key) error) *keyLoader {
	workers := runtime.GOMAXPROCS(0)
	depth := 2*workers + 2
	l := &keyLoader{
		insert: insert, decode: make(chan *loadingKeys, depth), ordered: make(chan *loadingKeys, depth), free: make(chan *loadingKeys, depth),
	}
	for range depth {
		l.free <- &loadingKeys{rows: make([]Row, 0, loadBatch), keys: make([]*Key, 0, loadBatch)}
	}
	for range workers {
		// Each with an interner of its own, which knows what was read before the keys.
		own := newInterner()
		own.texts = maps.Clone(in.texts)
		l.ended.Go(func() {
			for b := range l.decode {
				b.decodeAll(own)
				close(b.done)
			}
		})
	}
	l.ended.Go(func() {
		for b := range l.ordered {
			<-b.done
			l.insertAll(b)
			l.flying.Done()
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
	l.flying.Add(1)
	l.ordered <- b
	l.decode <- b
}

// drain waits until all that was added is in the index.
func (l *keyLoader) drain() error {
	if l.filling != nil {
		l.send()
	}
	l.flying.Wait()
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// close ends the pipeline. What was added and not drained may be in the index or not.
func (l *keyLoader) close() {
	close(l.decode)
	close(l.ordered)
	l.ended.Wait()
}

func (b *loadingKeys) decodeAll(in *interner) {
	for i := range b.rows {
		r := &b.rows[i]
		k, err := decodeKey(in, r.ID, r.Data)
		if err != nil {
			b.err = rowError(r, err)
			return
		}
		b.keys = append(b.keys, k)
	}
}

func (l *keyLoader) insertAll(b *loadingKeys) {
	if l.failed.Load() != nil {
		return
	}
	for i, k := range b.keys {
		if err := l.insert(k); err != nil {
			err = rowError(&b.rows[i], err)
			l.failed.Store(&err)
			return
		}
	}
	if err := b.err; err != nil {
		l.failed.Store(&err) // not &b.err: the batch is used again
	}
}

func rowError(r *Row, err error) error { return fmt.Errorf("%s %q: %w", r.Table, r.ID, err) }

// loadRows reads all rows of the backend into the transaction.
func (s *Store) loadRows(ctx context.Context, txn *memdb.Txn, found *loaded) (Head, error) {
	var keys *keyLoader
	defer func() {
		if keys != nil {
			keys.close()
		}
	}()
	head, err := s.backend.Load(ctx, func(r Row) error {
		if r.Table == TableKey {
			if keys == nil {
				keys = newKeyLoader(s.intern, func(k *Key) error { return s.loadKey(txn, k, found) })
			}
			return keys.add(r)
		}
		if keys != nil {
			if err := keys.drain(); err != nil { // one writer at a time
				return err
			}
		}
		if err := s.loadRow(txn, r, found); err != nil {
			return rowError(&r, err)
		}
		return nil
	})
	if err == nil && keys != nil {
		err = keys.drain()
	}
	return head, err
}

// loadKey puts a stored key into the index.
func (s *Store) loadKey(txn *memdb.Txn, k *Key, found *loaded) error {
	s.ids.seen(k.ID)
	found.keys++
	if k.sealed != "" {
		found.sealed = k.ID
	}
	if k.Imported {
		s.imported.Store(true)
	}
	return txn.Insert(tableKeys, k)
}
