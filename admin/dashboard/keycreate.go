package dashboard

import (
	"cmp"
	"time"

	"github.com/keystile/keystile/admin/api"
)

func keyCreatePages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/new", "create_key", (*request).newKey},
		{"POST /{owner}/{mode}/keys/new", "create_key", (*request).createKey},
		{"GET /{owner}/{mode}/keys/{id}/duplicate", "duplicate_key", (*request).newDuplicate},
		{"POST /{owner}/{mode}/keys/{id}/duplicate", "duplicate_key", (*request).duplicateKey},
	}
}

// newKeyPage is the form for a new key, or for a duplicate of one.
type newKeyPage struct {
	Page
	Kind         string // secret, restricted or organization
	Original     *keyRow
	Name, Note   string
	Expires      string // a choice of expiryChoices, or "custom"
	ExpiresAt    string // with custom
	Unrestricted bool   // organization keys: no permissions at all are asked
	Editor       *permissionEditor
	Metadata     *metadataForm
}

func (p *newKeyPage) shrink() bool { return p.Editor.shrink() }

// choice is one option of a select.
type choice struct{ Value, Label string }

// expiryChoices are the ends that a new key may be given.
var expiryChoices = []choice{
	{"", "Never"}, {"24h", "In 24 hours"}, {"168h", "In 7 days"}, {"720h", "In 30 days"}, {"2160h", "In 90 days"}, {"8760h", "In a year"}, {"custom", "At another time…"},
}

// Expiries are they, for the template.
func (newKeyPage) Expiries() []choice { return expiryChoices }

// Button is what the form's button says.
func (p *newKeyPage) Button() string {
	if p.Original != nil {
		return "Create duplicate"
	}
	return "Create key"
}

func newKeyTitle(kind string) string {
	switch kind {
	case "restricted":
		return "Create restricted key"
	case "organization":
		return "Create organization key"
	}
	return "Create secret key"
}

// newKind is the kind of key that a form makes.
func (q *request) newKind() string {
	if q.scope.Organization != "" {
		return "organization"
	}
	if q.r.URL.Query().Get("kind") == "restricted" {
		return "restricted"
	}
	return "secret"
}

// newKeyForm makes the page as the form was sent, or empty.
func (q *request) newKeyForm(kind string) (*newKeyPage, error) {
	p := &newKeyPage{
		Page: q.page(newKeyTitle(kind), "keys"), Kind: kind, Name: q.form("name"), Note: q.form("note"),
		Expires: q.form("expires"), ExpiresAt: q.form("expires_at"), Unrestricted: q.form("unrestricted") == "yes",
		Metadata: q.sentMetadata(),
	}
	if kind == "secret" {
		return p, nil
	}
	var err error
	p.Editor, err = q.sentEditor()
	return p, err
}

func (q *request) newKey() error {
	p, err := q.newKeyForm(q.newKind())
	if err != nil {
		return err
	}
	p.Unrestricted = p.Kind == "organization"
	return q.show("key_new", p)
}

func (q *request) createKey() error {
	kind := q.newKind()
	p, err := q.newKeyForm(kind)
	if err != nil {
		return err
	}
	if q.again() {
		return q.show("key_new", p)
	}
	body := api.KeyCreate{Kind: kind, Mode: q.scope.Mode}
	if q.scope.Account != "" {
		body.Account = api.Set(q.scope.Account)
	} else {
		body.Organization = api.Set(q.scope.Organization)
	}
	if q.scope.Sandbox != "" {
		body.Sandbox = api.Set(q.scope.Sandbox)
	}
	if p.Name != "" {
		body.Name = api.Set(p.Name)
	}
	if p.Note != "" {
		body.Note = api.Set(p.Note)
	}
	if kind == "restricted" || kind == "organization" && !p.Unrestricted {
		body.Permissions, body.ConnectedPermissions = api.Set(p.Editor.Own()), api.Set(p.Editor.Connected())
	}
	q.fold(p.Editor)
	end, wrong := q.expiry(p.Expires, p.ExpiresAt)
	pairs, wrongPair := p.Metadata.patch(nil)
	if wrong = cmp.Or(wrong, wrongPair); wrong != nil {
		p.Error = wrong
		return q.show("key_new", p)
	}
	if !end.IsZero() {
		body.ExpiresAt = api.Set(end)
	}
	if len(pairs) > 0 {
		body.Metadata = api.Set(pairs)
	}
	k, header, err := askHeader[api.Key](q, q.withCode(q.once(post("/v1/keys", body))))
	if err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			return q.show("key_new", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "create_key", body: body})
	}
	return q.made(header, k, "Save your new key", onceText(k.Mode))
}

