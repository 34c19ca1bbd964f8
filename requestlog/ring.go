package requestlog

import (
	"runtime"
	"sync/atomic"
)

// ring is a bounded queue of records with many producers and one consumer. A producer claims a place by one
// compare-and-swap on tail and then publishes its record by the place's sequence number; nobody ever waits for a lock, so
// that a request is never held up by the writer or by another request.
//
// Place i is free for position p when its seq is p, and filled when its seq is p+1.
type ring struct {
	places []ringPlace
	mask   uint64
	_      [cacheLine]byte
	tail   atomic.Uint64 // next position to claim; ringClosed is set once no more may be claimed
	_      [cacheLine]byte
	head   atomic.Uint64 // next position to take; written by the consumer only
	_      [cacheLine]byte
}

type ringPlace struct {
	seq    atomic.Uint64
	record *Record
}

const (
	cacheLine  = 64 // keeps producers' and consumer's words apart
	ringClosed = uint64(1) << 63
)

// newRing makes a ring of size places, rounded up to a power of two.
func newRing(size int) *ring {
	n := 1
	for n < size {
		n *= 2
	}
	q := &ring{places: make([]ringPlace, n), mask: uint64(n - 1)}
	for i := range q.places {
		q.places[i].seq.Store(uint64(i))
	}
	return q
}

// push adds the record, or answers false if the ring is full or closed. position is where it was put.
func (q *ring) push(r *Record) (position uint64, ok bool) { return q.pushUpTo(len(q.places), r) }

// pushUpTo is push into a ring that is full when limit records are in it. Also of many that push at once none gets beyond.
func (q *ring) pushUpTo(limit int, r *Record) (position uint64, ok bool) {
	for {
		var head uint64
		if limit < len(q.places) { // else the place itself says it, and the consumer's word is left alone
			head = q.head.Load() // before tail, so that the difference is never negative
		}
		tail := q.tail.Load()
		if tail&ringClosed != 0 {
			return 0, false
		}
		if limit < len(q.places) && tail-head >= uint64(limit) {
			return 0, false
		}
		place := &q.places[tail&q.mask]
		switch seq := place.seq.Load(); {
		case seq == tail:
			if q.tail.CompareAndSwap(tail, tail+1) {
				place.record = r
				place.seq.Store(tail + 1)
				return tail, true
			}
		case seq < tail:
			return 0, false // not taken since the last time round: full
		}
		// Otherwise another producer was faster: try the next place.
	}
}

// pop takes the oldest record, or nil if there is none or it is not published yet. Only the consumer calls it.
func (q *ring) pop() *Record {
	head := q.head.Load()
	place := &q.places[head&q.mask]
	if place.seq.Load() != head+1 {
		return nil
	}
	r := place.record
	place.record = nil
	place.seq.Store(head + q.mask + 1)
	q.head.Store(head + 1)
	return r
}

// claimed is how many places were ever claimed.
func (q *ring) claimed() uint64 { return q.tail.Load() &^ ringClosed }

// len is how many records are in the ring. It is exact when nobody pushes or pops.
func (q *ring) len() int {
	head := q.head.Load() // before tail, so that the difference is never negative
	return int(q.claimed() - head)
}

// close refuses further records. What was claimed before still comes out of pop, see popClaimed.
func (q *ring) close() { q.tail.Or(ringClosed) }

func (q *ring) closed() bool { return q.tail.Load()&ringClosed != 0 }

// popClaimed is pop for a closed ring: it waits the instant between a producer's claim and its publishing, and answers nil
// only when the ring is empty for good.
func (q *ring) popClaimed() *Record {
	for {
		if r := q.pop(); r != nil {
			return r
		}
		if q.head.Load() == q.claimed() {
			return nil
		}
		runtime.Gosched()
	}
}
