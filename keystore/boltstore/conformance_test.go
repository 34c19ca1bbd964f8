package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	keystoretest.RunBackend(t, func(t *testing.T) func() (keystore.Backend, error) {
		path := filepath.Join(t.TempDir(), "keys.db")
		return func() (keystore.Backend, error) { return boltstore.Open(path, boltstore.Options{}) }
	})
}
