package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/policy"
)

// cutShort is a backend whose changes end too soon, each time some batches later.
type cutShort struct {
	*pgstore.Store
	cuts atomic.Int32
}

func (c *cutShort) Changes(ctx context.Context, after uint64, rows func([]keystore.Row) error) (keystore.Head, error) {
	batches := 0
	return c.Store.Changes(ctx, after, func(batch []keystore.Row) error {
		if batches++; batches > 3 && c.cuts.Load() < 3 {
			c.cuts.Add(1)
			return errors.New("cut short")
		}
		return rows(batch)
	})
}

// slow is a backend whose batches take their time, and do something else in the middle.
type slow struct {
	*pgstore.Store
	during func(batch int)
}

func (s *slow) Changes(ctx context.Context, after uint64, rows func([]keystore.Row) error) (keystore.Head, error) {
	batches := 0
	return s.Store.Changes(ctx, after, func(batch []keystore.Row) error {
		batches++
		s.during(batches)
		return rows(batch)
	})
}

// TestRevokedDuringImport: a key that another node deletes while an import arrives here does not work until all of it is there.
func TestRevokedDuringImport(t *testing.T) {
	t.Parallel()
	const count = 6000
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	writer := joinFleet(t, dsn, "writer", nil)
	backend, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	a, keys, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	first, old, refused := policy.DigestOf("legacy-000000"), &keys[2].Digest, 0
	var reader *keystore.Store
	during := func(batch int) {
		switch {
		case batch == 4:
			k, _ := writer.Lookup(&first)
			for _, id := range []string{keys[2].ID, k.ID} {
				if _, err := writer.DeleteKey(ctx, by, id); err != nil {
					t.Errorf("deleting during the import: %v", err)
				}
			}
			time.Sleep(100 * time.Millisecond) // the next look ahead is due then
		case batch > 6:
			for _, digest := range []*policy.Digest{old, &first} {
				if k, _ := reader.Lookup(digest); k != nil && !k.Principal.Ended {
					t.Errorf("batch %d: a key works that was deleted before", batch)
				}
				refused++
			}
		}
	}
	reader, err = keystore.Open(ctx, keystore.Options{Backend: &slow{backend, during}, MasterKey: keystoretest.MasterKey(t), Node: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	imp, err := writer.BeginImport(by, false)
	if err != nil {
		t.Fatal(err)
	}
	defer imp.Close()
	for i := range count {
		if err := imp.Add(i+1, &keystore.ImportParams{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID}, Token: policy.TokenFrom(fmt.Sprintf("legacy-%06d", i)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := imp.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "the reader was where the writer is", func() bool { return reader.Snapshot().Revision() == writer.Snapshot().Revision() })
	if refused == 0 {
		t.Error("the import arrived in too few batches: this test shows nothing")
	}
	if got, want := describe(t, reader), describe(t, writer); got != want {
		t.Error("the nodes differ")
	}
}

// TestImportCutShort: an import that arrives in several tries is there once and whole, and what was done to its keys between the
// tries stays.
func TestImportCutShort(t *testing.T) {
	t.Parallel()
	const count = 5000
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	writer := joinFleet(t, dsn, "writer", nil)
	backend, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	short := &cutShort{Store: backend}
	reader, err := keystore.Open(ctx, keystore.Options{Backend: short, MasterKey: keystoretest.MasterKey(t), Node: "reader"})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	a, _, err := writer.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	imp, err := writer.BeginImport(by, false)
	if err != nil {
		t.Fatal(err)
	}
	defer imp.Close()
	for i := range count {
		if err := imp.Add(i+1, &keystore.ImportParams{
			KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: a.ID}, Token: policy.TokenFrom(fmt.Sprintf("legacy-%06d", i)),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := imp.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < count; i += 500 { // among what has been applied, and among what has not
		digest := policy.DigestOf(fmt.Sprintf("legacy-%06d", i))
		k, _ := writer.Lookup(&digest)
		if k == nil {
			t.Fatalf("the imported key %d is not there", i)
		}
		if _, err := writer.DeleteKey(ctx, by, k.ID); err != nil {
			t.Fatal(err)
		}
	}
	reach(t, reader, writer.Snapshot().Revision())
	if short.cuts.Load() != 3 {
		t.Errorf("the changes were cut short %d times: this test shows nothing", short.cuts.Load())
	}
	if reader.Len() != count+4 {
		t.Errorf("the reader counts %d keys, want %d", reader.Len(), count+4)
	}
	if got, want := describe(t, reader), describe(t, writer); got != want {
		t.Error("the nodes differ")
	}
}
