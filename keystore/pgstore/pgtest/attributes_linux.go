package pgtest

import "syscall"

// attributes make the process run as somebody, and end with the tests whatever becomes of them.
func attributes(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
}
