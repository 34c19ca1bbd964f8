package dashboard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

func logPages() []route {
	return []route{
		{"GET /{owner}/{mode}/logs", "list_request_logs", (*request).showLogs},
		{"GET /{owner}/{mode}/logs/{id}", "get_request_log", (*request).showLogs},
		{"GET /{owner}/{mode}/logs/{id}/json", "get_request_log", (*request).recordAsJSON},
		{"GET /{owner}/{mode}/logs/tail", "tail_request_logs", (*request).tailLogs},
		{"GET /{owner}/{mode}/logs/export", "export_request_logs", (*request).exportLogs},
	}
}

// logsShown is how many records one page has.
const logsShown = "25"

// logsPage lists request records, counts them over time, and shows one of them whole.
type logsPage struct {
	Page
	Filters []logFilter // with what the address says
	Active  int         // how many of them are set
	Rows    []logRow
	More    string // address of the next page
	Chart   *chart
	Record  *recordPane // nil: none is open
	Key     *keyRow     // that the filter names
	back    string      // the filters, as a query
}

// logFilter is one field of the form.
type logFilter struct {
	Name, Label, Value, Hint string
	Choices                  []choice
}

// filterFields are the filters that the page offers; addresses may name any that the API knows.
var filterFields = []logFilter{
	{Name: "since", Label: "Time", Choices: []choice{
		{"", "Last 24 hours"}, {"15m", "Last 15 minutes"}, {"1h", "Last hour"}, {"6h", "Last 6 hours"}, {"7d", "Last 7 days"}, {"30d", "Last 30 days"},
	}},
	{Name: "status", Label: "Status", Hint: "403 or 4xx"},
	{Name: "method", Label: "Method", Choices: []choice{{"", "Any"}, {"GET", "GET"}, {"POST", "POST"}, {"PUT", "PUT"}, {"PATCH", "PATCH"}, {"DELETE", "DELETE"}}},
	{Name: "path", Label: "Path", Hint: "/v1/charges or /v1/*/refund"},
	{Name: "decision", Label: "Decision"},
	{Name: "key", Label: "Key id", Hint: "key_…"},
	{Name: "resource", Label: "Resource", Hint: "charges"},
	{Name: "client_address", Label: "Address", Hint: "203.0.113.7 or a CIDR range"},
	{Name: "request_id", Label: "Request id", Hint: "req_…"},
	{Name: "api_version", Label: "API version"},
	{Name: "idempotency_key", Label: "Idempotency key"},
}

// decisionChoices are all decisions that a record can have.
func decisionChoices() []choice {
	out := []choice{{"", "Any"}}
	for _, r := range policy.Reasons() {
		out = append(out, choice{r.Code(), words(r.Code())})
	}
	return out
}

// words makes people's words of a code: "Permission denied".
func words(code string) string {
	if code == "" {
		return ""
	}
	s := strings.ReplaceAll(code, "_", " ")
	s = strings.ToUpper(s[:1]) + s[1:]
	for _, pair := range [][2]string{{"Api key", "API key"}, {"Ip ", "IP "}} {
		s = strings.Replace(s, pair[0], pair[1], 1)
	}
	return s
}

// logRow is one record in the list.
type logRow struct {
	*requestlog.Record
	URL     string
	Current bool
}

// Allowed says whether the gateway let the request pass.
func (r logRow) Allowed() bool {
	return r.Decision == policy.ReasonAllowed.Code() || r.Decision == policy.ReasonOpen.Code() || r.Decision == policy.ReasonPreflight.Code()
}

// Word is the decision in people's words.
func (r logRow) Word() string { return words(r.Decision) }

// Class is the class of the status, for its colour: "s4".
func (r logRow) Class() string {
	if r.Status < 100 || r.Status > 599 {
		return "s0"
	}
	return "s" + string(rune('0'+r.Status/100))
}

// logList is a page of records as the API answers it.
type logList struct {
	Data    []*requestlog.Record `json:"data"`
	HasMore bool                 `json:"has_more"`
	Next    *string              `json:"next"`
}

// logQuery is the filters of the address, within the mode and the sandbox of the page. Its own parameters are no filters.
func (q *request) logQuery() url.Values {
	out := url.Values{"mode": {q.scope.Mode}}
	for name, values := range q.r.URL.Query() {
		if name != "after" && name != "done" && name != "sandbox" && name != "mode" && name != "format" && len(values) == 1 && values[0] != "" {
			out.Set(name, values[0])
		}
	}
	if q.scope.Sandbox != "" {
		out.Set("sandbox", q.scope.Sandbox)
	}
	return out
}

// own is the query without what the scope says: as addresses of pages have it.
func ownQuery(filters url.Values) url.Values {
	out := url.Values{}
	for name, values := range filters {
		if name != "mode" && name != "sandbox" {
			out[name] = values
		}
	}
	return out
}

