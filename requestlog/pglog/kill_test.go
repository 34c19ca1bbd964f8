package pglog

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
)

// childDirectory and childDSN, in the environment, make the test binary a writer to be killed.
const (
	childDirectory = "PGLOG_TEST_CHILD_DIRECTORY"
	childDSN       = "PGLOG_TEST_CHILD_DSN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirectory); dir != "" {
		writeUntilKilled(dir, os.Getenv(childDSN))
		return
	}
	os.Exit(pgtest.Main(m))
}

// writeUntilKilled writes records and tells how many Write has kept.
func writeUntilKilled(dir, dsn string) {
	s, err := Open(Options{Dir: dir, DSN: dsn, ShipInterval: time.Millisecond})
	if err != nil {
		panic(err)
	}
	for told := uint64(0); ; {
		var batch []*requestlog.Record
		for range 40 {
			now := time.Now().UTC().Truncate(time.Millisecond)
			batch = append(batch, &requestlog.Record{ID: requestlog.NewID(now), Time: now, Decision: "allowed", Status: 200, Path: "/v1/charges"})
		}
		n, err := s.Write(batch)
		if err != nil {
			panic(err)
		}
		told += uint64(n)
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], told)
		_, _ = os.Stdout.Write(b[:])
		time.Sleep(time.Millisecond)
	}
}

// TestKilledProcess: whenever the process is killed, in the middle of a batch or before the answer to its commit, what was written is
// in the database once, after the next start.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	o := options(t, pgtest.Shared(t).Database(t))
	var told uint64
	for round := range 8 {
		child := exec.Command(os.Args[0], "-test.run=^$")
		child.Env = append(os.Environ(), childDirectory+"="+o.Dir, childDSN+"="+o.DSN)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(out)
		var b [8]byte
		kept := uint64(0)
		life := time.NewTimer(time.Duration(30+round*23) * time.Millisecond)
		for alive := true; alive; {
			if _, err := io.ReadFull(in, b[:]); err != nil {
				t.Fatalf("the child has ended: %v", err)
			}
			kept = binary.LittleEndian.Uint64(b[:])
			select {
			case <-life.C:
				alive = false
			default:
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // what it told before it was dead
			if _, err := io.ReadFull(in, b[:]); err != nil {
				break
			}
			kept = binary.LittleEndian.Uint64(b[:])
		}
		_ = child.Wait()
		told += kept
	}
	s := open(t, o)
	until(t, "all records arrive", s.empty)
	list := all(t, s, requestlog.Filter{})
	t.Logf("%d records told, %d there", told, len(list))
	if uint64(len(list)) < told || uint64(len(list)) > told+8*40 {
		t.Errorf("%d records are there, want the %d that were told, and at most a batch more for each of 8 kills", len(list), told)
	}
	same(t, s, list)
}
