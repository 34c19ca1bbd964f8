package keystore_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func openWith(t *testing.T, b keystore.Backend, m keystore.MasterKey) (*keystore.Store, error) {
	t.Helper()
	return keystore.Open(t.Context(), keystore.Options{Backend: b, MasterKey: m})
}

func mustClose(t *testing.T, s *keystore.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMasterKeyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "master.key")
	m := keystore.MasterKeyFile(path)
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, m)
	if err != nil {
		t.Fatal(err)
	}
	_, keys := mustAccount(t, s, "A")
	mustClose(t, s)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v; want 0600", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v; want 0700", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files in the directory, want 1", len(left))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	s, err = openWith(t, backend.Reopen(), m)
	if err != nil {
		t.Fatal(err)
	}
	if _, token, err := s.RevealKey(t.Context(), by, keys[0].ID); err != nil || token.Digest() != keys[0].Digest {
		t.Errorf("revealing after a restart: %v", err)
	}
	mustClose(t, s)

	refuse := func(name, want string) {
		t.Helper()
		before, _ := os.ReadFile(path)
		s, err := openWith(t, backend.Reopen(), m)
		if err == nil {
			mustClose(t, s)
			t.Errorf("%s: the store opened", name)
			return
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, want one sentence with %q and the path", name, err, want)
		}
		for line := range strings.Lines(string(text)) {
			if len(line) > 40 && strings.Contains(err.Error(), strings.TrimSpace(line)) {
				t.Errorf("%s: the error shows the keyset", name)
			}
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		refuse(mode.String(), "chmod 600")
	}
	rewrite := func(content []byte) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite([]byte("not a keyset"))
	refuse("junk", "no keyset")
	rewrite(text[:len(text)/2])
	refuse("half of it", "no keyset")
	other, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	rewrite(other)
	refuse("another keyset", "another keyset")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuse("lost", "missing")
	if _, err := os.Stat(path); err == nil {
		t.Error("a lost master key was replaced by a new one")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refuse("a directory", "not a regular file")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o400); err != nil {
		t.Fatal(err)
	}
	s, err = openWith(t, backend.Reopen(), m)
	if err != nil {
		t.Fatalf("the right keyset put back, read-only: %v", err)
	}
	mustClose(t, s)
}

// TestKeysetWithoutSealedTokens: while nothing is sealed, a lost keyset is no loss.
func TestKeysetWithoutSealedTokens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	backend := keystoretest.NewMemory()
	for range 2 {
		s, err := openWith(t, backend, keystore.MasterKeyFile(path))
		if err != nil {
			t.Fatal(err)
		}
		mustOrganization(t, s, "O")
		mustClose(t, s)
		backend = backend.Reopen()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMasterKeyEnv(t *testing.T) {
	const name = "KEYSTILE_TEST_MASTER_KEY"
	text, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	backend := keystoretest.NewMemory()
	for _, value := range []string{string(text), base64.StdEncoding.EncodeToString(text), "\n" + string(text) + "\n"} {
		t.Setenv(name, value)
		s, err := openWith(t, backend, keystore.MasterKeyEnv(name))
		if err != nil {
			t.Fatal(err)
		}
		mustAccount(t, s, "A")
		mustClose(t, s)
		backend = backend.Reopen()
	}
	for value, want := range map[string]string{"": "is missing", "%%%": "no keyset", "e30=": "no keyset", "{}": "no keyset"} {
		t.Setenv(name, value)
		_, err := openWith(t, backend.Reopen(), keystore.MasterKeyEnv(name))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, want %q", value, err, want)
		}
		if value != "" && strings.Contains(err.Error(), value) {
			t.Errorf("%q: the error shows the value", value)
		}
	}
	t.Setenv(name, "")
	if _, err := openWith(t, keystoretest.NewMemory(), keystore.MasterKeyEnv(name)); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("an empty variable on first start: %v", err)
	}
}

func TestOpenNeedsItsParts(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]keystore.Options{
		"nothing":       {},
		"no master key": {Backend: keystoretest.NewMemory()},
		"no backend":    {MasterKey: keystoretest.MasterKey(t)},
		"bad cache":     {Backend: keystoretest.NewMemory(), MasterKey: keystoretest.MasterKey(t), CacheEntries: -1},
	} {
		if s, err := keystore.Open(t.Context(), o); err == nil {
			mustClose(t, s)
			t.Errorf("%s: the store opened", name)
		}
	}
}
