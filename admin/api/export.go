package api

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keystile/keystile/requestlog/archive"
)

const (
	mediaLines   = "application/x-ndjson"
	mediaCSV     = "text/csv"
	mediaGzip    = "application/gzip"
	mediaParquet = "application/vnd.apache.parquet"

	formatCSV     = "csv"
	formatParquet = "parquet"

	// exportWrite bounds one write of an export: a reader that takes nothing for so long is gone.
	exportWrite = 30 * time.Second
	// exportBuffer is how much of an export is written at once.
	exportBuffer = 64 << 10
)

// exportMedia is the content types of an export, as the document names them.
const exportMedia = mediaLines + " " + mediaCSV

// exporter writes rows of an export, as JSON Lines or as CSV with a head line, or request records as Parquet. The status is on the wire before the first
// row, so that an error in the middle can only break the connection off: a file that ends early must not look whole.
type exporter struct {
	call *call
	zip  *gzip.Writer // nil: not compressed
	buf  *bufio.Writer
	csv  *csv.Writer // nil: JSON Lines, or Parquet
	out  *patientWriter

	parquet *archive.ParquetWriter // nil: rows of text
}

// export begins the answer. HEAD has no body, and gets none. A caller who takes gzip gets it.
func (c *call) export(format, name string, head []string) (*exporter, error) {
	return c.exportAs(exportForm{format: format, name: name, head: head})
}

// exportForm is how an export is written.
type exportForm struct {
	format string // jsonl or csv; for request records also parquet
	name   string // of the file, without an extension
	head   []string
	zipped bool // the file itself is compressed, whatever the transfer does
}

func (c *call) exportAs(form exportForm) (*exporter, error) {
	e := &exporter{call: c, out: &patientWriter{w: c.w, control: http.NewResponseController(c.w)}}
	media, name := mediaLines, form.name+"."+form.format
	switch form.format {
	case formatCSV:
		media = mediaCSV + "; charset=utf-8"
	case formatParquet:
		media = mediaParquet
	}
	h := c.w.Header()
	switch {
	case form.zipped:
		media, name = mediaGzip, name+".gz"
	case form.format == formatParquet: // compressed by itself
	case takesGzip(c.r.Header):
		h.Set("Content-Encoding", "gzip")
	}
	h.Add("Vary", "Accept-Encoding")
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	c.started = true
	c.w.WriteHeader(http.StatusOK)
	var to io.Writer = e.out
	if (form.zipped || h.Get("Content-Encoding") == "gzip") && c.r.Method != http.MethodHead {
		// The fastest level: it takes nine tenths of what there is to take, and an export is not to cost the gateway its CPU.
		e.zip, _ = gzip.NewWriterLevel(e.out, gzip.BestSpeed) // fails for levels that do not exist
		to = e.zip
	}
	e.buf = bufio.NewWriterSize(to, exportBuffer)
	switch {
	case form.format == formatParquet && c.r.Method != http.MethodHead:
		e.parquet = archive.NewParquetWriter(e.buf)
	case form.format == formatCSV:
		e.csv = csv.NewWriter(e.buf)
		e.csv.UseCRLF = true // RFC 4180
		return e, e.csv.Write(form.head)
	}
	return e, nil
}

// takesGzip says whether the caller takes a compressed transfer, and says so by that name.
func takesGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for item := range strings.SplitSeq(line, ",") {
			coding, params, _ := strings.Cut(item, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			q, weighed := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			return !weighed || err == nil && weight > 0
		}
	}
	return false
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

// flush sends what there is: where rows are rare, the caller has them without waiting for a full buffer. Of Parquet that is
// whole row groups.
func (e *exporter) flush() error {
	if e.csv != nil {
		e.csv.Flush()
		if err := e.csv.Error(); err != nil {
			return err
		}
	}
	if err := e.buf.Flush(); err != nil {
		return err
	}
	if e.zip != nil {
		if err := e.zip.Flush(); err != nil {
			return err
		}
	}
	return e.out.control.Flush()
}

// end finishes the answer, or breaks it off.
func (e *exporter) end(err error) error {
	if err == nil && e.csv != nil {
		e.csv.Flush()
		err = e.csv.Error()
	}
	if err == nil && e.parquet != nil {
		err = e.parquet.Close()
	}
	if err == nil {
		err = e.buf.Flush()
	}
	if err == nil && e.zip != nil {
		err = e.zip.Close()
	}
	if err != nil {
		e.call.breakOff(err)
	}
	return nil
}

// breakOff ends an answer that has begun, so that nobody takes it for whole.
func (c *call) breakOff(err error) {
	if c.ctx.Err() == nil { // else the caller went away, as callers do
		c.failure(err) // logs it
	}
	panic(http.ErrAbortHandler)
}

// plainCell keeps a spreadsheet from taking a cell for a formula: what begins like one gets an apostrophe in front, which
// spreadsheets do not show.
func plainCell(cell string) string {
	if first, _ := utf8.DecodeRuneInString(cell); cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) { // also full-width
		return "'" + cell
	}
	return cell
}

// patientWriter gives each write a deadline of its own.
type patientWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    time.Time // of the last write
}

func (p *patientWriter) Write(b []byte) (int, error) {
	// Writers without deadlines (tests, HTTP/2 in some set-ups) do without: the error says only that.
	p.last = time.Now()
	_ = p.control.SetWriteDeadline(p.last.Add(exportWrite))
	return p.w.Write(b)
}
