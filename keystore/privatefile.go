package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// CheckPrivate judges a file by who else on this machine can change or read it. Who can change a key store can write keys
// into it: a file is refused that others may write to, that belongs to another user than root and the one who runs this, that
// is reached by a link of such a user, or that stands where everybody may put another in its place. That others may read it
// is answered as a warning, "" for none: it holds no token in clear. A file that is not there is fine, where it may be made.
func CheckPrivate(path string) (warning string, err error) {
	if runtime.GOOS == "windows" {
		return "", nil // modes say nothing there
	}
	if err := checkPrivateDir(filepath.Dir(path)); err != nil {
		return "", err
	}
	link, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	mode := info.Mode().Perm()
	switch {
	case !trustedOwner(link) || !trustedOwner(info):
		return "", fmt.Errorf("%q belongs to another user than the one who runs this: run chown on it, or run this as that user", path)
	case mode&0o022 != 0:
		return "", fmt.Errorf("%q may be changed by others (mode %04o): run chmod go-w on it", path, mode)
	case mode&0o044 != 0:
		return fmt.Sprintf("%q may be read by others (mode %04o): run chmod 600 on it", path, mode), nil
	}
	return "", nil
}

// checkPrivateDir refuses a directory in which everybody may rename what is not theirs. One that is not there will be made
// for its owner only.
func checkPrivateDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0:
		return fmt.Errorf("the directory %q may be written to by everybody (mode %04o): run chmod o-w on it", dir, info.Mode().Perm())
	}
	return nil
}
