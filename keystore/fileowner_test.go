//go:build unix

package keystore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

// ownedInfo is a file of some user's.
type ownedInfo struct {
	fs.FileInfo
	stat any
}

func (i ownedInfo) Sys() any { return i.stat }

func TestTrustedOwner(t *testing.T) {
	t.Parallel()
	me := uint32(os.Geteuid())
	for _, tc := range []struct {
		name string
		stat any
		want bool
	}{
		{"root", &syscall.Stat_t{Uid: 0}, true},
		{"this user", &syscall.Stat_t{Uid: me}, true},
		{"another user", &syscall.Stat_t{Uid: me + 1}, false},
		{"nobody knows", nil, false},
	} {
		if got := keystore.TrustedOwner(ownedInfo{stat: tc.stat}); got != tc.want {
			t.Errorf("%s: trusted is %v, want %v", tc.name, got, tc.want)
		}
	}
}

// TestMasterKeyFileInOpenDirectory: where everybody may rename files, everybody may put another keyset in place.
func TestMasterKeyFileInOpenDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dir")
	m := keystore.MasterKeyFile(filepath.Join(dir, "master.key"))
	s, err := openWith(t, keystoretest.NewMemory(), m)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for _, tc := range []struct {
		mode os.FileMode
		good bool
	}{{0o777, false}, {0o702, false}, {0o777 | os.ModeSticky, true}, {0o755, true}} {
		if err := os.Chmod(dir, tc.mode); err != nil {
			t.Fatal(err)
		}
		s, err := openWith(t, keystoretest.NewMemory(), m)
		if err == nil {
			mustClose(t, s)
		}
		if tc.good != (err == nil) || err != nil && !strings.Contains(err.Error(), "by everybody") {
			t.Errorf("mode %v: %v, want it to open: %v", tc.mode, err, tc.good)
		}
	}
}

// TestCheckPrivate: who else can change a file is refused, who can read it is told.
func TestCheckPrivate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		file, dir os.FileMode // file 0: none
		warning   bool
		err       string
	}{
		{name: "as made", file: 0o600, dir: 0o700},
		{name: "not there yet", dir: 0o700},
		{name: "a directory for all to see", file: 0o600, dir: 0o755},
		{name: "read by the group", file: 0o640, dir: 0o700, warning: true},
		{name: "read by all", file: 0o604, dir: 0o700, warning: true},
		{name: "written by the group", file: 0o660, dir: 0o700, err: "chmod go-w"},
		{name: "written by all", file: 0o602, dir: 0o700, err: "chmod go-w"},
		{name: "in a directory of everybody's", file: 0o600, dir: 0o777, err: "chmod o-w"},
		{name: "to be made in a directory of everybody's", dir: 0o777, err: "chmod o-w"},
		{name: "where everybody keeps to their own", file: 0o600, dir: 0o777 | os.ModeSticky},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "keys.db")
			if tc.file != 0 {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(path, tc.file); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, tc.dir); err != nil {
				t.Fatal(err)
			}
			warning, err := keystore.CheckPrivate(path)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("got error %v, want %q", err, tc.err)
			}
			if (warning != "") != tc.warning {
				t.Errorf("got warning %q, want one: %v", warning, tc.warning)
			}
		})
	}
}

// TestCheckPrivateFollowsLinks: the modes that count are those of the file that is opened.
func TestCheckPrivateFollowsLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "keys.db")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if warning, err := keystore.CheckPrivate(link); warning != "" || err != nil {
		t.Errorf("a link to a private file: %q, %v", warning, err)
	}
	if err := os.Chmod(target, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.CheckPrivate(link); err == nil {
		t.Error("a link to a file of everybody's is accepted")
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.CheckPrivate(link); err == nil {
		t.Error("a link to nothing is accepted: whoever makes its target would make the store")
	}
}
