package pgstore_test

import (
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestDurable: what is acknowledged is in the server's log on disk also where the server is set up to acknowledge sooner, while
// what may be lost does not wait for it.
func TestDurable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := ownServer(t)
	dsn := server.Database(t)
	// The server writes its log out by itself once in ten seconds only.
	if err := server.Exec(`ALTER SYSTEM SET synchronous_commit = off`, `ALTER SYSTEM SET wal_writer_delay = '10s'`, `ALTER SYSTEM SET wal_writer_flush_after = '1GB'`, `SELECT pg_reload_conf()`); err != nil {
		t.Fatal(err)
	}
	until(t, "the server was lazy", func() bool {
		lazy, err := pgtest.Text(dsn, `SHOW synchronous_commit`)
		return err == nil && lazy == "off"
	})
	s := joinFleet(t, dsn, "a", nil)
	var last *keystore.Organization
	for range 20 {
		o, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"})
		if err != nil {
			t.Fatal(err)
		}
		last = o
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	late := joinFleet(t, dsn, "late", nil)
	if _, ok := late.Snapshot().Organization(last.ID); !ok {
		t.Error("an acknowledged change is lost")
	}
}
