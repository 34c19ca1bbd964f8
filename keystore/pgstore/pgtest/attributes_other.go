//go:build !linux

package pgtest

import (
	"errors"
	"os"
	"syscall"
)

func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as}
}

// kill ends a postmaster, who tells its children.
func kill(p *os.Process) { _ = p.Signal(syscall.SIGQUIT) }

func signalAll(*os.Process, syscall.Signal) error {
	return errors.New("the processes of a server are found on Linux only")
}
