//go:build !unix || solaris || aix

package requestlog

import (
	"io"
	"os"
)

// lockFile only makes the file: on these systems nothing keeps a second process away but the key store's own lock.
func lockFile(path string) (io.Closer, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
}
