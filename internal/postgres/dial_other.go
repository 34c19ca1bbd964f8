//go:build !linux

package postgres

import (
	"syscall"
	"time"
)

// boundUnanswered does nothing where the kernel knows no such bound: keepalive and the bounds of each call remain.
func boundUnanswered(time.Duration) func(network, address string, c syscall.RawConn) error {
	return nil
}
