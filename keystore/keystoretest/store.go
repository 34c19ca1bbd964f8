package keystoretest

import (
	"sync"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// NewStore is an open store that is closed with the test. Fields of o that are zero are filled in: a backend in memory,
// and a master key.
func NewStore(t testing.TB, o keystore.Options) *keystore.Store {
	t.Helper()
	if o.Backend == nil {
		o.Backend = NewMemory()
	}
	if o.MasterKey == nil {
		o.MasterKey = MasterKey(t)
	}
	s, err := keystore.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("opening a key store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the key store: %v", err)
		}
	})
	return s
}

var keyset = sync.OnceValues(keystore.NewMasterKeyset)

// MasterKey is a master key that is the same all through the test binary.
func MasterKey(t testing.TB) keystore.MasterKey {
	t.Helper()
	text, err := keyset()
	if err != nil {
		t.Fatalf("making a master key: %v", err)
	}
	return keystore.MasterKeyText(text)
}
