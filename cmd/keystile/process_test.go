//go:build linux

package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// memoryOf reads a figure of a process in KiB: VmRSS, what it has now, or VmHWM, the most it ever had.
func memoryOf(t *testing.T, pid int, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatalf("no %s in the status of process %d", name, pid)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// descriptorsOf counts the open files of a process.
func descriptorsOf(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// limitFiles sets how many files a running process may have open, and answers how many it might before.
func limitFiles(t *testing.T, pid int, n uint64) (before uint64) {
	t.Helper()
	var old syscall.Rlimit
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_NOFILE, 0, uintptr(unsafe.Pointer(&old)), 0, 0); errno != 0 {
		t.Fatalf("prlimit: %v", errno)
	}
	limit := syscall.Rlimit{Cur: n, Max: old.Max}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&limit)), 0, 0, 0); errno != 0 {
		t.Fatalf("prlimit: %v", errno)
	}
	return old.Cur
}

// TestOutOfDescriptors takes file descriptors away from the running process. It survives: who has a connection is served, or told that the
// backend cannot be reached; who has none waits. With descriptors again all is well by itself, every record is accounted for, and revocation
// works all the while.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	o := newOverloaded(t)
	o.send(t, o.drop, 50)
	pid := o.PID(t)
	used := descriptorsOf(t, pid)
	before := limitFiles(t, pid, uint64(used+6))
	var answered, waiting int
	var conns []*heldConn
	for range 24 {
		c, err := openHeld(o.drop)
		if err != nil {
			continue // the queue of new connections is full
		}
		conns = append(conns, c)
		switch status := c.ask(get("/v1/charges", o.key.Token)); status {
		case 200, 502, 503:
			answered++
		case 0:
			waiting++
		default:
			t.Errorf("got %d while descriptors are missing", status)
		}
	}
	if waiting == 0 {
		t.Errorf("%d requests were answered and none waited: the process was not out of descriptors", answered)
	}
	t.Logf("with %d descriptors: %d requests answered, %d waiting", used+6, answered, waiting)
	limitFiles(t, pid, before)
	for _, c := range conns {
		c.Close()
	}
	served := int(o.statuses[200].Load())
	o.client.CloseIdleConnections()
	o.send(t, o.drop, 100)
	if got := int(o.statuses[200].Load()) - served; got != 100 {
		t.Errorf("with descriptors again %d of 100 requests were served", got)
	}
	o.Admin.CloseIdle()
	o.Admin.DeleteKey(t, o.key.ID)
	if answer, err := gatetest.Send(o.drop, "", get("/quick/x", o.key.Token)); err != nil || answer.Status != 401 {
		t.Errorf("the deleted key: %+v, %v", answer, err)
	}
	awaitAccounted(t, o.Gateway)
}

// heldConn is a connection that stays open.
type heldConn struct {
	net.Conn
	in *bufio.Reader
}

func openHeld(addr string) (*heldConn, error) {
	conn, err := gatetest.DialFrom("", addr)
	if err != nil {
		return nil, err
	}
	return &heldConn{conn, bufio.NewReader(conn)}, nil
}

// ask sends a request and answers its status, 0 if no answer came for a while.
func (c *heldConn) ask(request string) int {
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	method, _, _ := strings.Cut(request, " ")
	if _, err := io.WriteString(c, request); err != nil {
		return 0
	}
	answer, err := gatetest.ReadAnswer(c.in, method)
	if err != nil {
		return 0
	}
	return answer.Status
}

// cpuTime is the CPU time that a process has taken so far.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name of the program may hold anything
	fields := strings.Fields(rest)
	var ticks int
	for _, at := range []int{11, 12} { // in user mode and in the kernel, in hundredths of a second (proc_pid_stat(5))
		n, err := strconv.Atoi(fields[at])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
