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
		if tc.good != (err == nil) || err != nil && !strings.Contains(err.Error(), "everybody may write") {
			t.Errorf("mode %v: %v, want it to open: %v", tc.mode, err, tc.good)
		}
	}
}
