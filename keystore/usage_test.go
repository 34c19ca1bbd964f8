package keystore_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func TestTouch(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")
	used := func() keystore.Usage {
		u, _ := s.LastUsed(k.ID)
		return u
	}
	if _, ok := s.LastUsed(k.ID); ok {
		t.Error("a new key was used")
	}
	if _, ok := s.LastUsed("key_none"); ok {
		t.Error("an unknown key was used")
	}
	s.Touch(nil, c.at, one)
	s.Touch(k, c.at, one)
	if got := used(); !got.At.Equal(c.at) || got.Address != one {
		t.Errorf("used %+v", got)
	}
	s.Touch(k, c.at.Add(500*time.Millisecond), two)
	if got := used(); got.Address != two {
		t.Errorf("used from another address within the second: %+v", got)
	}
	s.Touch(k, c.at.Add(100*time.Millisecond), one)
	if got := used(); got.Address != two {
		t.Errorf("an older use came later and won: %+v", got)
	}
	revision, trail := s.Snapshot().Revision(), len(events(t, backend))
	next, err := s.UpdateKey(t.Context(), by, k.ID, keystore.KeyPatch{Note: keystore.To("x")})
	if err != nil {
		t.Fatal(err)
	}
	if got := used(); got.Address != two {
		t.Errorf("an edit lost the use: %+v", got)
	}
	s.Touch(k, c.at.Add(2*time.Second), one) // an older version of the key, still in a request's hands
	if u, _ := s.LastUsed(next.ID); u.Address != one {
		t.Errorf("a use through an older version: %+v", u)
	}
	if s.Snapshot().Revision() != revision+1 || len(events(t, backend)) != trail+1 {
		t.Error("a use is a commit or an event")
	}
}

func TestTouchInParallel(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	_, keys := mustAccount(t, s, "A")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range 2000 {
				s.Touch(keys[i%len(keys)], start.Add(time.Duration(i)*time.Second), netip.MustParseAddr("192.0.2.1"))
			}
		})
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = keystoretest.NewStore(t, keystore.Options{Backend: backend.Reopen()})
	for i, k := range keys {
		want := start.Add(time.Duration(1996+i) * time.Second)
		if got, ok := s.LastUsed(k.ID); !ok || !got.At.Equal(want) {
			t.Errorf("key %d was last used %v after a restart, want %v", i, got.At, want)
		}
	}
}

// TestUsageIsSavedEachMinute: within a minute, without any commit; what could not be saved is saved later.
func TestUsageIsSavedEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &usageBackend{Backend: keystoretest.NewMemory()}
		s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		_, keys := mustAccount(t, s, "A")
		from := netip.MustParseAddr("192.0.2.1")
		wantSaved := func(when string, next error, calls int, keys ...string) {
			t.Helper()
			synctest.Wait()
			if gotCalls, gotKeys := backend.saved(next); gotCalls != calls || !slices.Equal(gotKeys, keys) {
				t.Errorf("%s: %d saves, the last of %v; want %d, %v", when, gotCalls, gotKeys, calls, keys)
			}
		}
		for range 10 {
			s.Touch(keys[0], time.Now(), from)
			time.Sleep(time.Second)
		}
		wantSaved("within ten seconds", nil, 0)
		time.Sleep(keystore.UsageInterval)
		wantSaved("after a minute", nil, 1, keys[0].ID)
		time.Sleep(5 * keystore.UsageInterval)
		wantSaved("while nothing is used", errors.New("no room"), 1, keys[0].ID)
		s.Touch(keys[1], time.Now(), from)
		time.Sleep(keystore.UsageInterval)
		wantSaved("with a failure", nil, 2, keys[1].ID)
		time.Sleep(keystore.UsageInterval)
		wantSaved("after the failure", nil, 3, keys[1].ID)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * keystore.HotGrace)
	})
}

// usageBackend counts saves.
type usageBackend struct {
	keystore.Backend
	mu    sync.Mutex
	calls int
	rows  []keystore.UsageRow
	err   error
}

func (b *usageBackend) SaveUsage(_ context.Context, rows []keystore.UsageRow) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	b.rows = rows
	return b.err
}

// saved is how many saves there were, and the keys in the last one. From now on saves answer err.
func (b *usageBackend) saved(err error) (calls int, keys []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.rows {
		keys = append(keys, r.KeyID)
	}
	b.err = err
	return b.calls, keys
}

// TestUnknownOutcomeSettlesByItself: the store asks again every second what became of a commit, so that memory does not
// wait for the next write.
func TestUnknownOutcomeSettlesByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := &keystoretest.Faulty{Backend: keystoretest.NewMemory()}
		s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		_, keys := mustAccount(t, s, "A")
		backend.Break(keystoretest.FaultBlindPersisted)
		_, err = s.DeleteKey(t.Context(), by, keys[2].ID)
		wantError(t, "the commit", err, keystore.CodeUnavailable, "")
		time.Sleep(3 * time.Second)
		if k, _ := s.Lookup(&keys[2].Digest); k.Deleted {
			t.Error("memory went ahead of what is known")
		}
		backend.Break(keystoretest.FaultNone)
		time.Sleep(2 * time.Second)
		if k, _ := s.Lookup(&keys[2].Digest); !k.Deleted {
			t.Error("the deletion that turned out to be durable is not seen")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * keystore.HotGrace)
	})
}
