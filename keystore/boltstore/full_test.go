//go:build unix

package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
)

// TestFullDisk runs a process whose files may not grow past a limit, which is to it as a full disk: writes are refused and
// change nothing, reads go on, and once there is room again writes do too, in the same process.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+filepath.Join(dir, "keys.db"), writerEnv+"_KEY="+filepath.Join(dir, "master.key"),
		writerEnv+"_FULL=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// writeUntilFull is the process of TestFullDisk.
func writeUntilFull(path, masterKey string) error {
	signal.Ignore(syscall.SIGXFSZ)
	b, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := keystore.Open(ctx, keystore.Options{Backend: b, MasterKey: keystore.MasterKeyFile(masterKey)})
	if err != nil {
		return err
	}
	_, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	var unlimited syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		return err
	}
	limited := unlimited
	limited.Cur = uint64(info.Size()) + 1<<16
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		return err
	}
	made := 0
	for ; err == nil; made++ {
		if made > 10_000 {
			return errors.New("the disk never got full")
		}
		_, _, err = s.CreateAccount(ctx, by, keystore.AccountParams{Name: "B"})
	}
	if keystore.CodeOf(err) != keystore.CodeUnavailable {
		return fmt.Errorf("on a full disk: %w", err)
	}
	head, err := b.Head(ctx)
	if err != nil || head.Revision != s.Snapshot().Revision() {
		return fmt.Errorf("memory is at revision %d, disk at %d: %w", s.Snapshot().Revision(), head.Revision, err)
	}
	if k, _ := s.Lookup(&keys[0].Digest); k == nil {
		return errors.New("a key cannot be looked up on a full disk")
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &unlimited); err != nil {
		return err
	}
	if _, err := s.DeleteKey(ctx, by, keys[0].ID); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	want := contentsOf(s)
	if err := s.Close(); err != nil {
		return err
	}
	if b, err = boltstore.Open(path, boltstore.Options{}); err != nil {
		return err
	}
	if s, err = keystore.Open(ctx, keystore.Options{Backend: b, MasterKey: keystore.MasterKeyFile(masterKey)}); err != nil {
		return err
	}
	if got := contentsOf(s); got != want {
		return fmt.Errorf("after a restart the store holds %s, before %s", got, want)
	}
	return s.Close()
}

func contentsOf(s *keystore.Store) string {
	return fmt.Sprintf("%d keys at revision %d", s.Len(), s.Snapshot().Revision())
}
