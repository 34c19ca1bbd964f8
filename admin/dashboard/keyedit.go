package dashboard

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keystile/keystile/admin/api"
)

func keyEditPages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/{id}/edit", "update_key", (*request).editKey},
		{"POST /{owner}/{mode}/keys/{id}/edit", "update_key", (*request).updateKey},
		{"POST /{owner}/{mode}/keys/{id}/note", "update_key", (*request).noteKey},
	}
}

var (
	doneSaved = notice("saved", "Saved.")
	doneNoted = notice("noted", "The note is saved with the key.")
)

// editPage changes a key's name, note, permissions, origins and end.
type editPage struct {
	keyPage
	Name, Note, Origins string
	Limit               bool // publishable: only these origins
	Ends                bool
	ExpiresAt           string
	Editor              *permissionEditor
	Metadata            *metadataForm
	Granted             string // what an explanation has led here for is chosen already, in words
	Tag                 string // revision that was read: somebody else's change in between is not overwritten
}

// proposed chooses the permission that an explanation says is missing: it is saved by who sees it, like any other. The table
// shows it, and the answer names it.
func (q *request) proposed(own, connected map[string]string) string {
	grant, access := q.query("grant"), q.query("access")
	if access != accessRead && access != accessWrite {
		return ""
	}
	column, where := own, ""
	name, ok := strings.CutPrefix(grant, ownField)
	if !ok {
		if name, ok = strings.CutPrefix(grant, connectedField); !ok {
			return ""
		}
		column, where = connected, " on connected accounts"
	}
	if name == "" || column[name] == accessWrite {
		return ""
	}
	column[name] = access
	if q.r.PostForm == nil {
		q.r.PostForm = url.Values{}
	}
	q.r.PostForm.Set("filter", name) // as if somebody had looked for it
	return words(access) + " on " + shorten(name, 80) + where
}

func (p *editPage) shrink() bool { return p.Editor.shrink() }

// localTime is how the browser's field for date and time takes a value.
const localTime = "2006-01-02T15:04"

func (q *request) editForm(fresh bool) (*editPage, error) {
	base, err := q.keyPage("Edit key")
	if err != nil {
		return nil, err
	}
	p := &editPage{
		keyPage: *base, Name: q.form("name"), Note: q.r.PostForm.Get("note"), Origins: q.r.PostForm.Get("origins"), Limit: q.form("limit") == "yes",
		Ends: q.form("ends") == "yes", ExpiresAt: q.form("expires_at"), Tag: q.form("revision"),
	}
	k := &p.Key
	k.page = &p.Page
	if fresh {
		p.Name, p.Note, p.Origins, p.Limit = k.Name, k.Note, strings.Join(k.AllowedOrigins, "\n"), k.AllowedOrigins != nil
		if p.Ends = k.ExpiresAt != nil; p.Ends {
			p.ExpiresAt = k.ExpiresAt.UTC().Format(localTime)
		}
	}
	if p.Metadata = q.sentMetadata(); fresh {
		p.Metadata = newMetadataForm(k.Metadata, "", metadataBytes)
	}
	switch {
	case !k.Restricted():
	case fresh:
		own, connected := given(k.Permissions), given(k.ConnectedPermissions)
		p.Granted = q.proposed(own, connected)
		p.Editor, err = q.editor(own, connected)
	default:
		p.Editor, err = q.sentEditor()
	}
	return p, err
}

func (q *request) editKey() error {
	p, err := q.editForm(true)
	if err != nil {
		return err
	}
	_, header, err := askHeader[api.Key](q, get("/v1/keys/"+p.Key.ID, nil))
	if err != nil {
		return err
	}
	p.Tag = header.Get("ETag")
	return q.show("key_edit", p)
}

func (q *request) updateKey() error {
	p, err := q.editForm(false)
	if err != nil {
		return err
	}
	if q.again() {
		return q.show("key_edit", p)
	}
	k := &p.Key
	body := api.KeyUpdate{Name: api.Set(p.Name), Note: api.Set(p.Note)}
	if p.Name == "" {
		body.Name = api.SetNull[string]()
	}
	if p.Editor != nil {
		body.Permissions, body.ConnectedPermissions = api.Set(p.Editor.Own()), api.Set(p.Editor.Connected())
		q.fold(p.Editor)
	}
	if k.Kind == "publishable" {
		body.AllowedOrigins = api.SetNull[[]string]()
		if p.Limit {
			body.AllowedOrigins = api.Set(strings.Fields(p.Origins))
		}
	}
	patch, wrong := p.Metadata.patch(k.Metadata)
	if wrong != nil {
		p.Error = wrong
		return q.show("key_edit", p)
	}
	if len(patch) > 0 {
		body.Metadata = api.Set(patch)
	}
	switch was := k.ExpiresAt; {
	case p.Ends && (was == nil || was.UTC().Format(localTime) != p.ExpiresAt): // else it stays to the second
		end, wrong := customTime("expires_at", p.ExpiresAt)
		if wrong != nil {
			p.Error = wrong
			return q.show("key_edit", p)
		}
		body.ExpiresAt = api.Set(end)
	case !p.Ends && was != nil:
		body.ExpiresAt = api.SetNull[time.Time]()
	}
	c := call{method: http.MethodPatch, path: "/v1/keys/" + k.ID, body: body}
	if p.Tag != "" {
		c.header = http.Header{"If-Match": {p.Tag}}
	}
	if _, err := ask[api.Key](q, q.withCode(c)); err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			if e := apiFailure(err); e.Status == http.StatusPreconditionFailed {
				p.Error = &formError{Message: "Somebody else changed this key since you opened the page. Open it again to see how it is now."}
			}
			return q.show("key_edit", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "update_key", key: k.ID, body: body})
	}
	return q.seeOther(q.scope.path("keys/"+k.ID), doneSaved)
}

// noteKey keeps the note of a key that was just shown.
func (q *request) noteKey() error {
	k, err := q.key()
	if err != nil {
		return err
	}
	c := call{method: http.MethodPatch, path: "/v1/keys/" + k.ID, body: api.KeyUpdate{Note: api.Set(q.form("note"))}}
	if _, err := ask[api.Key](q, c); err != nil {
		if wrong := formFailure(err); wrong != nil {
			p, err := q.keyPage("Add a note")
			if err != nil {
				return err
			}
			p.Error = wrong
			return q.show("key_note", p)
		}
		return err
	}
	return q.seeOther(q.scope.path("keys"), doneNoted)
}
