package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/danielgtaylor/huma/v2"
)

// readRows reads a file to its end or to where its rows cannot be told apart any more.
func readRows(t *testing.T, rows keyRows) (objects []string, faults []string) {
	t.Helper()
	for last := 0; ; {
		line, object, err := rows.next()
		if errors.Is(err, io.EOF) {
			return objects, faults
		}
		if line < last {
			t.Fatalf("line %d comes after line %d", line, last)
		}
		last = line
		var own *Error
		var broken *fileError
		if err != nil && !errors.As(err, &own) {
			t.Fatalf("the file has an error that is no caller's: %v", err)
		}
		if err != nil {
			faults = append(faults, own.Error())
		} else {
			objects = append(objects, string(object))
		}
		if errors.As(err, &broken) {
			return objects, faults
		}
	}
}

// content stands for tokens: no error may repeat it.
const content = "zq9zq9zq9"

// FuzzKeyRows: whatever the file, its rows end, each is bounded, those of CSV are JSON objects, no error repeats what is in
// the file, and it does not matter in what pieces the file comes.
func FuzzKeyRows(f *testing.F) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[KeyImport](), true, "")
	for _, seed := range []string{
		"{\"token\":\"X\",\"kind\":\"secret\",\"mode\":\"live\",\"account\":\"acct_1\"}\r\n\n{}\n", "{\"token\":\"X\"", "\xef\xbb\xbf{}", "\n\n", "X",
		"token,kind,mode,account\nX,secret,live,acct_1\n", "\xef\xbb\xbfToken,permissions,metadata,ip_ranges\n\"X\",charges=write,\"{\"\"a\"\":\"\"X\"\"}\",1.2.3.4 5.6.7.8\n",
		"token,kind\nX\n", "token,token\n", "X,Y\n", "token,kind\n\"X,secret\n", "sha256,allowed_origins\nX,https://a.example X\n\nX,\n", "token,metadata\nX,=X\n", "token\n\"\"\n",
		"token,kind\na\"b,X\n", "token,permissions\r\nX,none\r\n",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, table bool) {
		text = strings.ReplaceAll(text, "X", content)
		reader := func(r io.Reader) keyRows {
			if table {
				return newCSVRows(r)
			}
			return newJSONRows(r)
		}
		objects, faults := readRows(t, reader(strings.NewReader(text)))
		again, sameFaults := readRows(t, reader(iotest.OneByteReader(strings.NewReader(text))))
		if !reflect.DeepEqual(objects, again) || !reflect.DeepEqual(faults, sameFaults) {
			t.Fatalf("read at once %q %q, in pieces %q %q", objects, faults, again, sameFaults)
		}
		for _, fault := range faults {
			if strings.Contains(fault, content) {
				t.Fatalf("an error repeats the file: %s", fault)
			}
		}
		for _, object := range objects {
			if table && !json.Valid([]byte(object)) || !table && len(object) > maxKeyLine {
				t.Fatalf("a row is %q", object)
			}
			var row KeyImport
			err := decodeBody(registry, schema, []byte(object), &row)
			if err == nil && table && !bytes.HasPrefix([]byte(object), []byte("{")) {
				t.Fatalf("taken as a row: %q", object)
			}
		}
	})
}
