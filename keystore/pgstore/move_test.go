package pgstore_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

// TestMove copies a store to a database and back, and finds what there was.
func TestMove(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	memory := keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: memory})
	var last *keystore.Key
	for range 30 {
		_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A", RateLimit: keystore.RateLimit{Live: 7}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteKey(ctx, by, keys[2].ID); err != nil {
			t.Fatal(err)
		}
		last = keys[0]
	}
	s.Touch(last, time.Now(), netip.MustParseAddr("203.0.113.1"))
	answer := keystore.Answer{Caller: "me", Key: "k", Expires: time.Now().Add(time.Hour), Body: []byte("body")}
	if err := s.SaveAnswer(ctx, &answer); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Signer(ctx); err != nil {
		t.Fatal(err)
	}
	want := describe(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	quiet := func(string, ...any) {}
	open := func(dsn string) *pgstore.Store {
		b, err := pgstore.Open(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	dsn := pgtest.Shared(t).Database(t)
	there := open(dsn)
	moved, err := keystore.Move(ctx, memory.Reopen(), there, quiet)
	if err != nil {
		t.Fatalf("copying to the database: %v", err)
	}
	if moved.Usage != 1 || moved.Kept != 1 || moved.Meta != 2 || moved.Rows != 30*(1+1+4) {
		t.Errorf("copied %+v", moved)
	}
	if _, err := keystore.Move(ctx, memory.Reopen(), there, quiet); err == nil || !strings.Contains(err.Error(), "holds a store already") {
		t.Errorf("copying over a store: %v", err)
	}
	node := joinFleet(t, dsn, "a", nil)
	if got := describe(t, node); got != want {
		t.Errorf("the copy is\n%s\nand not\n%s", got, want)
	}
	if got, err := node.FindAnswer(ctx, "me", "k"); err != nil || got == nil || string(got.Body) != "body" {
		t.Errorf("a saved answer: %+v, %v", got, err)
	}
	if _, _, err := node.RevealKey(ctx, by, last.ID); err != nil {
		t.Errorf("revealing a sealed token of the copy: %v", err)
	}
	back := keystoretest.NewMemory()
	if _, err := keystore.Move(ctx, there, back, quiet); err == nil || !strings.Contains(err.Error(), "node a uses the source") {
		t.Errorf("copying from under a gateway: %v", err)
	}
	want = describe(t, node)
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.Move(ctx, there, back, quiet); err != nil {
		t.Fatalf("copying back: %v", err)
	}
	again := keystoretest.NewStore(t, keystore.Options{Backend: back.Reopen()})
	if got := describe(t, again); got != want {
		t.Errorf("the copy that came back is\n%s\nand not\n%s", got, want)
	}
}

// TestMoveCutOff: a copy that was not finished is no store.
func TestMoveCutOff(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	memory := keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: memory})
	if _, _, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	target := keystoretest.NewMemory()
	cut := &failingKeep{Backend: target}
	if _, err := keystore.Move(ctx, memory.Reopen(), cut, func(string, ...any) {}); err == nil {
		t.Fatal("the copy did not fail")
	}
	s, err := keystore.Open(ctx, keystore.Options{
		Backend: target.Reopen(), MasterKey: keystore.MasterKeyFile(filepath.Join(t.TempDir(), "master.key")),
	})
	if err == nil {
		t.Error("half a copy opens as a store")
		_ = s.Close()
	}
}

// failingKeep fails on small values, which come late.
type failingKeep struct{ keystore.Backend }

func (failingKeep) SwapMeta(context.Context, string, []byte, []byte) (bool, error) {
	return false, keystoretest.ErrFault
}
