package gatetest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
	"time"
)

// rawRow is one row of a list with its id, whatever the rest is.
type rawRow[T any] struct {
	id    string
	value T
}

// UnmarshalJSON reads the row twice: for its id and for its value.
func (r *rawRow[T]) UnmarshalJSON(raw []byte) error {
	var head struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return err
	}
	if head.ID == "" {
		return fmt.Errorf("a row has no id: %s", raw)
	}
	r.id = head.ID
	return json.Unmarshal(raw, &r.value)
}

// lastRow reads the id of the last row of a page and whether there are more.
func lastRow(raw []byte) (id string, more bool) {
	var p page[rawRow[json.RawMessage]]
	if json.Unmarshal(raw, &p) != nil || len(p.Data) == 0 {
		return "", false
	}
	return p.Data[len(p.Data)-1].id, p.HasMore
}

// Record is one request record, by the field names of the contract.
type Record = map[string]any

// Records returns the request records that match a filter, over all pages, newest first.
func (a *Admin) Records(tb testing.TB, filter url.Values) []Record {
	tb.Helper()
	rows, err := list[Record](a, "/v1/request_logs", filter)
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

// AwaitRecord returns the record of a request, waiting for it to become visible, at most five seconds (a loaded machine).
func (a *Admin) AwaitRecord(tb testing.TB, requestID string) Record {
	tb.Helper()
	if requestID == "" {
		tb.Fatal("the answer had no Request-Id")
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		status, body, err := a.Call("GET", "/v1/request_logs/"+requestID, nil)
		if err != nil {
			tb.Fatal(err)
		}
		if status == 200 {
			var r Record
			if err := json.Unmarshal(body, &r); err != nil {
				tb.Fatal(err)
			}
			return r
		}
		if time.Now().After(deadline) {
			tb.Fatalf("no record of %s: status %d, body %s", requestID, status, body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
