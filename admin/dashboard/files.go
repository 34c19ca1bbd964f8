package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// file is one file of the style, the scripts or the pictures.
type file struct {
	data        []byte
	contentType string
	digest      string
}

// files holds them by name.
type files map[string]*file

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func readFiles() (files, error) {
	all := files{}
	err := fs.WalkDir(staticFiles, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := staticFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		f := &file{data: data, contentType: contentTypes[path.Ext(name)], digest: hex.EncodeToString(sum[:6])}
		if f.contentType == "" {
			return fmt.Errorf("static file %s has no content type", name)
		}
		all[strings.TrimPrefix(name, "static/")] = f
		return nil
	})
	return all, err
}

// address is the last part of a file's address: "style.1f2e3d4c5b6a.css".
func (s files) address(name string) string {
	f := s[name]
	if f == nil {
		return name // answered 404; a test asks for all that pages name
	}
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + "." + f.digest + ext
}

// serve answers a file. An address with the right digest may be kept for ever, any other one may not.
func (s files) serve(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	for plain, f := range s {
		if name != s.address(plain) && name != plain {
			continue
		}
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		if name != plain {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(f.data)
		}
		return
	}
	http.Error(w, "not found", http.StatusNotFound)
}
