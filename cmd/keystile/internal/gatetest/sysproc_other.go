//go:build !linux

package gatetest

import "syscall"

// dieWithParent has no equal here: a gateway is ended by the clean-up of its test alone.
func dieWithParent() *syscall.SysProcAttr { return nil }
