package api

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/keystore"
)

// maxKeyFile bounds the file of an import: 1 GiB. Its rows are bounded by keystore.MaxBulkImport.
const maxKeyFile = 1 << 30

// KeyFileImport is what the import of a file did, or would do.
type KeyFileImport struct {
	Object string         `json:"object" enum:"key_import"`
	ID     *string        `json:"id" doc:"The import, as its event names it; null: of a dry run"`
	Keys   int            `json:"keys" doc:"How many keys the file has"`
	Counts map[string]int `json:"counts" doc:"By mode and kind, such as live secret"`
	DryRun bool           `json:"dry_run"`
	First  *string        `json:"first_key" doc:"The ids of the keys are from this one to last_key, and no other key's is; null: of a dry run"`
	Last   *string        `json:"last_key"`
}

type importKeyFileInput struct {
	DryRun bool `query:"dry_run" doc:"Validate the whole file and write nothing"`
}

// registerKeyFiles adds the import of a file. It has a path of its own, beside POST /v1/keys/import, because its body is no
// JSON object and its answer does not list a million keys.
func (a *API) registerKeyFiles() {
	op := operation{
		method: http.MethodPost, path: "/v1/key_imports", id: "import_key_file", tag: "keys", summary: "Import a file of keys", status: http.StatusOK,
		errors: []int{http.StatusNotFound},
		description: "A file of up to 2,000,000 keys (1 GiB), as JSON Lines (one object of POST /v1/keys/import on each line) or CSV (the same names in a head line; permissions and metadata as name=value pairs " +
			"or JSON, lists separated by blanks, an empty cell says nothing). It is validated whole before anything is written, and imported whole or not at all. Errors name lines, at most 100 of them. " +
			"One event stands for all keys.",
	}
	b := a.newOperation(op, reflect.TypeFor[importKeyFileInput](), reflect.TypeFor[KeyFileImport]())
	text := &huma.Schema{Type: huma.TypeString}
	a.operations[len(a.operations)-1].RequestBody = &huma.RequestBody{
		Required: true, Content: map[string]*huma.MediaType{mediaLines: {Schema: text}, mediaCSV: {Schema: text}},
	}
	row := a.registry.Schema(reflect.TypeFor[KeyImport](), true, "")
	a.router.add(op.method, op.path, func(c *call) {
		if err := c.enter(op.id); err != nil {
			c.fail(err)
			return
		}
		in := new(importKeyFileInput)
		if err := b.bind(c, in, nil); err != nil {
			c.fail(err)
			return
		}
		if err := c.askFirst(op.id, in); err != nil {
			c.fail(err)
			return
		}
		a.importKeyFile(c, in, row)
	})
}

func (a *API) importKeyFile(c *call, in *importKeyFileInput, schema *huma.Schema) {
	arrival := Receive(c.w, c.r)
	arrival.Known()
	defer arrival.Leave()
	body := &upload{r: http.MaxBytesReader(c.w, arrival, maxKeyFile), sum: sha256.New(), still: c.caller.Still}
	rows, err := c.keyRows(body)
	if err != nil {
		c.fail(err)
		return
	}
	customer := c.customer()
	if err := a.imports.refuse(c, customer); err != nil {
		c.fail(err)
		return
	}
	importer, err := a.Store.BeginImport(c.actor, in.DryRun)
	if err != nil {
		a.imports.wait(c, customer)
		c.fail(err)
		return
	}
	defer a.imports.begin(customer)()
	defer importer.Close()
	if customer != "" {
		body.until = time.Now().Add(customerImport)
	}
	err = a.readKeyFile(c, rows, schema, importer)
	// To its end in any case: a client that is still sending does not look for an answer.
	if _, rest := io.Copy(io.Discard, body); rest != nil {
		c.fail(uploadError(rest))
		return
	}
	if !c.caller.Still() {
		c.fail(uploadError(errOver))
		return
	}
	// Errors too: the repetition of an import that was made finds its tokens taken, and is to get the first one's answer.
	c.once(body.sum.Sum(nil), func() (answer, error) {
		if err != nil {
			return answer{}, err
		}
		if err := c.verified("import_key_file", in, body.sum.Sum(nil)); err != nil {
			return answer{}, err
		}
		ctx, cancel := c.outlast(importTime)
		defer cancel()
		sum, err := importer.Commit(ctx)
		if err != nil {
			return answer{}, lineErrors(err)
		}
		return answer{status: http.StatusOK, body: marshal(KeyFileImport{
			Object: "key_import", ID: some(sum.ID), Keys: sum.Keys, Counts: sum.Counts, DryRun: in.DryRun, First: some(sum.First), Last: some(sum.Last),
		})}, nil
	})
}

