package caddymodule

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keystile/keystile/keystore"
)

// checkFiles judges the files of the store on this machine by who else can change or read them, before one is opened. The
// copy of a shared store counts as the store: a start without the database believes it.
func (p storePlace) checkFiles(warn func(string)) error {
	path := p.file
	if p.shared() {
		path = p.copyFile()
	}
	warning, err := keystore.CheckPrivate(path)
	if warning != "" {
		warn(warning)
	}
	return err
}

// checkLogFiles judges the directory of the request log. One that everybody may write to is refused. Files in it that others
// may read or change are warned of, and no more: what they hold decides on nobody's rights, and a log in which somebody has
// let a program read is no reason not to serve.
func checkLogFiles(dir string, warn func(string)) error {
	if runtime.GOOS == "windows" { // modes say nothing there
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) { // it is made later, for its owner only
		_, err := keystore.CheckPrivate(dir)
		return err
	}
	if _, err := keystore.CheckPrivate(filepath.Join(dir, "any")); err != nil {
		return err
	}
	open, first := 0, ""
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			if open++; first == "" {
				first = path
			}
		}
		return nil
	})
	if open > 0 {
		warn(fmt.Sprintf("%d files of the request log may be read or changed by others, the first is %q: run chmod -R go= on %q", open, first, dir))
	}
	return err
}
