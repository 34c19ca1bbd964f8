package keystore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
)

// baseBuilder collects keys for a [keyBase].
type baseBuilder struct {
	base   *keyBase
	ready  []byte // the chunk that is being filled; its number is len(base.chunks)
	mixed  bool   // the rows have not come by id
	last   []byte // id of the last row
	copied int    // bytes of records
}

func newBaseBuilder() *baseBuilder {
	return &baseBuilder{base: &keyBase{seed: maphash.MakeSeed(), known: newInterner().fix()}}
}

// emptyBase is where a store without a load begins.
func emptyBase() *keyBase { return newBaseBuilder().base }

// describe is the row of a key, except where its record stands. It may be called from any goroutine.
func (b *keyBase) describe(k *Key) baseRow {
	row := baseRow{digest: b.hashDigest(&k.Digest), owner: hashOwner(b.seed, k.Owner(), k.Mode), version: k.version}
	if at := k.due(); !at.IsZero() {
		row.due = at.UnixMilli()
	}
	return row
}

// add takes a row over, and copies its record. Without a cell it gets a new one.
func (w *baseBuilder) add(row baseRow, record []byte, cell *usageCell) error {
	b := w.base
	if len(record) > placeMask || len(b.rows) == maxBaseKeys || len(b.chunks) == maxChunks-1 {
		return errors.New("the key is too big, or there are too many")
	}
	if len(w.ready)+len(record) > chunkSize {
		w.cut()
		w.ready = make([]byte, 0, chunkSize)
	}
	at := len(w.ready)
	w.ready = append(w.ready, record...)
	w.copied += len(record)
	row.where = uint64(len(b.chunks))<<(2*placeBits) | uint64(at)<<placeBits | uint64(len(record))
	w.take(row, cell, recordID(w.ready[at:]))
	return nil
}

// take adds a row whose record is in its place.
func (w *baseBuilder) take(row baseRow, cell *usageCell, id []byte) {
	w.mixed = w.mixed || bytes.Compare(w.last, id) >= 0
	w.last = id
	w.base.rows, w.base.cells = append(w.base.rows, row), append(w.base.cells, cell)
}

// cut ends the chunk that is being filled.
func (w *baseBuilder) cut() {
	if len(w.ready) > 0 {
		w.base.chunks = append(w.base.chunks, w.ready)
	}
	w.ready = nil
}

// finish makes the tables. The builder is not used any more.
func (w *baseBuilder) finish() (*keyBase, error) {
	b := w.base
	if cap(w.ready)-len(w.ready) > chunkSize/4 {
		w.ready = bytes.Clone(w.ready)
	}
	w.cut()
	if w.mixed {
		if err := b.sort(); err != nil {
			return nil, err
		}
	}
	var tables sync.WaitGroup
	tables.Go(b.makeSlots)
	tables.Go(b.makeOwners)
	b.makeCells()
	b.makeDues()
	tables.Wait()
	return b, nil
}

// sort brings the rows into the order of their ids.
func (b *keyBase) sort() error {
	// Eight characters, without the prefix that they have in common, mostly decide.
	type place struct {
		head uint64
		n    uint32
	}
	order := make([]place, len(b.rows))
	for n := range order {
		var head [8]byte
		copy(head[:], b.id(n)[len(prefixKey):])
		order[n] = place{binary.BigEndian.Uint64(head[:]), uint32(n)}
	}
	slices.SortFunc(order, func(x, y place) int {
		return cmp.Or(cmp.Compare(x.head, y.head), bytes.Compare(b.id(int(x.n)), b.id(int(y.n))))
	})
	rows, cells := make([]baseRow, len(order)), make([]*usageCell, len(order))
	for i, p := range order {
		rows[i], cells[i] = b.rows[p.n], b.cells[p.n]
	}
	b.rows, b.cells = rows, cells
	for n := 1; n < len(rows); n++ {
		if bytes.Equal(b.id(n-1), b.id(n)) {
			return fmt.Errorf("%s stands there twice", b.id(n))
		}
	}
	return nil
}

