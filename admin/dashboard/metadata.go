package dashboard

import (
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
)

func metadataPages() []route {
	return []route{
		{"GET /{owner}/{mode}/keys/{id}/metadata", "update_key", (*request).showMetadata},
		{"POST /{owner}/{mode}/keys/{id}/metadata", "update_key", (*request).saveMetadata},
	}
}

// Fields of the rows of metadata: what the pair was called, for who renames it, its name and its value.
const (
	wasField   = "meta_was"
	nameField  = "meta_name"
	valueField = "meta_value"
)

const (
	spareMetadata = 2       // empty rows to fill in without a script
	maxMetadata   = 100     // rows that are read; more than a key may have
	metadataBytes = 8 << 10 // of pairs as HTML in a form with other fields; the others have a page
)

// metadataForm is a key's metadata as fields. What a form leaves out stays as it is: the API merges pair by pair.
type metadataForm struct {
	Rows  []metadataRow
	Left  int    // pairs that the form leaves out
	After string // the last pair that it shows
}

// metadataRow is one pair. One whose name or value is emptied is taken away.
type metadataRow struct{ Was, Name, Value string }

// Filled says how many pairs it has.
func (f *metadataForm) Filled() int {
	n := 0
	for _, r := range f.Rows {
		n += b2i(r.Name != "")
	}
	return n
}

// newMetadataForm shows pairs from behind a name on, as many as have room.
func newMetadataForm(pairs map[string]string, after string, room int) *metadataForm {
	f := &metadataForm{}
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		if after != "" && name <= after {
			continue
		}
		size := len(template.HTMLEscapeString(name))*2 + len(template.HTMLEscapeString(pairs[name])) + 300 // with the fields around them
		if room -= size; f.Left > 0 || room < 0 && len(f.Rows) > 0 {
			f.Left++
			continue
		}
		f.Rows, f.After = append(f.Rows, metadataRow{name, name, pairs[name]}), name
	}
	return f.spare()
}

func (f *metadataForm) spare() *metadataForm {
	for range spareMetadata {
		f.Rows = append(f.Rows, metadataRow{})
	}
	return f
}

// sentMetadata is the rows as a form was sent.
func (q *request) sentMetadata() *metadataForm {
	f := &metadataForm{}
	was, names, values := q.r.PostForm[wasField], q.r.PostForm[nameField], q.r.PostForm[valueField]
	for i := range min(len(was), len(names), len(values), maxMetadata) {
		// Browsers end the lines of a field with CRLF, whatever was put in.
		r := metadataRow{was[i], strings.TrimSpace(names[i]), strings.ReplaceAll(values[i], "\r\n", "\n")}
		if r != (metadataRow{}) {
			f.Rows = append(f.Rows, r)
		}
	}
	return f.spare()
}

// patch is what the rows change of a key's pairs: an empty value takes its pair away.
func (f *metadataForm) patch(now map[string]string) (map[string]string, *formError) {
	patch, set := map[string]string{}, map[string]bool{}
	for _, r := range f.Rows {
		if r.Was != "" && (r.Name != r.Was || r.Value == "") {
			patch[r.Was] = ""
		}
	}
	for _, r := range f.Rows {
		switch {
		case r.Was != "" && (r.Name == "" || r.Value == ""), r == (metadataRow{}):
			continue
		case r.Name == "":
			return nil, &formError{Param: "metadata", Message: "Give each value of the metadata a name."}
		case r.Value == "":
			return nil, &formError{Param: "metadata", Message: "Give “" + r.Name + "” a value, or leave its row out."}
		case set[r.Name]:
			return nil, &formError{Param: "metadata", Message: "Two rows of the metadata are called “" + r.Name + "”."}
		}
		set[r.Name] = true
		patch[r.Name] = r.Value
	}
	maps.DeleteFunc(patch, func(name, value string) bool {
		old, there := now[name]
		return there && old == value || !there && value == ""
	})
	return patch, nil
}

// metadataPage has the metadata of a key alone: fifty pairs of the longest texts are more than a form beside others has room
// for.
type metadataPage struct {
	keyPage
	Metadata *metadataForm
}

// Next is the address of the next pairs, "" if these are the last.
func (p *metadataPage) Next() string {
	if p.Metadata.Left == 0 {
		return ""
	}
	return p.In(withQuery("keys/"+p.Key.ID+"/metadata", "after", p.Metadata.After))
}

func (q *request) metadataPage() (*metadataPage, error) {
	base, err := q.keyPage("Edit metadata")
	if err != nil {
		return nil, err
	}
	p := &metadataPage{keyPage: *base}
	p.Key.page = &p.Page
	return p, nil
}

func (q *request) showMetadata() error {
	p, err := q.metadataPage()
	if err != nil {
		return err
	}
	p.Metadata = newMetadataForm(p.Key.Metadata, q.query("after"), 2*metadataBytes)
	return q.show("key_metadata", p)
}

func (q *request) saveMetadata() error {
	p, err := q.metadataPage()
	if err != nil {
		return err
	}
	p.Metadata = q.sentMetadata()
	if q.again() {
		return q.show("key_metadata", p)
	}
	patch, wrong := p.Metadata.patch(p.Key.Metadata)
	if wrong == nil && len(patch) > 0 {
		c := call{method: http.MethodPatch, path: "/v1/keys/" + p.Key.ID, body: api.KeyUpdate{Metadata: api.Set(patch)}}
		if _, err := ask[api.Key](q, c); err != nil {
			if wrong = formFailure(err); wrong == nil {
				return err
			}
		}
	}
	if wrong != nil {
		p.Error = wrong
		return q.show("key_metadata", p)
	}
	return q.seeOther(q.scope.path("keys/"+p.Key.ID), doneSaved)
}
