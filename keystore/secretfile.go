package keystore

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// ReadSecretFile reads a file of at most so many bytes that holds a secret of the operator's, such as a password, once it is
// judged as a master key file is: nobody else may read or change it, it belongs to root or to the user who runs this, and it
// stands in no directory in which anybody may put another in its place.
//
// It differs in what others may read, because other programs hand over such files in their own ways. The group of a file of
// root's may: root has chosen it (0640 root:keystile, a Secret of Kubernetes with fsGroup), or systemd, whose credentials show
// as 0440 the right that an ACL gives to the service's user. And where kubelet has put the file, everybody may: its default is
// 0644, and in a container nobody else is.
func ReadSecretFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path) // follows links: mounted secrets are some
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // before it is opened: a pipe would wait for a writer
		return nil, fmt.Errorf("the file %q is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil { // the name may lead to another one by now
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, fmt.Errorf("the file %q holds no secret", path)
	}
	if err := checkSecretFile(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(file, most))
}

func checkSecretFile(path string, info fs.FileInfo) error {
	if runtime.GOOS == "windows" { // modes say nothing there
		return nil
	}
	allowed := fs.FileMode(0o700)
	if rootOwns(info) {
		allowed |= 0o040
		if putByKubelet(path) {
			allowed |= 0o004
		}
	}
	mode := info.Mode().Perm()
	switch {
	case mode&^allowed != 0:
		return fmt.Errorf("the file %q may be read or changed by others (mode %04o): run chmod 600 on it", path, mode)
	case !trustedOwner(info):
		return fmt.Errorf("the file %q belongs to another user than the one who runs this: run chown on it, or run this as that user", path)
	}
	if err := checkPrivateDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("the file %q is not safe: %w", path, err)
	}
	return nil
}

// putByKubelet says whether a file stands as kubelet puts those of a Secret: a link of root's to ..data/<name>, where ..data is
// one, too.
func putByKubelet(path string) bool {
	target, err := os.Readlink(path)
	if err != nil || !strings.HasPrefix(target, "..data/") {
		return false
	}
	for _, link := range []string{path, filepath.Join(filepath.Dir(path), "..data")} {
		info, err := os.Lstat(link)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 || !rootOwns(info) {
			return false
		}
	}
	return true
}
