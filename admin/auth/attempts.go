package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// attempts counts failed tries by name, in a table of fixed size: no flood of names makes it grow. A name that has failed
// burst times is locked out for a while. Names are kept as hashes. It is safe for concurrent use.
type attempts struct {
	burst int
	lock  time.Duration // how long a lock-out lasts, and after how long a quiet name is forgotten
	seed  [16]byte      // so that nobody outside can choose names of one set

	mu     sync.Mutex
	slots  [attemptSets][attemptWays]attempt
	trying map[[16]byte]int // tries that are being looked at, no more than there are calls
}

const (
	attemptSets = 512
	// attemptWays is how many slots a name may stand in: to push one out takes as many other names of the same set.
	attemptWays = 8
)

type attempt struct {
	name   [16]byte
	failed int
	at     time.Time // of the last failure
}

func newAttempts(seed [16]byte, burst int, lock time.Duration) *attempts {
	return &attempts{seed: seed, burst: burst, lock: lock, trying: make(map[[16]byte]int)}
}

func (a *attempts) place(name string) (key [16]byte, set *[attemptWays]attempt) {
	sum := sha256.Sum256(append(a.seed[:], name...))
	return [16]byte(sum[:16]), &a.slots[binary.BigEndian.Uint32(sum[16:])%attemptSets]
}

// locked says for how long a name is still locked out, 0 if it is not.
func (a *attempts) locked(name string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, set := a.place(name)
	for i := range set {
		if s := &set[i]; s.name == key && s.failed >= a.burst {
			// A clock that was put back must not lock anybody out for longer than the lock-out lasts.
			if left := s.at.Add(a.lock).Sub(now); left <= a.lock {
				return max(0, left)
			}
		}
	}
	return 0
}

// begin notes a try before it is looked at, unless the name is locked out or so many are being looked at that it would be if
// they fail: of many at the same time no more are looked at than one after the other. The answer is how long to wait; at 0,
// end must follow, after fail or clear.
func (a *attempts) begin(name string, now time.Time) time.Duration {
	if wait := a.locked(name, now); wait > 0 {
		return wait
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key, set := a.place(name)
	failed := 0
	for i := range set {
		if s := &set[i]; s.name == key && now.Sub(s.at) < a.lock {
			failed = s.failed
		}
	}
	if failed+a.trying[key] >= a.burst {
		return time.Second
	}
	a.trying[key]++
	return 0
}

// end notes that a try has been looked at.
func (a *attempts) end(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, _ := a.place(name)
	if a.trying[key]--; a.trying[key] <= 0 {
		delete(a.trying, key)
	}
}

// fail notes a failed try, and says whether it was the one that locks the name out.
func (a *attempts) fail(name string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, set := a.place(name)
	best := &set[0]
	for i := range set {
		s := &set[i]
		if s.name == key {
			best = s
			break
		}
		if s.at.Before(best.at) {
			best = s
		}
	}
	if best.name != key || now.Sub(best.at) >= a.lock {
		*best = attempt{name: key}
	}
	best.failed++
	best.at = now
	return best.failed == a.burst
}

// clear forgets a name that has succeeded.
func (a *attempts) clear(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, set := a.place(name)
	for i := range set {
		if set[i].name == key {
			set[i] = attempt{}
		}
	}
}
