//go:build unix

package caddymodule

import (
	"errors"
	"syscall"
)

// canProbe says whether an idle connection can be asked if something has come on it.
const canProbe = true

// prober prepares the question.
func prober(c *backendConn) (syscall.RawConn, func(fd uintptr) bool, error) {
	conn, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, nil, errors.New("the connection has no socket")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var one [1]byte
	return raw, func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.quiet = errors.Is(err, syscall.EAGAIN)
		return true // one look, no waiting
	}, nil
}

// silent says whether nothing has come on an idle connection, not even its end.
func (c *backendConn) silent() bool {
	c.quiet = false
	return c.raw.Read(c.probe) == nil && c.quiet
}
