package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/admin/webhook"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/awskms"
)

// pool keeps what outlives a config load: the key store with its cache, the request log with its queue, the throttle and
// the counters. Caddy provisions the new config before it stops the old one, so a second open of a locked file would
// fail, and cold caches and reset counters would be the price of every reload.
//
// Taking something from the pool never opens it: `validate` provisions too, and must touch nothing.
var pool = caddy.NewUsagePool()

// poolKey is the identity of a pooled thing: what it is and where it lives, never how it is set up.
type poolKey struct{ kind, place string }

// holdings are what one app has taken from the pool. They remember what was really taken, so that a half-done
// provisioning gives back exactly that: one release too many would close what the running config uses.
type holdings struct {
	keys []poolKey
}

// take gives the pool's value of a key, made by construct if the pool has none.
func take[T caddy.Destructor](h *holdings, key poolKey, construct func() T) (T, error) {
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) { return construct(), nil })
	if err != nil {
		var none T
		return none, err
	}
	h.keys = append(h.keys, key)
	return value.(T), nil
}

// release gives everything back, newest first, and closes what nobody else holds. A second call does nothing.
func (h *holdings) release() error {
	var errs []error
	for i := len(h.keys) - 1; i >= 0; i-- {
		if _, err := pool.Delete(h.keys[i]); err != nil {
			errs = append(errs, fmt.Errorf("closing the %s: %w", h.keys[i].kind, err))
		}
	}
	h.keys = nil
	return errors.Join(errs...)
}

// share takes everything once more, for somebody who may outlive its holder. What is held is in the pool, so that nothing
// is constructed.
func (h *holdings) share() (*holdings, error) {
	more := new(holdings)
	for _, key := range h.keys {
		if _, err := take(more, key, func() caddy.Destructor { panic("held, but not in the pool") }); err != nil {
			return nil, errors.Join(err, more.release())
		}
	}
	return more, nil
}

// errClosed is the answer to whoever comes after the last config that used a store or log.
var errClosed = errors.New("closed")

// sharedStore is a key store in the pool, opened on first use.
type sharedStore struct {
	place  storePlace
	node   string // this process among those that share the store
	master masterSource

	mu    sync.Mutex // guards what follows; held while the store is opened
	store *keystore.Store
	// idempotency knows which calls of the admin API are under way, over reloads; their answers are in the store.
	idempotency *api.StoreIdempotency
	sessions    *auth.Sessions      // who has signed in, and who failed to
	webhooks    *webhook.Dispatcher // the deliveries; nil: not started
	err         error               // why it could not be opened; final
	closed      bool
}

// masterSource says where a master keyset comes from: a file, perhaps encrypted by a key of a service, or a variable.
type masterSource struct{ file, env, kms string }

func (m masterSource) String() string {
	if m.env != "" {
		return "environment variable " + m.env
	}
	if m.kms != "" {
		return m.kms
	}
	return "file " + m.file
}

func (m masterSource) key() keystore.MasterKey {
	if m.env != "" {
		return keystore.MasterKeyEnv(m.env)
	}
	if m.kms != "" {
		return awskms.MasterKey(m.file, m.kms)
	}
	return keystore.MasterKeyFile(m.file)
}

// takeStore takes the store of a place from the pool. Two configs may share it only if they agree on the master keyset:
// what one of them seals, the other could not open.
func takeStore(h *holdings, place storePlace, master masterSource) (*sharedStore, error) {
	s, err := take(h, poolKey{"key store", place.key()}, func() *sharedStore {
		return &sharedStore{place: place, node: place.node(), master: master}
	})
	if err != nil {
		return nil, err
	}
	if s.master != master {
		return nil, fmt.Errorf("store: %s is in use with the master key of %s, not of %s: changing it needs a restart", place, s.master, master)
	}
	return s, nil
}

// open opens the store, or gives the one that is open. Everybody who calls while it is being opened waits for the same
// outcome.
func (s *sharedStore) open() (*keystore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, errClosed
	case s.store != nil || s.err != nil:
		return s.store, s.err
	}
	store, err := s.openStore()
	if err == nil {
		if s.sessions, err = auth.NewSessions(store, time.Now, processLogger("keystile.sessions")); err != nil {
			err = errors.Join(err, store.Close())
		}
	}
	if s.err = err; err == nil {
		s.store, s.idempotency = store, api.NewStoreIdempotency(store, time.Now)
	}
	return s.store, s.err
}

func (s *sharedStore) openStore() (*keystore.Store, error) {
	logger := processLogger("keystile.store")
	if err := s.place.checkFiles(func(warning string) { logger.Warn(warning) }); err != nil {
		return nil, err
	}
	backend, err := s.place.open()
	if err != nil {
		return nil, err
	}
	version, _ := caddy.Version()
	// not the config's context and logger: the store outlives both
	store, err := keystore.Open(context.Background(), keystore.Options{
		Backend:   backend,
		MasterKey: s.master.key(),
		Logger:    logger,
		Node:      s.node,
		Version:   version,
		CopyFile:  s.place.copyFile(),
	})
	if err != nil {
		// keystore.Open closes the backend that it refuses
		return nil, err
	}
	return store, nil
}

// probe says what would stop the store from being opened, without opening, locking or creating anything.
func (s *sharedStore) probe() error {
	if err := s.place.checkFiles(func(string) {}); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := s.place.probe(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// Destruct closes the store when the last config has let go of it.
func (s *sharedStore) Destruct() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.store == nil {
		return nil
	}
	if s.webhooks != nil {
		s.webhooks.Close()
	}
	return s.store.Close()
}

// Destruct has nothing to close: the throttle is memory.
func (t *throttle) Destruct() error { return nil }
