package command

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/keystore"
)

// maxManifest bounds the manifest of a backup, in bytes.
const maxManifest = 64 << 10

var errNoBackup = errors.New("this is no backup of a key store")

// unpackBackup reads a backup and writes its copy to a new file. Names in the archive are compared and never used as paths.
func unpackBackup(input io.Reader, path string) (*keystore.BackupManifest, error) {
	archive := tar.NewReader(input)
	head, err := archive.Next()
	if err != nil || head.Name != api.BackupManifestName || head.Size > maxManifest {
		return nil, errNoBackup
	}
	manifest := new(keystore.BackupManifest)
	if err := json.NewDecoder(archive).Decode(manifest); err != nil {
		return nil, errNoBackup
	}
	if manifest.Format != keystore.BackupFormat {
		return nil, fmt.Errorf("the backup has the format %.40q; this version of the program reads %q", manifest.Format, keystore.BackupFormat)
	}
	head, err = archive.Next()
	if err != nil || head.Name != manifest.File || head.Size != manifest.Size {
		return nil, errors.New("the backup is cut off or damaged")
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, sum), archive)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the backup is cut off")
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != manifest.SHA256 {
		return nil, errors.New("the backup is damaged: its checksum does not match its content")
	}
	return manifest, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err = d.Sync(); runtime.GOOS == "windows" {
		err = nil // directories cannot be synced there
	}
	return errors.Join(err, d.Close())
}
