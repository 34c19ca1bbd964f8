package keystore

import (
	"fmt"

	"github.com/keystile/keystile/policy"
)

// Lookup finds the key of a token's digest, ended keys too: whether it may still be used is policy's to say. cached says
// whether the cache had it. It never waits, and does not allocate on a cache hit. nil: there is no such key.
//
// A Lookup that starts after a write call has returned sees what that call wrote.
func (s *Store) Lookup(d *policy.Digest) (k *Key, cached bool) {
	h := s.hot.Load()
	if h == nil {
		k, _ = s.snap.Load().find(d)
		return k, false
	}
	if k := h.get(d); k != nil {
		return k, true
	}
	k, gone := s.snap.Load().find(d)
	if k != nil {
		h.put(k, gone)
	}
	return k, false
}

// find looks a digest up in the index. The channel is closed by the first commit that changes that key.
func (v *Snapshot) find(d *policy.Digest) (*Key, <-chan struct{}) {
	own := *d // the index takes it by an interface, which would put every caller's digest on the heap
	gone, raw, err := v.txn.FirstWatch(tableKeys, indexDigest, &own)
	if err != nil {
		panic(fmt.Sprintf("keystore: looking a key up: %v", err))
	}
	k, _ := raw.(*Key)
	return k, gone
}
