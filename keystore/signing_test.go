package keystore_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func mustSigner(t *testing.T, s *keystore.Store) *keystore.Signer {
	t.Helper()
	signer, err := s.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func verificationKeys(t *testing.T, s *keystore.Store) []keystore.VerificationKey {
	t.Helper()
	keys, err := s.VerificationKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestSigner: the key is made on first use, survives a restart, and is the same for all.
func TestSigner(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	master := keystoretest.MasterKey(t)
	s, err := openWith(t, backend, master)
	if err != nil {
		t.Fatal(err)
	}
	if keys := verificationKeys(t, s); len(keys) != 0 {
		t.Errorf("%d keys before the first use, want none", len(keys))
	}
	first := mustSigner(t, s)
	if again := mustSigner(t, s); again != first {
		t.Error("the second call answers another signer")
	}
	keys := verificationKeys(t, s)
	if len(keys) != 1 || keys[0].ID != first.KeyID() || !keys[0].Public.Equal(first.Public()) || keys[0].CreatedAt.IsZero() {
		t.Fatalf("keys %+v, want the one that signs", keys)
	}
	message := []byte("message")
	if !ed25519.Verify(keys[0].Public, message, first.Sign(message)) {
		t.Error("the signature does not verify")
	}
	if ed25519.Verify(keys[0].Public, []byte("other"), first.Sign(message)) {
		t.Error("the signature verifies another message")
	}
	mustClose(t, s)
	if mustSigner(t, s) != first {
		t.Error("a closed store does not sign for those who linger")
	}

	s, err = openWith(t, backend.Reopen(), master)
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	restarted := mustSigner(t, s)
	if restarted.KeyID() != first.KeyID() || !ed25519.Verify(keys[0].Public, message, restarted.Sign(message)) {
		t.Error("after a restart another key signs")
	}
}

// TestSignerOfTwoNodes: stores on one backend that make the first key at once agree on one.
func TestSignerOfTwoNodes(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	const nodes = 8
	ids := make([]string, nodes)
	var wait sync.WaitGroup
	for i := range nodes {
		s := keystoretest.NewStore(t, keystore.Options{Backend: node{backend}})
		wait.Add(1)
		go func() {
			defer wait.Done()
			signer, err := s.Signer(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = signer.KeyID()
		}()
	}
	wait.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "" {
			t.Fatalf("the nodes sign with different keys: %v", ids)
		}
	}
}

// node is how one of several nodes sees a backend that they share: closing it leaves the backend open.
type node struct{ *keystoretest.Memory }

func (node) Close() error { return nil }

// TestSigningKeysAreSealed: neither the backend nor anything that prints or logs shows a private key, and whoever can
// write to the backend alone cannot put in a key of their own.
func TestSigningKeysAreSealed(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	backend := keystoretest.NewMemory()
	seed := bytes.Repeat([]byte{0x5a}, 1<<16) // what the key is made of
	s := keystoretest.NewStore(t, keystore.Options{Backend: backend, Rand: bytes.NewReader(seed), Logger: zap.New(core)})
	signer := mustSigner(t, s)
	private := ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize])
	if !signer.Public().Equal(private.Public()) {
		t.Fatal("the key is not made of Options.Rand")
	}
	sealed, err := backend.Meta(t.Context(), "signing_keys")
	if err != nil || len(sealed) == 0 {
		t.Fatalf("nothing is stored: %v", err)
	}
	var logged strings.Builder
	for _, e := range logs.All() {
		fmt.Fprint(&logged, e.Message, e.ContextMap())
	}
	if !strings.Contains(logged.String(), signer.KeyID()) {
		t.Errorf("the log does not name the new key: %s", &logged)
	}
	shown := map[string]string{"backend": string(sealed), "log": logged.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		shown[verb] = fmt.Sprintf(verb+" "+verb, signer, *signer)
	}
	for where, text := range shown {
		for _, secret := range []string{string(seed[:8]), "5a5a5a5a", "90 90 90 90", "0x5a, 0x5a", "WlpaWlpa"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows the private key: %q", where, text)
			}
		}
	}

	for name, bad := range map[string][]byte{
		"junk": []byte("junk"), "cut": sealed[:len(sealed)-1], "changed": append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1), "empty": {},
	} {
		other := backend.Reopen()
		if swapped, err := other.SwapMeta(t.Context(), "signing_keys", sealed, bad); err != nil || !swapped {
			t.Fatalf("%s: %t, %v", name, swapped, err)
		}
		opened := keystoretest.NewStore(t, keystore.Options{Backend: other})
		if _, err := opened.Signer(t.Context()); err == nil {
			t.Errorf("%s: the store signs", name)
		}
		if _, err := opened.VerificationKeys(t.Context()); err == nil {
			t.Errorf("%s: the store names keys", name)
		}
		if swapped, err := other.SwapMeta(t.Context(), "signing_keys", bad, sealed); err != nil || !swapped {
			t.Fatalf("%s: %t, %v", name, swapped, err)
		}
	}
}

