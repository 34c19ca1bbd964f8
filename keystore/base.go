package keystore

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sort"

	"github.com/keystile/keystile/policy"
)

// keyBase holds the keys that were there when it was built: all that a start has loaded. It never changes. What has changed
// since stands in the table of keys in memdb, and [keyView] puts the two together.
//
// It is made for a million keys. They are kept as they are stored, some 250 bytes each, and taken apart when one is asked
// for: so there is next to nothing in it that a garbage collection has to follow, and a start has no index to insert into.
// Beside its record a key costs 90 bytes. In memdb it was 1,800.
type keyBase struct {
	seed   maphash.Seed
	known  *interner // compiled sets of the keys in it
	chunks [][]byte  // the records
	rows   []baseRow // by id
	cells  []*usageCell

	slots  []uint64 // by digest: an open table of its hash (32 bits) and the row's number, from 1 (32 bits); 0 is free
	shift  uint8    // a hash shifted right by it is where a search in slots begins
	owners []uint64 // sorted: the owner's hash (32 bits) and the row's number (32 bits)
	dues   []uint32 // numbers of the rows that are due at some time, by that time
}

// baseRow is what is known of a key without taking its record apart.
type baseRow struct {
	where   uint64 // its record: number of the chunk, offset there, length
	due     int64  // milliseconds since 1970, 0: never
	digest  uint32 // hash of its digest
	owner   uint32 // hash of its owner and mode
	version uint32 // see [Key.current]
}

// A place is 24 bits of a chunk's number, 20 of the offset, and 20 of the length.
const (
	chunkSize   = 1 << 20
	maxChunks   = 1 << 24
	placeBits   = 20
	placeMask   = 1<<placeBits - 1
	maxBaseKeys = 1<<31 - 1
)

// hashDigest is seeded: who imports digests of his own making cannot choose those that fall on one place.
func (b *keyBase) hashDigest(d *policy.Digest) uint32 { return uint32(maphash.Bytes(b.seed, d[:])) }

func hashOwner(seed maphash.Seed, owner string, mode policy.Mode) uint32 {
	return uint32(maphash.String(seed, owner)>>32) + uint32(mode)
}

func (b *keyBase) record(n int) []byte {
	where := b.rows[n].where
	at := where >> placeBits & placeMask
	return b.chunks[where>>(2*placeBits)][at : at+where&placeMask]
}

// id is the id of a row. It is the first field of every record.
func (b *keyBase) id(n int) []byte { return recordID(b.record(n)) }

func recordID(record []byte) []byte {
	id, _, _ := cutValue(record[2:])
	return id
}

func recordDigest(record []byte) (digest []byte) {
	_ = decodeRecord(record, func(number uint64, value []byte) error {
		if number == keyDigest {
			digest = value
		}
		return nil
	})
	return digest
}

// key takes a record apart. Every record was taken apart before it came in here, so an error means broken memory.
func (b *keyBase) key(n int) *Key {
	k := new(Key)
	b.read(n, k)
	return k
}

func (b *keyBase) read(n int, k *Key) {
	*k = Key{usage: b.cells[n], version: b.rows[n].version}
	if err := k.decode(b.known, b.record(n)); err != nil {
		panic(fmt.Sprintf("keystore: taking a loaded key apart: %v", err))
	}
}

// keyReader reads the keys that keep does not refuse. It spares the memory of those that it does.
type keyReader struct {
	base  *keyBase
	keep  func(*Key) bool // nil: all
	spare *Key
}

// key is a key, nil if it is refused.
func (r *keyReader) key(n int) *Key {
	k := r.spare
	if k == nil {
		k = new(Key)
	}
	r.base.read(n, k)
	if r.keep != nil && !r.keep(k) {
		r.spare = k
		return nil
	}
	r.spare = nil
	return k
}

// find is the key of a digest, nil if there is none.
func (b *keyBase) find(d *policy.Digest) *Key {
	if len(b.slots) == 0 {
		return nil
	}
	h := b.hashDigest(d)
	for i := int(h >> b.shift); ; i = (i + 1) & (len(b.slots) - 1) {
		s := b.slots[i]
		if s == 0 {
			return nil
		}
		if uint32(s>>32) != h {
			continue
		}
		if k := b.key(int(uint32(s)) - 1); k.Digest == *d {
			return k
		}
	}
}

// search is the number of the first row whose id is not below id, and whether it is this id.
func (b *keyBase) search(id string) (n int, found bool) {
	n = sort.Search(len(b.rows), func(n int) bool { return string(b.id(n)) >= id })
	return n, n < len(b.rows) && string(b.id(n)) == id
}

// byID is the key with an id, nil if there is none.
func (b *keyBase) byID(id string) *Key {
	if n, found := b.search(id); found {
		return b.key(n)
	}
	return nil
}

// below is how many rows stand below an id; all for "".
func (b *keyBase) below(after string) int {
	if after == "" {
		return len(b.rows)
	}
	n, _ := b.search(after)
	return n
}

// walk goes through the keys from the newest down, beginning below the id after if there is one. Those that keep refuses, if
// it is there, are passed over.
func (b *keyBase) walk(after string, keep func(*Key) bool) func() *Key {
	n, r := b.below(after), keyReader{base: b, keep: keep}
	return func() *Key {
		for n > 0 {
			n--
			if k := r.key(n); k != nil {
				return k
			}
		}
		return nil
	}
}

// walkOwner is walk for the keys of one owner and mode.
func (b *keyBase) walkOwner(owner string, mode policy.Mode, after string, keep func(*Key) bool) func() *Key {
	group := uint64(hashOwner(b.seed, owner, mode)) << 32
	first, _ := slices.BinarySearch(b.owners, group)
	at, _ := slices.BinarySearch(b.owners, group|uint64(b.below(after)))
	r := keyReader{base: b, keep: func(k *Key) bool { // another owner's hash may be the same
		return k.Mode == mode && k.Owner() == owner && (keep == nil || keep(k))
	}}
	return func() *Key {
		for at > first {
			at--
			if k := r.key(int(uint32(b.owners[at]))); k != nil {
				return k
			}
		}
		return nil
	}
}

// walkDue goes through the keys that are due at some time, the next one first.
func (b *keyBase) walkDue() func() *Key {
	rest := b.dues
	return func() *Key {
		if len(rest) == 0 {
			return nil
		}
		n := rest[0]
		rest = rest[1:]
		return b.key(int(n))
	}
}
