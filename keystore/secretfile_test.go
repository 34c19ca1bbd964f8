//go:build unix

package keystore_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystile/keystile/keystore"
)

// TestSecretFileOfEverybody: a secret's file that others may read or change is refused by its name and mode, as the master
// key's is; one that root has given to a group, or kubelet to a container, is taken.
func TestSecretFileOfEverybody(t *testing.T) {
	t.Parallel()
	root := os.Geteuid() == 0
	for _, tc := range []struct {
		name      string
		file, dir os.FileMode
		kubelet   bool
		err       string // "": it is read
		ofRoot    bool   // it is read if it is root's, else refused
	}{
		{name: "its owner's", file: 0o600, dir: 0o700},
		{name: "its owner's to read", file: 0o400, dir: 0o755},
		{name: "the group's to read", file: 0o640, dir: 0o755, ofRoot: true, err: "mode 0640): run chmod 600"},
		{name: "a credential of systemd, where there are no ACLs", file: 0o400, dir: 0o700},
		{name: "a credential of systemd", file: 0o440, dir: 0o750, ofRoot: true, err: "mode 0440): run chmod 600"},
		{name: "everybody's to read", file: 0o644, dir: 0o755, err: "mode 0644): run chmod 600"},
		{name: "everybody's but the group's to read", file: 0o604, dir: 0o755, err: "mode 0604): run chmod 600"},
		{name: "the group's to change", file: 0o620, dir: 0o700, err: "mode 0620): run chmod 600"},
		{name: "in a directory of everybody's", file: 0o600, dir: 0o777, err: "may be written to by everybody"},
		{name: "by kubelet", file: 0o644, dir: 0o777 | os.ModeSticky, kubelet: true, ofRoot: true, err: "mode 0644): run chmod 600"},
		{name: "by kubelet, to be changed", file: 0o666, dir: 0o777 | os.ModeSticky, kubelet: true, err: "mode 0666): run chmod 600"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "password")
			file := path
			if tc.kubelet {
				if err := os.Mkdir(filepath.Join(dir, "..2026_11_25"), 0o755); err != nil {
					t.Fatal(err)
				}
				file = filepath.Join(dir, "..2026_11_25", "password")
				for link, target := range map[string]string{"..data": "..2026_11_25", "password": "..data/password"} {
					if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := os.WriteFile(file, []byte("a secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(file, tc.file); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, tc.dir); err != nil {
				t.Fatal(err)
			}
			data, err := keystore.ReadSecretFile(path, 64)
			if tc.err == "" || tc.ofRoot && root {
				if err != nil || string(data) != "a secret" {
					t.Errorf("got %q, %v", data, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %q and the name", err, tc.err)
			}
		})
	}
}
