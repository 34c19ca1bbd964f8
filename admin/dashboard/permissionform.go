package dashboard

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

// Fields of the permission editor: one for each resource that is shown, in each of the two columns, and one for all that was
// chosen before.
const (
	ownField       = "p." // p.charges=read
	connectedField = "c."
	keptField      = "kept"
)

// maxKept bounds what a packed field may hold: a thousand resources, with the longest names that there are, and as much again.
const maxKept = 512 << 10

// sentEditor makes the table as the form was sent, after what its buttons do.
func (q *request) sentEditor() (*permissionEditor, error) {
	own, connected, err := formPermissions(q.r.PostForm)
	if err != nil {
		return nil, err
	}
	e, err := q.editor(own, connected)
	if err == nil && q.form("set") != "" {
		e.set(q.form("set"))
	}
	return e, err
}

// formPermissions reads the fields of the editor: what was chosen before, and over it what stands in the table.
func formPermissions(form url.Values) (own, connected map[string]string, err error) {
	own, connected, err = unpackPermissions(form.Get(keptField))
	if err != nil {
		return nil, nil, err
	}
	for field, values := range form {
		if len(values) != 1 {
			continue
		}
		if name, ok := strings.CutPrefix(field, ownField); ok {
			own[name] = values[0]
		} else if name, ok := strings.CutPrefix(field, connectedField); ok {
			connected[name] = values[0]
		}
	}
	return own, connected, nil
}

// fold puts all that was chosen into the one field, so that the form is short where it goes along hidden.
func (q *request) fold(e *permissionEditor) {
	if e == nil {
		return
	}
	maps.DeleteFunc(q.r.PostForm, func(field string, _ []string) bool {
		return strings.HasPrefix(field, ownField) || strings.HasPrefix(field, connectedField)
	})
	q.r.PostForm.Set(keptField, packPermissions(e.own, e.connected))
	for _, field := range []string{"filter", "filtered", "group", "grouped", "at"} {
		q.r.PostForm.Del(field)
	}
}

// Own is what is sent of the permissions: none is what a resource has that is not named.
func (e *permissionEditor) Own() api.Permissions { return given(e.own) }

// Connected is Own for connected accounts.
func (e *permissionEditor) Connected() api.Permissions { return given(e.connected) }

func given(all map[string]string) api.Permissions {
	out := api.Permissions{}
	for name, access := range all {
		if access != accessNone {
			out[name] = access
		}
	}
	return out
}

// entered says that the form was sent by the Enter key while another filter stood in its field than the one that the page was
// made with: whoever does that looks for something, and is not done.
func (q *request) entered() bool {
	return q.r.PostForm.Has("enter") && (q.form("filter") != q.form("filtered") || q.form("group") != q.form("grouped"))
}

// again says that the form is to be shown again: a button for its parts was pressed, and not the one that sends it.
func (q *request) again() bool {
	return q.r.PostForm.Has("set") || q.r.PostForm.Has("again") || q.r.PostForm.Has("from") || q.entered()
}

// packPermissions makes one short text of all that was chosen: lines such as "wn charges", deflated.
func packPermissions(own, connected map[string]string) string {
	names := map[string]bool{}
	for _, column := range []map[string]string{own, connected} {
		for name, access := range column {
			if access == accessRead || access == accessWrite {
				names[name] = true
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	var b bytes.Buffer
	zip, _ := flate.NewWriter(&b, flate.BestCompression) // fails for levels that do not exist
	for _, name := range slices.Sorted(maps.Keys(names)) {
		_, _ = io.WriteString(zip, letterOf(own[name])+letterOf(connected[name])+" "+name+"\n") // into memory
	}
	_ = zip.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

// unpackPermissions reads it. Who changes it has chosen something else, as with every field: the API judges what is sent.
func unpackPermissions(text string) (own, connected map[string]string, err error) {
	own, connected = map[string]string{}, map[string]string{}
	if text == "" {
		return own, connected, nil
	}
	packed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, nil, brokenForm()
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxKept+1))
	if err != nil || len(plain) > maxKept {
		return nil, nil, brokenForm()
	}
	for line := range strings.Lines(string(plain)) {
		access, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || len(access) != 2 || name == "" || strings.Trim(access, "nrw") != "" {
			return nil, nil, brokenForm()
		}
		own[name], connected[name] = accessOf[access[0]], accessOf[access[1]]
	}
	return own, connected, nil
}

var accessOf = map[byte]string{'n': accessNone, 'r': accessRead, 'w': accessWrite}

func letterOf(access string) string {
	switch access {
	case accessRead, accessWrite:
		return access[:1]
	}
	return "n"
}

func brokenForm() error {
	return &refusedError{
		status: http.StatusBadRequest, title: "The form could not be read",
		text: "A field of it was changed on the way. Nothing was done. Open the page again.",
	}
}
