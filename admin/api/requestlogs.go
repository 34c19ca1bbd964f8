package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keystile/keystile/requestlog"
)

// RequestLog is one request record. Its fields, and how they are written, are the request log's: the same here, in its
// files and in exports. Fields that do not apply to a request are absent.
type RequestLog struct {
	*requestlog.Record
}

// Schema names the schema that follows the request log's own table of columns.
func (RequestLog) Schema(r huma.Registry) *huma.Schema {
	const name = "RequestLog"
	if r.Map()[name] == nil {
		s := requestLogSchema()
		s.PrecomputeMessages()
		r.Map()[name] = s
	}
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

func requestLogSchema() *huma.Schema {
	s := &huma.Schema{
		Type: huma.TypeObject, Properties: map[string]*huma.Schema{},
		Required:    []string{"id", "time", "status", "decision"},
		Description: "One request. Fields that do not apply to it are absent.",
	}
	for _, column := range requestlog.Columns() {
		p := &huma.Schema{Type: huma.TypeString, Description: column.Doc}
		switch column.Kind {
		case requestlog.ColumnText, requestlog.ColumnAddress:
		case requestlog.ColumnInteger:
			p.Type = huma.TypeInteger
		case requestlog.ColumnTime:
			p.Format = "date-time"
		case requestlog.ColumnBool:
			p.Type = huma.TypeBoolean
		}
		s.Properties[column.Name] = p
	}
	return s
}

// RequestLogList is one page of request records.
type RequestLogList struct {
	List[RequestLog]
	Next *string `json:"next" doc:"starting_after of the next page, null if there is none. The last row's id does as well; a page that ends between rows, perhaps without any, has only this"`
}

type listRequestLogsInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" doc:"The id of the last row of the page before"`
}

type requestLogInput struct {
	ID string `path:"id" doc:"req_…"`
}

type tailInput struct{}

func (a *API) registerRequestLogs() {
	const tag = "request logs"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/request_logs", id: "list_request_logs", tag: tag, summary: "List request records", query: filterParams(),
		description: "Newest first. Every filter must hold.",
	}, a.listRequestLogs)
	handle(a, operation{
		method: http.MethodGet, path: "/v1/request_logs/{id}", id: "get_request_log", tag: tag, summary: "Get a request record",
		description: "With its decision in words.",
	}, a.getRequestLog)
	stream(a, operation{
		method: http.MethodGet, path: "/v1/request_logs/tail", id: "tail_request_logs", tag: tag, summary: "Follow request records",
		query: filterParams(), media: "text/event-stream",
		headers: []extra{{name: lastEventID, doc: "The id of the last event seen, as browsers send it by themselves when they connect again: what was missed since comes first"}},
		description: "Server-sent events, one for each new record, in the order in which requests ended: event request_log, id the record's, data the record as JSON. " +
			"A record with lost stands for records that this reader was too slow or too long away for; its event has no id. A comment line keeps the connection alive.",
	}, a.tailRequestLogs)
	a.registerHistogram()
	a.registerRequestLogExport()
	a.registerRequestLogStats()
}

// filterParams lists the filters as the request log names them.
func filterParams() []extra {
	docs := map[string]string{
		"status":         "A status such as 403, or a class such as 4xx",
		"path":           "A prefix, or a glob with *",
		"client_address": "An address, or a range in CIDR notation",
		"since":          "Not before this time, RFC 3339, or a duration back from now such as 24h",
		"until":          "Before this time, RFC 3339, or a duration back from now",
		"request_id":     "The id of one record",
	}
	for _, column := range requestlog.Columns() {
		if docs[column.Name] == "" {
			docs[column.Name] = column.Doc
		}
	}
	var out []extra
	for _, name := range requestlog.FilterNames() {
		out = append(out, extra{name: name, doc: docs[name]})
	}
	return out
}

// listSearch bounds how long one call looks for the first row of its page. A filter that selects almost nothing is
// answered in pages of bounded work, some of them empty; within this time the caller does not see those.
const listSearch = 5 * time.Second

func (a *API) listRequestLogs(c *call, in *listRequestLogsInput) (RequestLogList, error) {
	filter, err := c.filter("limit", "starting_after")
	if err != nil {
		return RequestLogList{}, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, listSearch)
	defer cancel()
	found, err := a.Log.List(ctx, filter, in.Limit, in.StartingAfter)
	for err == nil && len(found.Records) == 0 && found.More {
		next, again := a.Log.List(ctx, filter, in.Limit, found.Next)
		if again != nil {
			if ctx.Err() != nil && c.ctx.Err() == nil {
				break // time is over, the caller is there: it goes on from where we are
			}
			return RequestLogList{}, again
		}
		found = next
	}
	if err != nil {
		return RequestLogList{}, err
	}
	rows := listOf(found.Records, found.More, func(r *requestlog.Record) RequestLog { return RequestLog{r} })
	return RequestLogList{List: rows, Next: some(found.Next)}, nil
}

func (a *API) getRequestLog(c *call, in *requestLogInput) (RequestLogDetail, error) {
	r, err := a.Log.Get(c.ctx, in.ID)
	if errors.Is(err, requestlog.ErrNotFound) || err == nil && !c.coversRecord(r) {
		return RequestLogDetail{}, notFound("request record", in.ID)
	}
	if err != nil {
		return RequestLogDetail{}, err
	}
	return RequestLogDetail{Record: r, Explanation: explainRecord(r)}, nil
}

// filter reads the filters of the query: all but the parameters that the call has taken itself.
func (c *call) filter(taken ...string) (requestlog.Filter, error) {
	values := map[string][]string{}
	for name, v := range c.query {
		if !slices.Contains(taken, name) {
			values[name] = v
		}
	}
	filter, err := requestlog.ParseFilter(values, c.now)
	filter.Within = c.within()
	return filter, err
}