func (q *request) showLogs() error {
	filters := q.logQuery()
	p := &logsPage{Page: q.page("Request logs", "logs")}
	for _, f := range filterFields {
		f.Value = filters.Get(f.Name)
		if f.Name == "decision" {
			f.Choices = decisionChoices()
		}
		if f.Value != "" {
			p.Active++
		}
		if f.Choices != nil && !slices.ContainsFunc(f.Choices, func(c choice) bool { return c.Value == f.Value }) {
			f.Choices = append(slices.Clone(f.Choices), choice{f.Value, f.Value})
		}
		p.Filters = append(p.Filters, f)
	}
	if own := ownQuery(filters); len(own) > 0 {
		p.back = "?" + own.Encode()
	}
	if id := q.r.PathValue("id"); id != "" {
		pane, err := q.recordPane(id, &p.Page)
		if err != nil {
			return err
		}
		p.Record, p.Title = pane, "Request "+id
	}
	asked := url.Values{"limit": {logsShown}}
	for name, values := range filters {
		asked[name] = values
	}
	if filters.Get("since") == "" {
		asked.Set("since", "24h")
	}
	counted := url.Values{}
	for name, values := range asked {
		counted[name] = values
	}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[logList](q, get("/v1/request_logs", asked))
	if err != nil {
		if p.Error = formFailure(err); p.Error == nil {
			return err
		}
		return q.show("logs", p)
	}
	for _, r := range list.Data {
		p.Rows = append(p.Rows, logRow{Record: r, URL: p.In("logs/" + r.ID + p.back), Current: p.Record != nil && p.Record.ID == r.ID})
	}
	if list.Next != nil && list.HasMore {
		own := ownQuery(filters)
		own.Set("after", *list.Next)
		p.More = p.In("logs?" + own.Encode())
	}
	counted.Del("limit")
	p.Chart = q.chart(counted, &p.Page)
	if id := filters.Get("key"); id != "" {
		if k, err := ask[api.Key](q, get("/v1/keys/"+url.PathEscape(id), nil)); err == nil {
			p.Key = &keyRow{Key: k, page: &p.Page}
		}
	}
	return q.show("logs", p)
}

// Tail is the address of the stream of new records.
func (p *logsPage) Tail() string { return p.In("logs/tail" + p.live()) }

// SignIn is the address where the viewer signs in, and comes back from here, when the session has ended.
func (p *logsPage) SignIn() string {
	return p.To(withQuery("/sign_in", "next", p.q.r.URL.RequestURI()))
}

// Record URLs for the live tail begin so; the id follows.
func (p *logsPage) Base() string { return p.To(strings.SplitN(p.Scope.path("logs"), "?", 2)[0] + "/") }

// Suffix is what follows the id in them.
func (p *logsPage) Suffix() string {
	address := p.Scope.path("logs" + p.back)
	if i := strings.IndexByte(address, '?'); i >= 0 {
		return address[i:]
	}
	return ""
}

// live is the filters for new records: all but the range of time.
func (p *logsPage) live() string {
	own, err := url.ParseQuery(strings.TrimPrefix(p.back, "?"))
	if err != nil || len(own) == 0 {
		return ""
	}
	own.Del("since")
	own.Del("until")
	if len(own) == 0 {
		return ""
	}
	return "?" + own.Encode()
}

// Export is the address of a file with the records that the filters select.
func (p *logsPage) Export(format string) string {
	own := p.filters()
	own.Set("format", format)
	return p.In("logs/export?" + own.Encode())
}

// filters are those of the page, as addresses have them.
func (p *logsPage) filters() url.Values {
	own, err := url.ParseQuery(strings.TrimPrefix(p.back, "?"))
	if err != nil {
		return url.Values{}
	}
	return own
}

// next is the address of the page after a row.
func (p *logsPage) next(r logRow) string {
	own := p.filters()
	own.Set("after", r.ID)
	return p.In("logs?" + own.Encode())
}

// shrink leaves rows to the next page, and then makes the texts of the open record shorter.
func (p *logsPage) shrink() bool {
	if p.Record != nil && len(p.Rows) <= 5 && p.Record.shrink() {
		return true
	}
	return moreAfter(&p.Rows, &p.More, p.next) || p.Record != nil && p.Record.shrink()
}

// Without is the address of the page without any filter.
func (p *logsPage) Without() string { return p.In("logs") }

// Close is the address of the list without the record.
func (p *logsPage) Close() string { return p.In("logs" + p.back) }

// tailLogs is the API's event stream, for the script of the page.
func (q *request) tailLogs() error { return q.stream("/v1/request_logs/tail", q.logQuery()) }

// exportLogs is the API's export, as a file to keep.
func (q *request) exportLogs() error {
	asked := q.logQuery()
	asked.Set("format", q.query("format"))
	if asked.Get("since") == "" {
		asked.Set("since", "24h")
	}
	return q.stream("/v1/request_logs/export", asked)
}

// recordAsJSON is a record as the API answers it.
func (q *request) recordAsJSON() error {
	found, err := q.record(q.r.PathValue("id"))
	if err != nil {
		return err
	}
	return q.stream("/v1/request_logs/"+url.PathEscape(found.record.ID), nil)
}

// stream passes an answer of the API on as it comes. The headers of pages stay where the API sets none.
func (q *request) stream(path string, asked url.Values) error {
	c := get(path, asked)
	c.header = http.Header{}
	for _, name := range []string{"Accept-Encoding", "Last-Event-Id"} {
		if v := q.r.Header.Get(name); v != "" {
			c.header.Set(name, v)
		}
	}
	r, err := q.apiRequest(c)
	if err != nil {
		return err
	}
	q.API.ServeHTTP(q.w, r)
	return nil
}
