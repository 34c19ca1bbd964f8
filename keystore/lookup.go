package keystore

import (
	"github.com/keystile/keystile/policy"
)

// Lookup finds the key of a token's digest, ended keys too: whether it may still be used is policy's to say. cached says
// whether the cache had it. It never waits, and does not allocate on a cache hit. nil: there is no such key.
//
// A Lookup that starts after a write call has returned sees what that call wrote.
func (s *Store) Lookup(d *policy.Digest) (k *Key, cached bool) {
	h := s.hot.Load()
	if h == nil {
		return s.snap.Load().find(d), false
	}
	if k := h.get(d); k != nil {
		return k, true
	}
	if k = s.snap.Load().find(d); k != nil {
		h.put(k)
	}
	return k, false
}

// find is the key of a digest in this snapshot, nil if there is none.
//
// A key of the base whose version is the newest there is has none in memdb, in no snapshot with this base: the version is
// noted before the first snapshot shows it. So most look-ups end there, and memdb is asked for the few that have changed.
func (v *Snapshot) find(d *policy.Digest) *Key {
	k := v.base.find(d)
	if v.newer == 0 || (k != nil && k.current()) {
		return k
	}
	own := *d // memdb takes it by an interface, which would put every caller's digest on the heap
	if changed, ok := first[*Key](v.txn, tableKeys, indexDigest, &own); ok {
		return changed
	}
	return k
}
