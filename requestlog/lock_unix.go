//go:build unix && !solaris && !aix

package requestlog

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// lockFile locks by flock: the kernel gives the lock back however the process ends.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another process writes its request log there")
		}
		return nil, err
	}
	return f, nil
}