// readKeyFile validates all rows. Its error lists what is wrong with them, up to a bound.
func (a *API) readKeyFile(c *call, rows keyRows, schema *huma.Schema, importer *keystore.Importer) error {
	var wrong *Error
	for {
		line, object, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		var broken *fileError
		var own *Error
		if err != nil && !errors.As(err, &own) {
			return uploadError(err)
		}
		last := errors.As(err, &broken)
		if err == nil {
			err = a.addKeyRow(c, line, object, schema, importer)
		}
		if err == nil {
			continue
		}
		if wrong, err = addLine(wrong, err, line); err != nil {
			return err
		}
		if len(wrong.Errors) == maxRowErrors || last {
			break
		}
	}
	switch {
	case wrong != nil:
		return wrong
	case importer.Len() == 0:
		return newError(http.StatusBadRequest, codeParameterMissing, "", "there are no keys in the file")
	}
	return nil
}

func (a *API) addKeyRow(c *call, line int, object []byte, schema *huma.Schema, importer *keystore.Importer) error {
	var row KeyImport
	if err := decodeBody(a.registry, schema, object, &row); err != nil {
		return err
	}
	params, err := c.importParams(&row)
	if err != nil {
		return err
	}
	return importer.Add(line, &params)
}

// addLine adds the error of a line to the answer's error. Only errors that a caller can do something about are listed; any
// other ends the import.
func addLine(all *Error, err error, line int) (*Error, error) {
	own, cause := asError(err)
	if cause != nil {
		return nil, err
	}
	row := RowError{Param: own.Param, Code: own.Code, Message: own.Message, Line: line}
	if all == nil {
		first := *own
		first.Message = fmt.Sprintf("line %d: %s", line, own.Message)
		all = &first
	}
	all.Errors = append(all.Errors, row)
	return all, nil
}

// lineErrors is the answer to a commit that a line stood in the way of.
func lineErrors(err error) error {
	var rows *keystore.ImportError
	if !errors.As(err, &rows) {
		return err
	}
	var line int
	var field string
	if _, scan := fmt.Sscanf(rows.Rows[0].Param, "line %d.%s", &line, &field); scan != nil {
		return err
	}
	row := *rows.Rows[0]
	row.Param = field
	wrong, err := addLine(nil, &row, line)
	if err != nil {
		return err
	}
	return wrong
}

// keyRows reads one key after the other: its line and the JSON of a KeyImport. An *Error is about the line, io.EOF the end,
// any other error about the upload.
type keyRows interface {
	next() (line int, object []byte, err error)
}

// keyRows chooses the reader by the Content-Type. It is asked for as with JSON: simple cross-site forms cannot send it.
func (c *call) keyRows(body io.Reader) (keyRows, error) {
	lines := c.r.Header.Values("Content-Type")
	if len(lines) == 1 && c.r.Header.Get("Content-Encoding") == "" {
		media, params, err := mime.ParseMediaType(lines[0])
		charset, has := params["charset"]
		if err == nil && (!has || strings.EqualFold(charset, "utf-8")) {
			switch media {
			case mediaLines:
				return newJSONRows(body), nil
			case mediaCSV:
				return newCSVRows(body), nil
			}
		}
	}
	return nil, newError(http.StatusUnsupportedMediaType, codeContentType, "Content-Type",
		"a file of keys is JSON Lines or CSV, uncompressed, and says so: Content-Type: application/x-ndjson or text/csv")
}

// upload is the body of a long upload. It has as long as it keeps a pace: see [Arrival].
type upload struct {
	r   io.Reader
	sum interface {
		io.Writer
		Sum(b []byte) []byte
	}
	still  func() bool // whether the caller's credential is still good: an upload outlasts the check at its start
	looked time.Time   // when that was asked last
	until  time.Time   // when it must have come; zero: when it will
}

// errOver ends an upload whose caller may not make it any more.
var errOver = errors.New("the credential of this upload is not good any more")

func (u *upload) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	if now := time.Now(); now.Sub(u.looked) >= tailRecheck {
		if u.looked = now; !u.still() {
			return 0, errOver
		}
		if !u.until.IsZero() && now.After(u.until) {
			return 0, errSlow
		}
	}
	_, _ = u.sum.Write(b[:n]) // a hash does not fail
	return n, err
}

func uploadError(err error) error {
	var own *Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errOver):
		return newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this upload is not good any more; nothing was imported")
	case errors.Is(err, errSlow):
		return newError(http.StatusBadRequest, codeBodyInvalid, "",
			"the file did not come within %d minutes, and others wait for their import: send it in parts; nothing was imported", customerImport/time.Minute)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newError(http.StatusBadRequest, codeBodyInvalid, "",
			"the file came too slowly: %d seconds without a byte end it, and it needs %d bytes a second on the whole; nothing was imported", knownTime/time.Second, knownPace)
	case errors.As(err, &own):
		return own
	case errors.As(err, &tooLarge):
		return newError(http.StatusRequestEntityTooLarge, codeBodyTooLarge, "", "the file is larger than %d bytes: import it in parts", maxKeyFile)
	}
	return newError(http.StatusBadRequest, codeBodyInvalid, "", "the file could not be read to its end; nothing was imported")
}
