package pgstore_test

import (
	"context"
	"os"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestConformance(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	keystoretest.RunBackend(t, func(t *testing.T) func() (keystore.Backend, error) {
		dsn := server.Database(t)
		return func() (keystore.Backend, error) { return pgstore.Open(t.Context(), dsn) }
	})
}

func TestSharedConformance(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	keystoretest.RunShared(t, func(t *testing.T) func() (keystore.Shared, error) {
		dsn := server.Database(t)
		return func() (keystore.Shared, error) { return pgstore.Open(context.WithoutCancel(t.Context()), dsn) }
	})
}
