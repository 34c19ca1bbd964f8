package api

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxKeyLine bounds one line of a file of keys: 64 KiB hold the longest metadata and notes.
const maxKeyLine = 64 << 10

// fileError is an *Error after which the rows of a file cannot be told apart any more.
type fileError struct{ wrong *Error }

// Error is the message.
func (e *fileError) Error() string { return e.wrong.Error() }

// Unwrap gives the error that is answered.
func (e *fileError) Unwrap() error { return e.wrong }

func brokenFile(format string, args ...any) error {
	return &fileError{newError(http.StatusBadRequest, codeBodyInvalid, "", format, args...)}
}

// skipMark passes over the byte order mark of some spreadsheets.
func skipMark(r io.Reader) *bufio.Reader {
	buf := bufio.NewReaderSize(r, maxKeyLine)
	if start, err := buf.Peek(3); err == nil && string(start) == "\xef\xbb\xbf" {
		_, _ = buf.Discard(3)
	}
	return buf
}

// jsonRows reads JSON Lines. Empty lines are passed over.
type jsonRows struct {
	r    *bufio.Reader
	line int
}

func newJSONRows(r io.Reader) *jsonRows { return &jsonRows{r: skipMark(r)} }

func (j *jsonRows) next() (int, []byte, error) {
	for {
		text, err := j.r.ReadSlice('\n')
		if len(text) > 0 {
			j.line++
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return j.line, nil, brokenFile("the line is longer than %d bytes", maxKeyLine)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return j.line, nil, err
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return j.line, text, nil // its end comes with the next call
		}
		if err != nil {
			return j.line, nil, err
		}
	}
}

// csvRows reads CSV with a head line. Its errors name columns, never content: that is where the tokens are.
type csvRows struct {
	r     *csv.Reader
	bound *recordBound
	head  []string
	line  int
}

func newCSVRows(r io.Reader) *csvRows {
	bound := &recordBound{r: skipMark(r)}
	reader := csv.NewReader(bound)
	reader.ReuseRecord = true
	return &csvRows{r: reader, bound: bound}
}

func (v *csvRows) next() (int, []byte, error) {
	if v.head == nil {
		first, line, err := v.record()
		if err != nil {
			return line, nil, err
		}
		if v.head, err = csvHead(first); err != nil {
			return 1, nil, err
		}
	}
	cells, line, err := v.record()
	if err != nil {
		return line, nil, err
	}
	object, err := csvObject(v.head, cells)
	return line, object, err
}

func (v *csvRows) record() (cells []string, line int, err error) {
	v.bound.left = maxKeyLine
	cells, err = v.r.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse) && errors.Is(parse.Err, csv.ErrFieldCount):
		return nil, parse.Line, brokenFile("the line has another number of columns than the head line")
	case errors.As(err, &parse):
		return nil, parse.Line, brokenFile("column %d is no CSV: %s", parse.Column, parse.Err)
	case err != nil:
		v.line++ // about; a reader that ends early knows no better
		return nil, v.line, err
	}
	v.line, _ = v.r.FieldPos(0)
	return cells, v.line, nil
}

// recordBound ends a file whose record does not end: an open quote would take all that follows into memory.
type recordBound struct {
	r    io.Reader
	left int
}

func (b *recordBound) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, brokenFile("a row is longer than %d bytes: perhaps a quote is not closed", maxKeyLine)
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

// csvHead reads the names of the columns. A file without a head line would have a token there: no name is repeated.
func csvHead(cells []string) ([]string, error) {
	head := make([]string, len(cells))
	seen := make(map[string]bool, len(cells))
	for i, cell := range cells {
		name := strings.ToLower(strings.TrimSpace(cell))
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" {
			return nil, brokenFile("column %d is no name: the first line of a CSV file names the columns", i+1)
		}
		if seen[name] {
			return nil, brokenFile("column %d: this name stands twice", i+1)
		}
		seen[name] = true
		head[i] = name
	}
	if !seen["token"] && !seen["sha256"] {
		return nil, brokenFile("the head line names no column token or sha256")
	}
	return head, nil
}

// csvObject makes the API's object of one line.
func csvObject(head, cells []string) ([]byte, error) {
	object := make(map[string]any, len(cells))
	for i, cell := range cells {
		cell = strings.TrimSpace(cell)
		if cell == "" {
			continue
		}
		var value any = cell
		switch name := head[i]; name {
		case "permissions", "connected_permissions", "metadata":
			pairs, ok := csvPairs(cell)
			if !ok {
				return nil, badParam(name, "%s: want name=value pairs, each name once, a JSON object, or none", name)
			}
			value = pairs
		case "allowed_origins":
			value = strings.Fields(cell)
		}
		object[head[i]] = value
	}
	return json.Marshal(object)
}

// csvPairs reads a map: JSON, pairs, or none.
func csvPairs(cell string) (any, bool) {
	switch {
	case cell == "none":
		return map[string]string{}, true
	case cell[0] == '{':
		return json.RawMessage(cell), json.Valid([]byte(cell))
	}
	pairs := make(map[string]string)
	for pair := range strings.FieldsFuncSeq(cell, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == '\n' }) {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := pairs[name]; !ok || name == "" || twice {
			return nil, false
		}
		pairs[name] = value
	}
	return pairs, true
}
