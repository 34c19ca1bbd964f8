package boltstore_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
)

// writerEnv tells the test binary to be the process that is killed: it writes to the file and says what was acknowledged.
const writerEnv = "KEYSTILE_TEST_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		run := write
		if os.Getenv(writerEnv+"_FULL") != "" {
			run = writeUntilFull
		}
		if err := run(path, os.Getenv(writerEnv+"_KEY")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// write makes and deletes keys until it is killed. A line is printed only after the call has returned.
func write(path, masterKey string) error {
	b, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := keystore.Open(ctx, keystore.Options{Backend: b, MasterKey: keystore.MasterKeyFile(masterKey)})
	if err != nil {
		return err
	}
	fmt.Println("open")
	for {
		a, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "A"})
		if err != nil {
			return err
		}
		fmt.Println("account", a.ID, len(keys))
		if _, err = s.DeleteKey(ctx, by, keys[0].ID); err != nil {
			return err
		}
		fmt.Println("deleted", keys[0].ID)
		made, _, err := s.RotateKey(ctx, by, keys[2].ID, keystore.RotateParams{})
		if err != nil {
			return err
		}
		fmt.Println("rotated", keys[2].ID, made.ID)
	}
}

// TestKill ends a writing process with kill -9 at random moments, also while it makes the file. After each the file opens,
// everything that was acknowledged is there, nothing is there by half, and the trail is whole.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 25
	if testing.Short() {
		rounds = 4
	}
	dir := t.TempDir()
	path, masterKey := filepath.Join(dir, "keys.db"), filepath.Join(dir, "master.key")
	acknowledged := 0
	for round := range rounds {
		if round%8 == 0 { // from the start again: the making of the file is a moment, too
			for _, name := range []string{path, masterKey} {
				if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+path, writerEnv+"_KEY="+masterKey)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(5+rand.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		var lines []string
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		} else if cmd.ProcessState.Exited() {
			t.Fatalf("the writer failed: %v", err)
		}
		acknowledged += len(lines)
		checkAfterKill(t, path, masterKey, lines)
	}
	if acknowledged < rounds {
		t.Errorf("only %d changes were acknowledged in %d rounds: this test shows nothing", acknowledged, rounds)
	}
}

func checkAfterKill(t *testing.T, path, masterKey string, lines []string) {
	t.Helper()
	b, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatalf("opening after the kill: %v", err)
	}
	s, err := keystore.Open(t.Context(), keystore.Options{Backend: b, MasterKey: keystore.MasterKeyFile(masterKey)})
	if err != nil {
		t.Fatalf("opening after the kill: %v", err)
	}
	defer s.Close()
	snap := s.Snapshot()
	for _, line := range lines {
		words := strings.Fields(line)
		switch words[0] {
		case "account":
			if _, ok := snap.Account(words[1]); !ok {
				t.Errorf("an acknowledged account is lost")
			}
		case "deleted":
			if k, ok := snap.Key(words[1]); !ok || !k.Deleted {
				t.Errorf("an acknowledged deletion is lost")
			}
		case "rotated":
			old, _ := snap.Key(words[1])
			made, ok := snap.Key(words[2])
			if !ok || old.Successor != made.ID || !old.Principal.Ended {
				t.Errorf("an acknowledged rotation is lost")
			}
		}
	}
	for id := range contents(t, s) {
		if strings.HasPrefix(id, "acct_") {
			rows, _, err := snap.Keys(keystore.KeyFilter{Account: id}, keystore.Page{}, time.Now())
			if err != nil || len(rows) < 4 {
				t.Errorf("account %s has %d keys, %v: half a change", id, len(rows), err)
			}
		}
	}
	head, err := b.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	previous, seq := strings.Repeat("0", 64), uint64(0)
	err = b.Events(t.Context(), 1, head.Events+10, false, func(row keystore.EventRow) error {
		e, err := keystore.DecodeEvent(row.Body)
		if err != nil {
			return err
		}
		if seq++; e.Seq != seq || e.Previous != previous {
			return fmt.Errorf("the trail is broken at event %d", seq)
		}
		sum := sha256.Sum256(row.Body)
		previous = hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil || seq != head.Events || previous != hex.EncodeToString(head.Hash[:]) {
		t.Errorf("the trail has %d events of %d: %v", seq, head.Events, err)
	}
}
