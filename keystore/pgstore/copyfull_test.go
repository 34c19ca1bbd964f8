//go:build linux

package pgstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// TestCopyOnFullDisk: the disk with a node's copy fills. The node goes on; and one that starts from what is there, without the database, knows
// of every change that the first said to have applied, or accepts no key.
func TestCopyOnFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	asRoot := func(name string, args ...string) {
		t.Helper()
		if os.Geteuid() != 0 {
			name, args = "sudo", append([]string{"-n", name}, args...)
		}
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("this test fills a file system of its own, which it mounts (tmpfs, 512 KiB), and needs to be root, or sudo, with CAP_SYS_ADMIN: %v\n%s", err, out)
		}
	}
	asRoot("mount", "-t", "tmpfs", "-o", fmt.Sprintf("nosuid,nodev,size=512k,mode=0700,uid=%d", os.Geteuid()), "none", dir)
	t.Cleanup(func() { asRoot("umount", dir) })
	ctx := t.Context()
	server := ownServer(t)
	dsn := server.Database(t)
	path := filepath.Join(dir, "copy.keys")
	s := joinFleet(t, dsn, "a", func(o *keystore.Options) { o.CopyFile = path })
	account, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the copy held the keys", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && bytes.Contains(text, []byte(keys[0].ID))
	})
	filler, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for size := 1 << 16; size > 0; {
		if _, err = filler.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	for n := range 100 { // until what is left of the last page is full
		if _, err := s.UpdateAccount(ctx, by, account.ID, keystore.AccountPatch{Name: keystore.To(fmt.Sprint("name ", n))}); err != nil {
			t.Fatalf("a change on a full disk of the copy: %v", err)
		}
	}
	if _, err := s.DeleteKey(ctx, by, keys[0].ID); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if left != nil {
		crashed := filepath.Join(t.TempDir(), "copy.keys")
		if err := os.WriteFile(crashed, left, 0o600); err != nil {
			t.Fatal(err)
		}
		again := joinFleet(t, dsn, "again", func(o *keystore.Options) { o.CopyFile = crashed })
		if k, _ := again.Lookup(&keys[0].Digest); (k == nil || !k.Principal.Ended) && !again.Stale(time.Now()) {
			t.Error("a start from the copy accepts a key whose deletion this node had applied")
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	// With room again the copy is written anew.
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "the copy was up to date again", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && bytes.Contains(text, []byte("name 99")) && !bytes.Contains(text, []byte("name 98"))
	})
}