// onceText says how often a new token can be seen.
func onceText(mode string) string {
	if mode == modeLive {
		return "This is the only time that it is shown. You cannot retrieve it later."
	}
	return "Copy it now, or reveal it later on: sandbox keys can be shown any number of times."
}

// expiry reads the choice of an end; zero is never.
func (q *request) expiry(chosen, custom string) (time.Time, *formError) {
	switch chosen {
	case "", "now":
		return time.Time{}, nil
	case "custom":
		return customTime("expires_at", custom)
	}
	d, err := time.ParseDuration(chosen)
	if err != nil {
		return time.Time{}, &formError{Param: "expires_at", Message: "Choose one of the times in the list."}
	}
	end := q.Now().Add(d).UTC().Truncate(time.Second)
	// A form that is sent again with a verification code says the same: the code is good for no other time.
	q.r.PostForm.Set("expires", "custom")
	q.r.PostForm.Set("expires_at", end.Format(time.RFC3339))
	return end, nil
}

// customTime reads what the browser's field for date and time sends. Our forms say that it is in UTC.
func customTime(param, text string) (time.Time, *formError) {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &formError{Param: param, Message: "Give a date and a time, such as 2026-01-31 12:00."}
}

func (q *request) newDuplicate() error {
	p, err := q.duplicateForm(true)
	if err != nil {
		return err
	}
	return q.show("key_new", p)
}

// duplicateForm makes the page as the original is, or as the form was sent.
func (q *request) duplicateForm(fresh bool) (*newKeyPage, error) {
	k, err := q.key()
	if err != nil {
		return nil, err
	}
	p, err := q.newKeyForm("restricted")
	if err != nil {
		return nil, err
	}
	p.Title = "Duplicate key"
	p.Original = &keyRow{Key: k, page: &p.Page}
	if fresh {
		p.Name, p.Metadata = k.Name, newMetadataForm(k.Metadata, "", metadataBytes)
		p.Editor, err = q.editor(given(k.Permissions), given(k.ConnectedPermissions))
	}
	return p, err
}

func (q *request) duplicateKey() error {
	p, err := q.duplicateForm(false)
	if err != nil {
		return err
	}
	if q.again() {
		return q.show("key_new", p)
	}
	body := api.KeyUpdate{
		Name: api.Set(p.Name), Note: api.Set(p.Note), Permissions: api.Set(p.Editor.Own()), ConnectedPermissions: api.Set(p.Editor.Connected()),
	}
	q.fold(p.Editor)
	end, wrong := q.expiry(p.Expires, p.ExpiresAt)
	patch, wrongPair := p.Metadata.patch(p.Original.Metadata)
	if wrong = cmp.Or(wrong, wrongPair); wrong != nil {
		p.Error = wrong
		return q.show("key_new", p)
	}
	if !end.IsZero() {
		body.ExpiresAt = api.Set(end)
	}
	if len(patch) > 0 {
		body.Metadata = api.Set(patch)
	}
	k, header, err := askHeader[api.Key](q, q.withCode(q.once(post("/v1/keys/"+p.Original.ID+"/duplicate", body))))
	if err != nil {
		if p.Error = formFailure(err); p.Error != nil {
			return q.show("key_new", p)
		}
		return q.failOrCode(err, p.Title, codeFor{operation: "duplicate_key", key: p.Original.ID, body: body})
	}
	return q.made(header, k, "Save your new key", onceText(k.Mode))
}