func (b *keyBase) makeSlots() {
	if len(b.rows) == 0 {
		return
	}
	size := bits.Len(uint(len(b.rows) + len(b.rows)/2)) // at most two thirds of it are taken
	b.slots, b.shift = make([]uint64, 1<<size), uint8(32-size)
	for n := range b.rows {
		h := b.rows[n].digest
		entry := uint64(h)<<32 | uint64(n+1)
		for i := int(h >> b.shift); ; i = (i + 1) & (len(b.slots) - 1) {
			s := b.slots[i]
			// No two keys have one digest. If a broken store has them all the same, the newer one counts, as in memdb.
			if s == 0 || (uint32(s>>32) == h && bytes.Equal(recordDigest(b.record(int(uint32(s))-1)), recordDigest(b.record(n)))) {
				b.slots[i] = entry
				break
			}
		}
	}
}

func (b *keyBase) makeOwners() {
	b.owners = make([]uint64, len(b.rows))
	for n := range b.rows {
		b.owners[n] = uint64(b.rows[n].owner)<<32 | uint64(n)
	}
	slices.Sort(b.owners)
}

func (b *keyBase) makeDues() {
	for n := range b.rows {
		if b.rows[n].due != 0 {
			b.dues = append(b.dues, uint32(n))
		}
	}
	slices.SortFunc(b.dues, func(x, y uint32) int {
		return cmp.Or(cmp.Compare(b.rows[x].due, b.rows[y].due), cmp.Compare(x, y))
	})
}

// makeCells gives the rows cells that have none, many out of one piece of memory.
func (b *keyBase) makeCells() {
	const together = 512
	var slab []usageCell
	for n, cell := range b.cells {
		if cell != nil {
			continue
		}
		if len(slab) == 0 {
			slab = make([]usageCell, min(together, len(b.cells)-n))
		}
		b.cells[n], slab = &slab[0], slab[1:]
		b.cells[n].version.Store(b.rows[n].version)
	}
}

// with is a base that holds further keys, or newer versions of its own; they come by id. The cells stay the same.
func (b *keyBase) with(keys []*Key) (*keyBase, error) {
	next := &keyBase{seed: b.seed, chunks: slices.Clone(b.chunks), rows: make([]baseRow, 0, len(b.rows)+len(keys)), cells: make([]*usageCell, 0, len(b.rows)+len(keys))}
	known := b.known.clone()
	w := &baseBuilder{base: next}
	live := 0
	keep := func(from, to int) {
		for n := from; n < to; n++ {
			live += int(b.rows[n].where & placeMask)
			w.take(b.rows[n], b.cells[n], b.id(n))
		}
	}
	n := 0
	for _, k := range keys {
		at, found := n, false
		if n < len(b.rows) && string(b.id(n)) <= k.ID { // what is new mostly comes after all that is there
			at, found = b.search(k.ID)
		}
		keep(n, at)
		if n = at; found {
			n++ // the newer version stands in its place
		}
		known.learn(k)
		if err := w.add(next.describe(k), k.encode(), k.usage); err != nil {
			return nil, err
		}
	}
	keep(n, len(b.rows))
	next.known = known.fix()
	if w.mixed {
		return nil, errors.New("keys for the base are out of order")
	}
	held := w.copied
	for _, c := range b.chunks {
		held += len(c)
	}
	if held > 2*(live+w.copied) {
		w.cut()
		if err := w.repack(); err != nil {
			return nil, err
		}
	}
	return w.finish()
}

// repack copies the records that count, so that those that do not are forgotten.
func (w *baseBuilder) repack() error {
	old := *w.base
	w.base.chunks, w.base.rows, w.base.cells, w.last = nil, make([]baseRow, 0, len(old.rows)), make([]*usageCell, 0, len(old.rows)), nil
	for n := range old.rows {
		if err := w.add(old.rows[n], old.record(n), old.cells[n]); err != nil {
			return err
		}
	}
	return nil
}
