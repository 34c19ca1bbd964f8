package gatetest

import "syscall"

// dieWithParent makes the kernel end the gateway if the test process dies before it could (a test time-out, a kill -9).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
