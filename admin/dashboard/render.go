package dashboard

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

//go:embed templates
var templateFiles embed.FS

// templates are the pages by name. Each is the layout, the parts that several pages share, and what is its own.
type templates map[string]*template.Template

// Files that every page has beside its own.
const (
	layoutFile = "templates/layout.html"
	partsFiles = "templates/parts/*.html"
)

func parseTemplates() (templates, error) {
	base, err := template.New("layout.html").Funcs(functions).ParseFS(templateFiles, layoutFile, partsFiles)
	if err != nil {
		return nil, fmt.Errorf("reading the layout: %w", err)
	}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	all := templates{}
	for _, name := range names {
		if name == layoutFile {
			continue
		}
		t, err := base.Clone()
		if err != nil {
			return nil, err
		}
		if _, err := t.ParseFS(templateFiles, name); err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		all[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return all, nil
}

// pageBytes is what every page stays below, whatever the texts in it.
const pageBytes = 50 << 10

// shrinker is a page that can do with less: with fewer rows, of which the others are on the next page, or with shorter texts.
// It says whether it did. Texts of users are as long as the API lets them be, and longer as HTML.
type shrinker interface{ shrink() bool }

// render sends a page. It is made whole first: what fails is a clean 500 and never half a page.
func (q *request) render(status int, name string, page any) {
	var b bytes.Buffer
	t := q.templates[name]
	err := fmt.Errorf("no template %q", name)
	for t != nil {
		b.Reset()
		if err = t.ExecuteTemplate(&b, "layout.html", page); err != nil || b.Len() < pageBytes {
			break
		}
		if s, ok := page.(shrinker); !ok || !s.shrink() {
			break
		}
	}
	h := q.w.Header()
	if err != nil {
		q.Logger.Error("rendering a dashboard page failed", zap.String("page", name), zap.Error(err))
		h.Set("Content-Type", "text/plain; charset=utf-8")
		q.w.WriteHeader(http.StatusInternalServerError)
		_, _ = q.w.Write([]byte("This page could not be made. The server's log has the details.\n"))
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	q.w.WriteHeader(status)
	if q.r.Method != http.MethodHead {
		_, _ = q.w.Write(b.Bytes())
	}
}

// show sends a page with status 200.
func (q *request) show(name string, page any) error {
	q.render(http.StatusOK, name, page)
	return nil
}
