package dashboard

import (
	"encoding/json"
	"net/url"

	"github.com/keystile/keystile/requestlog"
)

// recordPane is one record, whole, with its decision in a sentence.
type recordPane struct {
	logRow
	Fields      []recordField
	Explanation string
	Explain     string // address of "what would allow this", "" if it was allowed
	KeyURL      string // "" without a key
	KeyLogs     string
	Cut         bool // the longest texts are cut
}

// shrink makes the longest texts shorter. The API has them whole.
func (p *recordPane) shrink() bool {
	p.Cut = true
	texts := []*string{&p.Explanation}
	for i := range p.Fields {
		texts = append(texts, &p.Fields[i].Value)
	}
	return shorter(texts...)
}

// recordField is one column of the record.
type recordField struct{ Name, Value, Doc string }

// wireRecord is a record as the API answers it alone: with the sentence.
type wireRecord struct {
	record      *requestlog.Record
	Explanation string
}

// UnmarshalJSON reads both: the record reads itself and passes over what it does not know.
func (w *wireRecord) UnmarshalJSON(data []byte) error {
	w.record = new(requestlog.Record)
	if err := json.Unmarshal(data, w.record); err != nil {
		return err
	}
	var more struct {
		Explanation string `json:"explanation"`
	}
	err := json.Unmarshal(data, &more)
	w.Explanation = more.Explanation
	return err
}

// record is the record with an id, if it is one of the scope's mode: never under the heading of the other.
func (q *request) record(id string) (wireRecord, error) {
	found, err := ask[wireRecord](q, get("/v1/request_logs/"+url.PathEscape(id), nil))
	if err == nil && found.record.Mode != "" && found.record.Mode != q.scope.Mode {
		err = notFoundError()
	}
	return found, err
}

func (q *request) recordPane(id string, page *Page) (*recordPane, error) {
	found, err := q.record(id)
	if err != nil {
		return nil, err
	}
	r := found.record
	p := &recordPane{logRow: logRow{Record: r}, Explanation: found.Explanation}
	for _, c := range requestlog.Columns() {
		if value := c.Text(r); value != "" {
			p.Fields = append(p.Fields, recordField{Name: c.Name, Value: value, Doc: c.Doc})
		}
	}
	if r.Key != "" {
		p.KeyURL, p.KeyLogs = page.In("keys/"+r.Key), page.In(withQuery("logs", "key", r.Key))
	}
	if !p.Allowed() && !r.IsGap() {
		client := ""
		if r.Client.IsValid() {
			client = r.Client.String()
		}
		p.Explain = page.In(withQuery("explain", "key", r.Key, "method", r.Method, "path", r.Path, "client_address", client,
			"context", contextOf(r), "version", r.APIVersion, "host", r.Host))
	}
	return p, nil
}

// contextOf is the context header that leads to the account that the record tells of, "" if it is the key's own.
func contextOf(r *requestlog.Record) string {
	if r.Account == r.Owner {
		return ""
	}
	return r.Account
}
