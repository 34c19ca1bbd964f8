package api

import (
	"bufio"
	"encoding/csv"
	"net/http"
	"strings"
	"time"
)

const (
	mediaLines = "application/x-ndjson"
	mediaCSV   = "text/csv"

	// exportWrite bounds one write of an export: a reader that takes nothing for so long is gone.
	exportWrite = 30 * time.Second
	// exportBuffer is how much of an export is written at once.
	exportBuffer = 64 << 10
)

// exportMedia is the content types of an export, as the document names them.
const exportMedia = mediaLines + " " + mediaCSV

// exporter writes rows of an export, as JSON Lines or as CSV with a head line. The status is on the wire before the first
// row, so that an error in the middle can only break the connection off: a file that ends early must not look whole.
type exporter struct {
	call *call
	buf  *bufio.Writer
	csv  *csv.Writer // nil: JSON Lines
}

// export begins the answer. HEAD has no body, and gets none.
func (c *call) export(format, name string, head []string) (*exporter, error) {
	e := &exporter{call: c}
	e.buf = bufio.NewWriterSize(&patientWriter{w: c.w, control: http.NewResponseController(c.w)}, exportBuffer)
	h := c.w.Header()
	h.Set("Content-Type", mediaLines)
	if format == "csv" {
		h.Set("Content-Type", mediaCSV+"; charset=utf-8")
		e.csv = csv.NewWriter(e.buf)
		name += ".csv"
	} else {
		name += ".jsonl"
	}
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	c.started = true
	c.w.WriteHeader(http.StatusOK)
	if e.csv != nil {
		return e, e.csv.Write(head)
	}
	return e, nil
}

// row writes one row: line is its JSON without a line end, cells its cells. Only the one that is wanted is asked for.
func (e *exporter) row(line func() []byte, cells func() []string) error {
	if e.csv != nil {
		row := cells()
		for i, cell := range row {
			row[i] = plainCell(cell)
		}
		return e.csv.Write(row)
	}
	if _, err := e.buf.Write(line()); err != nil {
		return err
	}
	return e.buf.WriteByte('\n')
}

// end finishes the answer, or breaks it off.
func (e *exporter) end(err error) error {
	if err == nil && e.csv != nil {
		e.csv.Flush()
		err = e.csv.Error()
	}
	if err == nil {
		err = e.buf.Flush()
	}
	if err != nil {
		e.call.failure(err) // logs it
		panic(http.ErrAbortHandler)
	}
	return nil
}

// plainCell keeps a spreadsheet from taking a cell for a formula: what begins like one gets an apostrophe in front, which
// spreadsheets do not show.
func plainCell(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// patientWriter gives each write a deadline of its own.
type patientWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	// Writers without deadlines (tests, HTTP/2 in some set-ups) do without: the error says only that.
	_ = p.control.SetWriteDeadline(time.Now().Add(exportWrite))
	return p.w.Write(b)
}
