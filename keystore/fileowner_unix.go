//go:build unix

package keystore

import (
	"io/fs"
	"os"
	"syscall"
)

// trustedOwner says whether a file belongs to root or to the user who runs this.
func trustedOwner(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || stat.Uid == uint32(os.Geteuid())) // fail closed
}

// rootOwns says whether a file belongs to root.
func rootOwns(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}