// TestSigningKeysNeedTheMasterKey: also where no token is sealed, a store with signing keys does not start under another
// master key, and makes no new one.
func TestSigningKeysNeedTheMasterKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	mustSigner(t, s)
	mustClose(t, s)
	lost := keystore.MasterKeyFile(path + ".lost")
	if s, err := openWith(t, backend.Reopen(), lost); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("lost: %v, %v", s, err)
	}
	if s, err := openWith(t, backend.Reopen(), keystoretest.MasterKey(t)); err == nil || !strings.Contains(err.Error(), "another keyset") {
		t.Errorf("another: %v, %v", s, err)
	}
	s, err = openWith(t, backend.Reopen(), keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	mustSigner(t, s)
	mustClose(t, s)
}

// TestSignerFails: a key that could not be saved does not sign, and the next call tries again.
func TestSignerFails(t *testing.T) {
	t.Parallel()
	backend := &unwritable{Memory: keystoretest.NewMemory()}
	s := keystoretest.NewStore(t, keystore.Options{Backend: backend})
	backend.err = errors.New("disk full")
	if _, err := s.Signer(t.Context()); !errors.Is(err, backend.err) {
		t.Errorf("got %v, want the backend's error", err)
	}
	backend.err = nil
	mustSigner(t, s)
	s = keystoretest.NewStore(t, keystore.Options{Rand: bytes.NewReader(nil)})
	if _, err := s.Signer(t.Context()); err == nil {
		t.Error("signs without randomness")
	}
}

type unwritable struct {
	*keystoretest.Memory
	err error
}

func (u *unwritable) SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error) {
	if u.err != nil {
		return false, u.err
	}
	return u.Memory.SwapMeta(ctx, name, old, value)
}

// TestSigningKeysInPlural: the newest signs, all verify.
func TestSigningKeysInPlural(t *testing.T) {
	t.Parallel()
	backend := keystoretest.NewMemory()
	s := keystoretest.NewStore(t, keystore.Options{Backend: node{backend}})
	old := mustSigner(t, s)
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	if err := s.AddSigningKey(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
	next := keystoretest.NewStore(t, keystore.Options{Backend: node{backend}})
	signer := mustSigner(t, next)
	if !signer.Public().Equal(ed25519.NewKeyFromSeed(seed).Public()) {
		t.Error("the newest key does not sign")
	}
	for name, of := range map[string]*keystore.Store{"the old process": s, "the new one": next} {
		keys := verificationKeys(t, of)
		if len(keys) != 2 || keys[0].ID != signer.KeyID() || keys[1].ID != old.KeyID() {
			t.Errorf("%s names %+v, want both keys, the newest first", name, keys)
		}
	}
	for name, plain := range map[string][]byte{
		"nothing": {}, "no key": {1}, "half a key": append([]byte{1}, make([]byte, 39)...), "of a newer version": append([]byte{2}, make([]byte, 40)...),
	} {
		if err := next.SealSigning(t.Context(), plain); err != nil {
			t.Fatal(err)
		}
		if keys, err := next.VerificationKeys(t.Context()); err == nil {
			t.Errorf("%s: answers %v", name, keys)
		}
	}
}

// TestThumbprint is the example of RFC 8037, appendix A.3.
func TestThumbprint(t *testing.T) {
	t.Parallel()
	public, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := keystore.Thumbprint(public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
