//go:build !unix

package caddymodule

import (
	"errors"
	"syscall"
)

// canProbe says that there is no way to ask here, so that every request goes through Caddy's proxy.
const canProbe = false

func prober(*backendConn) (syscall.RawConn, func(fd uintptr) bool, error) {
	return nil, nil, errors.New("not on this system")
}

func (c *backendConn) silent() bool { return false }
