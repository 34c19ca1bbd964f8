package keystore_test

import (
	"path/filepath"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// TestMasterKeyRotationOfLoadedKeys: what a start has loaded, and no change has touched since, is sealed anew as well, and opens
// when the old key is gone: as it is in memory, after a fold, and after a further start.
func TestMasterKeyRotationOfLoadedKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	v := fillVault(t, s)
	n := s.Len()
	for range 3 {
		mustClose(t, s)
		backend = backend.Reopen()
		if s, err = openWith(t, backend, keystore.MasterKeyFile(path)); err != nil {
			t.Fatal(err)
		}
		if s.Newer() != 0 {
			t.Fatal("the keys are not in the base: the test shows nothing")
		}
		sealed := masterKeys(t, s)
		done, err := s.RotateMasterKey(t.Context(), by, false)
		if err != nil {
			t.Fatal(err)
		}
		if done.Keys == 0 || done.Members != 1 || done.Webhooks != 1 || !done.SigningKeys {
			t.Errorf("sealed anew: %+v", *done)
		}
		if now := masterKeys(t, s); len(now.Keys) != 1 || now.Primary == sealed.Primary || now.Old != (keystore.Sealed{}) {
			t.Errorf("the keys are %v, and %+v is sealed under old ones", now.Keys, now.Old)
		}
		v.opens(t, s)
		s.FoldNow()
		v.opens(t, s)
		if s.Len() != n {
			t.Errorf("%d keys, want %d", s.Len(), n)
		}
	}
	mustClose(t, s)
	if s, err = openWith(t, backend.Reopen(), keystore.MasterKeyFile(path)); err != nil {
		t.Fatal(err)
	}
	v.opens(t, s)
	mustClose(t, s)
}
