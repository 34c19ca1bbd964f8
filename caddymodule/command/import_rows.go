package command

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// importRow is one key of an import file: the object that the API takes, and the line where it stands.
type importRow struct {
	line   int
	object json.RawMessage
}

// parseImport reads an import file. Its errors name lines and columns, never content: that is where the tokens are.
func parseImport(data []byte, format string) ([]importRow, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // the byte order mark of some spreadsheets
	if format == "" {
		format = "csv"
		if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
			format = "jsonl"
		}
	}
	if format == "csv" {
		return parseCSV(data)
	}
	return parseJSONLines(data)
}

func parseJSONLines(data []byte) ([]importRow, error) {
	var rows []importRow
	number := 0
	for line := range bytes.Lines(data) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		if line[0] != '{' || !json.Valid(line) {
			return nil, fmt.Errorf("line %d is no JSON object", number)
		}
		rows = append(rows, importRow{line: number, object: line})
	}
	return rows, nil
}

func parseCSV(data []byte) ([]importRow, error) {
	reader := csv.NewReader(bytes.NewReader(data))
	reader.ReuseRecord = true
	first, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, csvError(err)
	}
	head, err := csvHead(first)
	if err != nil {
		return nil, err
	}
	var rows []importRow
	for {
		cells, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := reader.FieldPos(0)
		object, err := csvObject(head, cells)
		if err != nil {
			return nil, fmt.Errorf("line %d, %w", line, err)
		}
		rows = append(rows, importRow{line: line, object: object})
	}
}

// csvHead reads the names of the columns. A file without a head line would have a token there: so a name that can be none
// is not repeated.
func csvHead(cells []string) ([]string, error) {
	head := make([]string, len(cells))
	seen := make(map[string]bool, len(cells))
	for i, cell := range cells {
		name := strings.ToLower(strings.TrimSpace(cell))
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" || looksLikeToken(name) {
			return nil, fmt.Errorf("line 1, column %d is no name: the first line of a CSV file names the columns", i+1)
		}
		if seen[name] {
			return nil, fmt.Errorf("line 1, column %d: this name stands twice", i+1)
		}
		seen[name] = true
		head[i] = name
	}
	if !seen["token"] && !seen["sha256"] {
		return nil, errors.New("line 1 names no column token or sha256")
	}
	return head, nil
}

// csvObject makes the API's object of one line.
func csvObject(head, cells []string) (json.RawMessage, error) {
	object := make(map[string]any, len(cells))
	for i, cell := range cells {
		cell = strings.TrimSpace(cell)
		if cell == "" {
			continue
		}
		switch name := head[i]; name {
		case "permissions", "connected_permissions":
			value, err := csvPermissions(cell)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", name, err)
			}
			object[name] = value
		case "metadata":
			value, err := csvPairs(cell)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", name, err)
			}
			object[name] = value
		case "allowed_origins":
			object[name] = strings.Fields(cell)
		default:
			object[name] = cell
		}
	}
	return json.Marshal(object)
}

// csvPermissions reads permissions: JSON, pairs, or none.
func csvPermissions(cell string) (any, error) {
	switch {
	case cell == "none":
		return map[string]string{}, nil
	case cell[0] == '{':
		return csvJSON(cell)
	}
	permissions, err := parsePermissions(splitPairs(cell))
	if err != nil {
		// Its text repeats the cell, which may be a token in the wrong column.
		return nil, errors.New("want resource=access pairs with access none, read or write, or none")
	}
	return permissions, nil
}

// csvPairs reads metadata: JSON or pairs.
func csvPairs(cell string) (any, error) {
	if cell[0] == '{' {
		return csvJSON(cell)
	}
	pairs := make(map[string]string)
	for _, pair := range splitPairs(cell) {
		name, value, ok := strings.Cut(pair, "=")
		if _, twice := pairs[name]; !ok || name == "" || twice {
			return nil, errors.New("want NAME=VALUE pairs, each name once, or a JSON object")
		}
		pairs[name] = value
	}
	return pairs, nil
}

func csvJSON(cell string) (any, error) {
	if !json.Valid([]byte(cell)) {
		return nil, errors.New("this is no JSON object")
	}
	return json.RawMessage(cell), nil
}

func splitPairs(cell string) []string {
	return strings.FieldsFunc(cell, func(r rune) bool { return r == ' ' || r == ',' || r == ';' || r == '\n' })
}

// csvError words an error of the CSV reader, whose text holds positions only.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		if errors.Is(parse.Err, csv.ErrFieldCount) {
			return fmt.Errorf("line %d has another number of columns than the head line", parse.Line)
		}
		return fmt.Errorf("line %d, column %d is no CSV: %w", parse.Line, parse.Column, parse.Err)
	}
	return err
}
