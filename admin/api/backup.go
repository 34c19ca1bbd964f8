package api

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/keystile/keystile/keystore"
)

type backupInput struct{}

// registerBackup adds the one call that no admin token may make, whatever its role: it is not served where tokens are, and
// it is not in the table of package auth.
func (a *API) registerBackup() {
	stream(a, operation{
		method: http.MethodGet, path: "/v1/backup", id: "get_backup", tag: "backup", summary: "Copy the key store", media: "application/x-tar",
		description: "A tar archive: manifest.json, a consistent copy of the embedded store, and its checksum as sha256sum -c reads it. The master key is not in it, and is needed to use the copy. Only at the gateway's own admin endpoint.",
	}, a.getBackup)
}

// BackupManifestName is the name of the manifest in a backup.
const BackupManifestName = "manifest.json"

func (a *API) getBackup(c *call, _ *backupInput) error {
	if c.r.Method == http.MethodHead {
		c.w.Header().Set("Content-Type", "application/x-tar")
		c.started = true
		c.w.WriteHeader(http.StatusOK)
		return nil
	}
	manifest, data, err := a.Store.Backup(c.ctx)
	if err != nil {
		return err
	}
	defer data.Close()
	h := c.w.Header()
	h.Set("Content-Type", "application/x-tar")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="keystile-%s.tar"`, manifest.CreatedAt.Format("20060102T150405Z")))
	c.started = true
	c.w.WriteHeader(http.StatusOK)
	out := &patientWriter{w: c.w, control: http.NewResponseController(c.w)}
	if err := writeBackup(out, manifest, data); err != nil {
		c.failure(err) // logs it
		panic(http.ErrAbortHandler)
	}
	return nil
}

func writeBackup(w io.Writer, manifest *keystore.BackupManifest, data *keystore.SnapshotCopy) error {
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return err
	}
	sum := fmt.Appendf(nil, "%s  %s\n", manifest.SHA256, manifest.File)
	archive := tar.NewWriter(w)
	for _, part := range []struct {
		name string
		size int64
		data io.Reader
	}{
		{BackupManifestName, int64(len(text)) + 1, bytes.NewReader(append(text, '\n'))},
		{manifest.File, data.Size, data},
		{manifest.File + ".sha256", int64(len(sum)), bytes.NewReader(sum)},
	} {
		header := &tar.Header{Name: part.name, Size: part.size, Mode: 0o600, ModTime: manifest.CreatedAt.Truncate(time.Second), Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, part.data); err != nil {
			return err
		}
	}
	return archive.Close()
}
