package caddymodule

import (
	"bytes"
	"cmp"
	"encoding/json"
)

// backendError reads type, code and message from the beginning of a backend's JSON error body, as
// {"error":{"type","code","message"}}. Other forms in use are understood too: the same fields without "error" around them,
// {"type","title","detail"} of RFC 9457, {"error","error_description"} of OAuth. The beginning may end anywhere: fields are
// taken in the order in which they come for as long as they are whole.
func backendError(body []byte) (kind, code, message string) {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return "", "", ""
	}
	var e errorFields
	e.read(dec, true)
	return e.kind, e.code, cmp.Or(e.message, e.detail, e.title)
}

// errorFields are what an error body may say.
type errorFields struct{ kind, code, message, title, detail string }

// read takes the fields of an object that was opened. At the top, the object "error" stands for all.
func (e *errorFields) read(dec *json.Decoder, top bool) {
	for {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return // the end of the object, or of the text
		}
		if name == "error" && top {
			if !e.readError(dec) {
				return
			}
			continue
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return
		}
		if target := e.field(name); target != nil {
			_ = json.Unmarshal(value, target) // a code that is null or a number stays ""
		}
	}
}

// readError reads the value of "error". false: there is nothing to be read behind it.
func (e *errorFields) readError(dec *json.Decoder) bool {
	token, err := dec.Token()
	if err != nil {
		return false
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			*e = errorFields{}
			e.read(dec, false)
		}
		return false
	case string:
		e.code = v
	}
	return true
}

func (e *errorFields) field(name string) *string {
	switch name {
	case "type":
		return &e.kind
	case "code":
		return &e.code
	case "message", "error_description":
		return &e.message
	case "title":
		return &e.title
	case "detail":
		return &e.detail
	default:
		return nil
	}
}
