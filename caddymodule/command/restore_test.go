package command

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
)

// TestRestoreOfNothingSealed: where a backup holds nothing sealed, a master key that is not there or cannot be opened is told, and
// does not stand in the way.
func TestRestoreOfNothingSealed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.db")
	backend, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keyset, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	store, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: keystore.MasterKeyText(keyset)})
	if err != nil {
		t.Fatal(err)
	}
	manifest, data, err := store.Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := data.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, want string
		key        keystore.MasterKey
	}{
		{"not there", "is not there", keystore.MasterKeyFile(filepath.Join(t.TempDir(), "master.key"))},
		{"not to be opened", "the gateway may not start with this master key", keystore.MasterKeyText([]byte("{}"))},
	} {
		cmd := new(cobra.Command)
		var out, note bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&note)
		r := &restore{call: newCall(cmd, nil), store: path, master: tc.key, named: true}
		if err := r.inspect(t.Context(), path, manifest); err != nil || !strings.Contains(note.String(), tc.want) || !strings.Contains(out.String(), "0 keys") {
			t.Errorf("%s: %v, said %q and %q", tc.name, err, out.String(), note.String())
		}
	}
}
