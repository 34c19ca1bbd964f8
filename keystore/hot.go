package keystore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/keystile/keystile/policy"
)

// hot is the cache in front of the index by digest. It holds keys, never verdicts, and it is never the reason why a
// request passes: an entry counts only while the full digest matches and it is the newest version of its key, which it says
// itself (see [Key.current]). A commit that touches the key makes a newer one before the write call returns. So it does not
// matter
//
//   - that a fill may be late: what was read before a change arrives as an old version;
//   - that ristretto sets asynchronously, drops sets under load, and may keep the older of two;
//   - that two digests may share a slot: ristretto sees 64 bits of them.
//
// Only keys that exist are cached. A token that nobody has costs a look-up in the index each time: it cannot push a good
// key out, and a key that is created is found at once.
type hot struct {
	cache *ristretto.Cache[uint64, *Key]

	// trustStale leaves the check of the version out. Only a test sets it, to show that the check is what keeps a revoked key
	// from coming back.
	trustStale bool
}

func newHot(entries int) (*hot, error) {
	cache, err := ristretto.NewCache(&ristretto.Config[uint64, *Key]{
		NumCounters: 10 * int64(entries), // as its documentation recommends
		MaxCost:     int64(entries),
		BufferItems: 64,
		// Every entry costs 1, whatever ristretto itself needs for it.
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making the key cache: %w", err)
	}
	return &hot{cache: cache}, nil
}

// slot is where a digest may be cached. Digests are SHA-256 and need no further hashing. Whoever imports digests made to
// collide slows his own keys down: the full digest decides.
func slot(d *policy.Digest) uint64 { return binary.LittleEndian.Uint64(d[:8]) }

// get is the cached key of a digest, nil if there is none that still holds. It does not allocate.
func (h *hot) get(d *policy.Digest) *Key {
	k, ok := h.cache.Get(slot(d))
	// Comparing in constant time would protect nothing: who can choose a digest byte by byte can already invert SHA-256.
	if !ok || k == nil || k.Digest != *d {
		return nil
	}
	if !h.trustStale && !k.current() {
		// Without the deletion the old entry might stay for long: ristretto may keep the older of two sets.
		h.cache.Del(slot(d))
		return nil
	}
	return k
}

// put offers a key that was just read.
func (h *hot) put(k *Key) { h.cache.Set(slot(&k.Digest), k, 1) }

// hotGrace is how long after its last use the cache is closed.
const hotGrace = 5 * time.Second

// close ends the cache's goroutines a little later: a look-up that has the cache in its hands at this moment needs
// nanoseconds more, and ristretto panics when it is closed under a look-up.
func (h *hot) close() { time.AfterFunc(hotGrace, h.cache.Close) }
