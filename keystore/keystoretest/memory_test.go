package keystoretest_test

import (
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	keystoretest.RunBackend(t, func(*testing.T) func() (keystore.Backend, error) {
		b := keystoretest.NewMemory()
		return func() (keystore.Backend, error) {
			b = b.Reopen()
			return b, nil
		}
	})
}
