package api

import (
	"net/http"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// maxExports is how many exports of request records one process serves at a time: each reads as fast as it can.
const maxExports = 8

// exportQuiet is how long the caller of an export may go without hearing of what was found.
const exportQuiet = time.Second

type exportRequestLogsInput struct {
	Format        string `query:"format" enum:"jsonl,csv,parquet" default:"jsonl"`
	Compress      string `query:"compress" enum:"none,gzip" default:"none" doc:"gzip: the file itself is compressed (Parquet is already, and refuses it). Beside it, Accept-Encoding: gzip compresses the transfer"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row that was received: the export goes on behind it"`
}

func (a *API) registerRequestLogExport() {
	stream(a, operation{
		method: http.MethodGet, path: "/v1/request_logs/export", id: "export_request_logs", tag: "request logs", summary: "Export request records",
		query: filterParams(), media: exportMedia + " " + mediaParquet + " " + mediaGzip,
		description: "Newest first, without an end to their number, with the filters of the list. What ends early breaks the connection off: go on with starting_after set to the id of the last whole row, " +
			"and with times instead of durations in since and until, so that they stay what they were. Columns of CSV are those of the record, in a fixed order; new ones come at the end. Tables in CSV hold no formulas. A Parquet file that was broken off has no end, and is to be asked for anew.",
	}, a.exportRequestLogs)
}

func (a *API) exportRequestLogs(c *call, in *exportRequestLogsInput) error {
	filter, err := c.filter("format", "compress", "starting_after")
	if err != nil {
		return err
	}
	zipped := in.Compress == "gzip"
	if zipped && in.Format == formatParquet {
		return badParam("compress", "Parquet is compressed by itself: leave compress out")
	}
	leave, ok := a.exports.enter(c.customer())
	if !ok {
		c.w.Header().Set("Retry-After", "10")
		return newError(http.StatusServiceUnavailable, codeExportsBusy, "",
			"as many exports as this node serves at a time are running, %d in all and %d of one customer, or one while others run many; try again later", a.exports.all, a.exports.customer)
	}
	defer leave()
	// The first page comes before the status: what is wrong with the cursor or the log is answered as an error.
	found, err := a.Log.List(c.ctx, filter, requestlog.MaxLimit, in.StartingAfter)
	if err != nil {
		return err
	}
	out, err := c.exportAs(exportForm{format: in.Format, name: "request_logs", head: columnNames(), zipped: zipped})
	if c.r.Method == http.MethodHead {
		return out.end(err)
	}
	for err == nil {
		if err = writeRecords(out, found.Records); err != nil || !found.More {
			break
		}
		if time.Since(out.out.last) > exportQuiet {
			if err = out.flush(); err != nil {
				break
			}
		}
		found, err = a.nextPage(c, filter, found.Next)
	}
	return out.end(err)
}

// nextPage reads on in a long answer, with what the caller may see by now.
func (a *API) nextPage(c *call, filter requestlog.Filter, cursor string) (requestlog.Page, error) {
	if !c.caller.Still() {
		return requestlog.Page{}, newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this export is not good any more")
	}
	filter.Within = c.within()
	return a.Log.List(c.ctx, filter, requestlog.MaxLimit, cursor)
}

func writeRecords(out *exporter, records []*requestlog.Record) error {
	for _, r := range records {
		if out.parquet != nil {
			if err := out.parquet.Write(r); err != nil {
				return err
			}
			continue
		}
		var failed error
		err := out.row(
			func() (line []byte) {
				line, failed = r.MarshalJSON()
				return line
			},
			func() []string { return recordCells(r) },
		)
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recordColumns is the schema of records, in the order of the columns of CSV.
var recordColumns = requestlog.Columns()

func columnNames() []string {
	names := make([]string, 0, len(recordColumns))
	for i := range recordColumns {
		names = append(names, recordColumns[i].Name)
	}
	return names
}

func recordCells(r *requestlog.Record) []string {
	cells := make([]string, 0, len(recordColumns))
	for i := range recordColumns {
		cells = append(cells, recordColumns[i].Text(r))
	}
	return cells
}
