package keystore

import (
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"
)

// DefaultCacheEntries is how many keys the cache holds unless [Options] say otherwise. An entry costs about 900 bytes: the key is whole in it.
const DefaultCacheEntries = 1 << 16

// Options is what a store is made of.
type Options struct {
	Backend   Backend   // required; the store closes it
	MasterKey MasterKey // required; see [MasterKeyFile] and [MasterKeyEnv]

	Logger *zap.Logger      // nil: logs nothing. Tokens are never logged
	Now    func() time.Time // nil: [time.Now]
	Rand   io.Reader        // nil: crypto/rand. Tokens and ids are made of it
	// Elapsed is how much time has passed since some moment, whatever is done to the clock; nil: as Now says, or, without that, since Open
	Elapsed func() time.Duration

	Node         string        // names this process to others that share the backend; required if it is [Shared]
	Version      string        // of the program, for lists of nodes
	MaxStaleness time.Duration // see [Store.SetMaxStaleness]; 0: [DefaultMaxStaleness]
	CopyFile     string        // keeps the last state here if the backend is [Shared], for a start without it; "": nowhere

	CacheEntries int                        // keys in the cache; 0: [DefaultCacheEntries]
	IPv6Ranges   bool                       // accept IPv6 in IP ranges; can be changed by [Store.SetIPv6Ranges]
	Resources    func(resource string) bool // says whether permissions may name it; nil: all; see [Store.SetResources]
}

func (o *Options) complete() error {
	if o.Backend == nil {
		return errors.New("opening the key store: no backend given")
	}
	if o.MasterKey == nil {
		return errors.New("opening the key store: no master key given")
	}
	if _, shared := o.Backend.(Shared); shared && o.Node == "" {
		return errors.New("opening the key store: other processes write to it too, and this one has no name")
	}
	if o.CacheEntries < 0 {
		return errors.New("opening the key store: the number of cache entries is negative")
	}
	if o.CacheEntries == 0 {
		o.CacheEntries = DefaultCacheEntries
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Elapsed == nil {
		now := o.Now
		if now == nil {
			now = time.Now // which has a reading of the monotonic clock in it
		}
		begun := now()
		o.Elapsed = func() time.Duration { return now().Sub(begun) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	} else {
		o.Rand = &sharedReader{r: o.Rand}
	}
	return nil
}

// sharedReader lets several goroutines read, as crypto/rand does: the writer, and an import beside it.
type sharedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (s *sharedReader) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(b)
}
