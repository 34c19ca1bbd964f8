package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// attributes make the process run as somebody, and end with the tests whatever becomes of them.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
}

// kill ends a postmaster and all its children with SIGKILL, and waits for the children: they hold the memory that the next
// start wants. None is made meanwhile, since the postmaster stands still before it is killed.
func kill(p *os.Process) {
	_ = p.Signal(syscall.SIGSTOP)
	pids := children(p.Pid)
	_ = p.Kill()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil && !zombie(pid) {
			pause()
		}
	}
}

// signalAll signals a postmaster and all its children.
func signalAll(p *os.Process, sig syscall.Signal) error {
	err := p.Signal(sig)
	for _, pid := range children(p.Pid) {
		if e := syscall.Kill(pid, sig); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// children are the processes that a process has started.
func children(of int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if fields := stat(path); len(fields) > 1 && fields[1] == strconv.Itoa(of) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func zombie(pid int) bool {
	fields := stat(fmt.Sprintf("/proc/%d/stat", pid))
	return len(fields) == 0 || fields[0] == "Z"
}

// stat are the fields behind the name of a process: its state, its parent, and more.
func stat(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}
