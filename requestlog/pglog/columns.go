package pglog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/keystile/keystile/requestlog"
)

// The table has the columns of requestlog.Columns under their own names, but for the id: that lies without its prefix, which
// does not count for the order, and a column tells which prefix it was.
const (
	requestPrefix = "req_"
	gapPrefix     = "gap_"
	prefixLen     = len(requestPrefix)
	sortLen       = 19 // of an id without its prefix
)

// columns are the schema without the id.
var columns = requestlog.Columns()[1:]

// selected lists what decodeRow reads, and copied what encodeRecord writes: the same in the same order.
var selected = func() string {
	names := []string{"id", "gap"}
	for _, c := range columns {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}()

// capturedBytes is how much captured text a row holds. It does not read the text.
const capturedBytes = `coalesce(octet_length(request_headers), 0) + coalesce(octet_length(response_headers), 0) + coalesce(octet_length(request_body), 0) + coalesce(octet_length(response_body), 0)`

// sortKey is what the table knows an id by.
func sortKey(id string) string { return id[min(prefixLen, len(id)):] }

func prefixed(sort string, gap bool) string {
	if gap {
		return gapPrefix + sort
	}
	return requestPrefix + sort
}

// decodeRow makes a record of a row as the server sends it: in the text format, nil for null.
func decodeRow(raw [][]byte) (*requestlog.Record, error) {
	if len(raw) < len(columns)+2 {
		return nil, fmt.Errorf("a row of %d columns", len(raw))
	}
	r := &requestlog.Record{ID: prefixed(string(raw[0]), string(raw[1]) == "t")}
	for i := range columns {
		text := raw[i+2]
		if text == nil {
			continue
		}
		c := &columns[i]
		var v requestlog.Value
		switch {
		case c.IsText():
			v.Text = string(text)
		case c.Kind == requestlog.ColumnBool:
			if string(text) == "t" {
				v.Integer = 1
			}
		default:
			n, err := strconv.ParseInt(string(text), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("column %s is no number", c.Name)
			}
			v.Integer = n
		}
		if err := c.SetValue(r, v); err != nil {
			return nil, err
		}
	}
	return r, nil
}
