package keystore

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/keystile/keystile/policy"
)

// What the tests outside of the package need of its inside.

const (
	HotGrace      = hotGrace
	UsageInterval = usageInterval
	FoldAtLeast   = foldAtLeast
)

// TrustStale switches the cache's check of the version off.
func (s *Store) TrustStale(on bool) { s.hot.Load().trustStale = on }

// WaitForCache waits until the cache has taken in what it was given.
func (s *Store) WaitForCache() { s.hot.Load().cache.Wait() }

// Cached is what the cache answers.
func (s *Store) Cached(d *policy.Digest) *Key { return s.hot.Load().get(d) }

// FoldNow makes a base of all keys, however few they are.
func (s *Store) FoldNow() { s.fold() }

// Newer is how many keys memdb holds in front of the base.
func (s *Store) Newer() int { return s.Snapshot().newer }

// Find is what a look-up reads from the snapshot.
func (v *Snapshot) Find(d *policy.Digest) *Key { return v.find(d) }

// ArriveLate lets imported keys come into memory after others have changed some of them, and after that was folded, if fold.
func (s *Store) ArriveLate(keys, changed []*Key, fold bool) error {
	a := newArrival()
	for _, k := range keys {
		arriving := *k
		arriving.usage, arriving.version = new(usageCell), 1
		a.keys = append(a.keys, &arriving)
	}
	if err := s.ApplyKeys(changed...); err != nil {
		return err
	}
	if fold {
		s.fold()
	}
	s.arrive(a)
	return nil
}

// ApplyKeys takes keys over as another node has committed them.
func (s *Store) ApplyKeys(keys ...*Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	other := &application{store: s, txn: s.db.Txn(true)}
	defer other.abort()
	for _, k := range keys {
		if err := other.row(Row{Table: TableKey, ID: k.ID, Data: k.encode()}); err != nil {
			return err
		}
	}
	other.publish(s.head)
	return nil
}

// Resealed is k with another sealed token.
func Resealed(k *Key, sealed string) *Key {
	c := *k
	c.sealed = sealed
	return &c
}

// SealedOf is what is sealed of a key.
func SealedOf(k *Key) string { return k.sealed }

// Current is current.
func (k *Key) Current() bool { return k.current() }

// ColdRead is the first half of a look-up that misses the cache: it gives the key and a function that does the second
// half, the filling.
func (s *Store) ColdRead(d *policy.Digest) (*Key, func()) {
	k := s.Snapshot().find(d)
	return k, func() { s.hot.Load().put(k) }
}

// Plain is a key without what differs between two loads of it.
func Plain(k *Key) Key {
	c := *k
	c.usage, c.version = nil, 0
	return c
}

// HasSealed says whether the key's token is kept.
func HasSealed(k *Key) bool { return k.sealed != "" }

// WithSealedOf is k with another key's sealed token.
func (s *Store) OpenSealedOf(k, other *Key) error {
	c := *k
	c.sealed = other.sealed
	_, err := s.seal.open(&c)
	return err
}

// IDTime is the time in an id.
func IDTime(id string) time.Time {
	var m idMaker
	m.seen(id)
	return time.UnixMicro(int64(m.last))
}

// Thumbprint is the id of a public key.
func Thumbprint(public ed25519.PublicKey) string { return thumbprint(public) }

// AddSigningKey puts a key in front of the others, as a rotation would: opened stores go on with theirs.
func (s *Store) AddSigningKey(ctx context.Context, seed []byte) error {
	keys, err := s.signingKeys(ctx)
	if err != nil {
		return err
	}
	keys = append([]signingKey{{created: s.now(), private: ed25519.NewKeyFromSeed(seed)}}, keys...)
	return s.SealSigning(ctx, encodeSigning(keys))
}

// SealSigning stores a plain form of the signing keys.
func (s *Store) SealSigning(ctx context.Context, plain []byte) error {
	sealed, err := s.seal.Encrypt(plain, signingFor)
	if err != nil {
		return err
	}
	old, err := s.backend.Meta(ctx, metaSigning)
	if err != nil {
		return err
	}
	if swapped, err := s.backend.SwapMeta(ctx, metaSigning, old, sealed); err != nil || !swapped {
		return fmt.Errorf("swapped %t: %w", swapped, err)
	}
	return nil
}

// Scheduler is a scheduler that a test runs by hand.
type Scheduler struct {
	store *Store
	w     *scheduler
}

// NewScheduler is what StartScheduler makes, without its goroutine.
func (s *Store) NewScheduler(t interface {
	Helper()
	Fatal(...any)
}, node string) *Scheduler {
	t.Helper()
	w, err := newScheduler(node)
	if err != nil {
		t.Fatal(err)
	}
	return &Scheduler{store: s, w: w}
}

// Run does what is due.
func (r *Scheduler) Run(ctx context.Context) error { return r.store.runDue(ctx, r.w) }

// Take takes the lease as at a time, without doing anything.
func (r *Scheduler) Take(ctx context.Context, now time.Time) error {
	return r.w.lease.take(ctx, r.store.backend, now)
}

// ErrLeaseHeld is the answer of a scheduler that is not the one.
var ErrLeaseHeld = errLeaseHeld

// TrustedOwner is trustedOwner.
var TrustedOwner = trustedOwner
