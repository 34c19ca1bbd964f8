package keystore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-memdb"
	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/settled"
	"github.com/keystile/keystile/policy"
)

// Store is the open key store. All its methods may be called from any number of goroutines.
type Store struct {
	// Constant after Open.
	backend   Backend
	shared    Shared // the backend, if other processes write to it too; else nil
	logger    *zap.Logger
	now       func() time.Time
	aged      *settled.Clock // says whose time is over for good; see answers.go
	newest    time.Time      // of the newest event at Open
	db        *memdb.MemDB
	directory *directory
	seal      *sealer
	answers   *answers      // saved answers of the admin API; it has a lock of its own
	stop      chan struct{} // closed by Close
	done      chan struct{} // closed when the background work has ended
	rules     atomic.Pointer[rules]
	signing   signing
	master    MasterKey
	sealing   sync.RWMutex // read-held from sealing to saving by whoever does not hold mu; see quiesce. Taken before mu
	keysets   sync.Mutex   // one change of the master keyset at a time. Taken first
	telling   sync.Mutex   // one word to the other nodes of which master keys this one has
	dropping  bool         // all but the primary are about to go; guarded by telling

	// Read by everybody, stored by the writer only.
	snap     atomic.Pointer[Snapshot]
	hot      atomic.Pointer[hot] // nil after Close: requests still under way then read the snapshot
	imported atomic.Bool
	touched  atomic.Pointer[touchedKey] // keys used since the last save, see usage.go
	latest   atomic.Int64               // the latest time that a key was judged at, in milliseconds; see expiry.go

	// mu is held by one writer from its first check until its change is visible. It guards what follows.
	mu      sync.Mutex
	head    Head
	ids     idMaker
	tokens  tokenMaker
	intern  *interner
	pending *change // its commit failed, and whether it is durable could not be told yet
	closed  bool
	arrival *arrival    // of the import at work, nil if there is none
	copy    *copyKeeper // keeps the last state on this machine; nil: nobody does

	fresh    freshness                         // of what is in memory
	advanced atomic.Pointer[time.Time]         // when memory came to another head
	applied  chan struct{}                     // capacity 1: it did, and the other nodes are to be told
	copied   atomic.Pointer[map[string][]byte] // small values, for when the backend is away
	met      atomic.Bool                       // the backend was seen; false: memory is of the copy
	node     *node                             // this process among the others; nil: there are none

	changed signal // at each commit that became visible

	due       chan struct{} // capacity 1: the scheduler is to look what is due
	scheduler *scheduler    // nil: not started; guarded by mu

	saving sync.Mutex // one save of the usage at a time

	folding chan struct{} // capacity 1: memdb holds many keys, see fold.go
	folded  chan struct{} // closed when nothing is folded any more
	basing  sync.Mutex    // one new base at a time
}

// rules is what a configuration says of what is accepted. It can be swapped while the store is open.
type rules struct {
	resources  func(string) bool
	ipv6Ranges bool
}

// Snapshot is the store as it is now. It costs nothing.
func (s *Store) Snapshot() *Snapshot { return s.snap.Load() }

// Directory answers questions about accounts, always from the newest state, without a lock and without allocating.
func (s *Store) Directory() policy.Directory { return s.directory }

// HasImported says whether any imported key exists. If not, a token that is not of our making needs no look-up.
func (s *Store) HasImported() bool { return s.imported.Load() }

// Len is how many keys are loaded, ended ones included.
func (s *Store) Len() int { return s.snap.Load().keys }

// SetResources says which resources permissions may name from now on. Nil: all. Stored permissions stay as they are: a
// resource that left the catalog may come back with the next configuration.
func (s *Store) SetResources(known func(resource string) bool) {
	s.setRules(func(r *rules) { r.resources = known })
}

// SetIPv6Ranges says whether IP ranges may be IPv6 from now on. Stored ranges stay as they are.
func (s *Store) SetIPv6Ranges(on bool) {
	s.setRules(func(r *rules) { r.ipv6Ranges = on })
}

func (s *Store) setRules(set func(*rules)) {
	for {
		old := s.rules.Load()
		next := *old
		set(&next)
		if s.rules.CompareAndSwap(old, &next) {
			return
		}
	}
}

// Closed says whether the store was closed: what it knows is what it knew then, and no change reaches it any more.
func (s *Store) Closed() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// Close saves the usage and releases the backend. Look-ups and lists go on from memory, as they were; writes are refused
// from now on. Closing twice does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	if s.pending != nil {
		s.dropLocked() // the backend knows what became of it, and the next start asks there
	}
	scheduler := s.scheduler
	s.mu.Unlock()
	close(s.stop)
	s.stopFollowing()
	<-s.done
	<-s.folded
	if scheduler != nil {
		<-scheduler.done
	}

	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if err := s.saveUsage(ctx); err != nil {
		s.logger.Warn("saving when keys were last used", zap.Error(err))
	}
	s.leave(ctx)
	s.hot.Swap(nil).close()
	return s.backend.Close()
}
