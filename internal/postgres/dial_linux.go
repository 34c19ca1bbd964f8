package postgres

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h, which syscall does not name for every architecture.
const tcpUserTimeout = 0x12

// boundUnanswered bounds how long the kernel waits for what it has sent to be acknowledged, or to be taken at all.
func boundUnanswered(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		if !strings.HasPrefix(network, "tcp") {
			return nil
		}
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds())))
		})
		if err != nil {
			return err
		}
		return failed
	}
}
