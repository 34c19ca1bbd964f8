//go:build !unix

package boltstore_test

import "errors"

func writeUntilFull(string, string) error { return errors.New("not on this system") }
