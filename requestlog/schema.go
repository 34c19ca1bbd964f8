package requestlog

import (
	"net/netip"
	"strconv"
	"time"
)

// ColumnKind is the type of a column's values.
type ColumnKind uint8

// The kinds of column.
const (
	ColumnText    ColumnKind = iota + 1 // UTF-8, without control characters, bounded by Column.MaxBytes
	ColumnInteger                       // 64 bits, signed
	ColumnTime                          // UTC, to the millisecond
	ColumnAddress                       // an IP address
	ColumnBool
)

// Column describes one field of a record. The table of columns is the only place that knows the fields' outside names:
// the journal, JSON, filters, CSV and Parquet all follow it. Columns may be added at the end; none is ever renamed.
type Column struct {
	Name     string // in JSON, CSV, Parquet and filters
	Kind     ColumnKind
	Unit     string // "us", "bytes", or ""
	MaxBytes int    // bound of a text; longer ones are cut
	Doc      string

	outside bool // the text is chosen by clients or backends: bounded before it is queued
	always  bool // written also when it is zero

	head    string // `"name":`, as a line has it
	text    func(*Record) *string
	integer func(*Record) int64
	setInt  func(*Record, int64)
	time    func(*Record) *time.Time
	address func(*Record) *netip.Addr
	boolean func(*Record) *bool
	filter  func(*Filter) *string // the exact-match filter of the same name
}

// columns is the schema, in the order in which records are written. "id" and "time" come first: readers of the journal
// rely on that to skip lines without decoding them.
var columns = []Column{
	{Name: "id", Kind: ColumnText, MaxBytes: 64, always: true, Doc: "Request id; sorts by time. Gap records have ids that begin with gap_.",
		text: func(r *Record) *string { return &r.ID }},
	{Name: "time", Kind: ColumnTime, always: true, Doc: "When the request began.",
		time: func(r *Record) *time.Time { return &r.Time }},
	{Name: "duration_us", Kind: ColumnInteger, Unit: "us", always: true, Doc: "Whole duration, gateway and backend.",
		integer: func(r *Record) int64 { return r.Duration.Microseconds() },
		setInt:  func(r *Record, v int64) { r.Duration = microseconds(v) }},
	{Name: "upstream_us", Kind: ColumnInteger, Unit: "us", always: true, Doc: "Time spent in the backend; 0 if it was not reached.",
		integer: func(r *Record) int64 { return r.Upstream.Microseconds() },
		setInt:  func(r *Record, v int64) { r.Upstream = microseconds(v) }},
	{Name: "method", Kind: ColumnText, MaxBytes: 32, outside: true, Doc: "HTTP method.",
		text: func(r *Record) *string { return &r.Method }, filter: func(f *Filter) *string { return &f.Method }},
	{Name: "path", Kind: ColumnText, MaxBytes: 2048, outside: true, Doc: "Path on which the decision was made.",
		text: func(r *Record) *string { return &r.Path }},
	{Name: "target", Kind: ColumnText, MaxBytes: 2048, outside: true, Doc: "Request target as received, query values redacted.",
		text: func(r *Record) *string { return &r.Target }},
	{Name: "query", Kind: ColumnText, MaxBytes: 1024, outside: true, Doc: "Query keys, without their values.",
		text: func(r *Record) *string { return &r.Query }},
	{Name: "host", Kind: ColumnText, MaxBytes: 255, outside: true, Doc: "Host that was asked.",
		text: func(r *Record) *string { return &r.Host }, filter: func(f *Filter) *string { return &f.Host }},
	{Name: "status", Kind: ColumnInteger, always: true, Doc: "HTTP status of the answer.",
		integer: func(r *Record) int64 { return int64(r.Status) },
		setInt:  func(r *Record, v int64) { r.Status = int(v) }},
	{Name: "decision", Kind: ColumnText, MaxBytes: 64, always: true, Doc: "allowed, open, preflight, the error code of a denial, or gap.",
		text: func(r *Record) *string { return &r.Decision }, filter: func(f *Filter) *string { return &f.Decision }},
	{Name: "required_permission", Kind: ColumnText, MaxBytes: 160, Doc: "Permission that the route asks for, as charges_write.",
		text: func(r *Record) *string { return &r.RequiredPermission }, filter: func(f *Filter) *string { return &f.RequiredPermission }},
	{Name: "key", Kind: ColumnText, MaxBytes: 64, Doc: "Id of the key.",
		text: func(r *Record) *string { return &r.Key }, filter: func(f *Filter) *string { return &f.Key }},
	{Name: "token_masked", Kind: ColumnText, MaxBytes: 64, outside: true, Doc: "Token as it may be shown: prefix and last four characters.",
		text: func(r *Record) *string { return &r.TokenMasked }},
	{Name: "kind", Kind: ColumnText, MaxBytes: 32, Doc: "Kind of the key: secret, publishable, restricted or organization.",
		text: func(r *Record) *string { return &r.Kind }, filter: func(f *Filter) *string { return &f.Kind }},
	{Name: "mode", Kind: ColumnText, MaxBytes: 16, Doc: "live or sandbox.",
		text: func(r *Record) *string { return &r.Mode }, filter: func(f *Filter) *string { return &f.Mode }},
	{Name: "sandbox", Kind: ColumnText, MaxBytes: 64, Doc: "Id of the sandbox.",
		text: func(r *Record) *string { return &r.Sandbox }, filter: func(f *Filter) *string { return &f.Sandbox }},
	{Name: "owner", Kind: ColumnText, MaxBytes: 64, Doc: "Account or organization that owns the key.",
		text: func(r *Record) *string { return &r.Owner }, filter: func(f *Filter) *string { return &f.Owner }},
	{Name: "account", Kind: ColumnText, MaxBytes: 64, outside: true, Doc: "Account acted on.",
		text: func(r *Record) *string { return &r.Account }, filter: func(f *Filter) *string { return &f.Account }},
	{Name: "resource", Kind: ColumnText, MaxBytes: 128, Doc: "Resource of the route, from the catalog.",
		text: func(r *Record) *string { return &r.Resource }, filter: func(f *Filter) *string { return &f.Resource }},
	{Name: "access", Kind: ColumnText, MaxBytes: 16, Doc: "Access that the route asks for: read or write.",
		text: func(r *Record) *string { return &r.Access }, filter: func(f *Filter) *string { return &f.Access }},
	{Name: "client_address", Kind: ColumnAddress, Doc: "Address of the client.",
		address: func(r *Record) *netip.Addr { return &r.Client }},
	{Name: "user_agent", Kind: ColumnText, MaxBytes: 512, outside: true, Doc: "User agent of the client.",
		text: func(r *Record) *string { return &r.UserAgent }},
	{Name: "api_version", Kind: ColumnText, MaxBytes: 64, outside: true, Doc: "API version of the request.",
		text: func(r *Record) *string { return &r.APIVersion }, filter: func(f *Filter) *string { return &f.APIVersion }},
	{Name: "idempotency_key", Kind: ColumnText, MaxBytes: 255, outside: true, Doc: "Idempotency key of the request.",
		text: func(r *Record) *string { return &r.IdempotencyKey }, filter: func(f *Filter) *string { return &f.IdempotencyKey }},
	{Name: "bytes_in", Kind: ColumnInteger, Unit: "bytes", always: true, Doc: "Bytes of the request's body.",
		integer: func(r *Record) int64 { return r.BytesIn }, setInt: func(r *Record, v int64) { r.BytesIn = v }},
	{Name: "bytes_out", Kind: ColumnInteger, Unit: "bytes", always: true, Doc: "Bytes of the answer's body.",
		integer: func(r *Record) int64 { return r.BytesOut }, setInt: func(r *Record, v int64) { r.BytesOut = v }},
	{Name: "upstream", Kind: ColumnText, MaxBytes: 255, outside: true, Doc: "Backend that answered.",
		text: func(r *Record) *string { return &r.UpstreamAddress }, filter: func(f *Filter) *string { return &f.UpstreamAddress }},
	{Name: "node", Kind: ColumnText, MaxBytes: 255, Doc: "Node of the fleet that took the request.",
		text: func(r *Record) *string { return &r.Node }, filter: func(f *Filter) *string { return &f.Node }},
	{Name: "tls", Kind: ColumnText, MaxBytes: 16, Doc: "TLS version; absent without TLS.",
		text: func(r *Record) *string { return &r.TLS }, filter: func(f *Filter) *string { return &f.TLS }},
	{Name: "protocol", Kind: ColumnText, MaxBytes: 16, outside: true, Doc: "HTTP version, as HTTP/2.0.",
		text: func(r *Record) *string { return &r.Protocol }, filter: func(f *Filter) *string { return &f.Protocol }},
	{Name: "error_type", Kind: ColumnText, MaxBytes: 64, outside: true, Doc: "Type of the answer's error.",
		text: func(r *Record) *string { return &r.ErrorType }, filter: func(f *Filter) *string { return &f.ErrorType }},
	{Name: "error_code", Kind: ColumnText, MaxBytes: 128, outside: true, Doc: "Code of the answer's error.",
		text: func(r *Record) *string { return &r.ErrorCode }, filter: func(f *Filter) *string { return &f.ErrorCode }},
	{Name: "error_message", Kind: ColumnText, MaxBytes: 1024, outside: true, Doc: "Message of the answer's error.",
		text: func(r *Record) *string { return &r.ErrorMessage }},
	{Name: "successor_used", Kind: ColumnBool, Doc: "The key presented is one that a rotation made, in the place of another.",
		boolean: func(r *Record) *bool { return &r.SuccessorUsed }},
	{Name: "lost", Kind: ColumnInteger, Doc: "Gap records: how many records are missing.",
		integer: func(r *Record) int64 { return r.Lost }, setInt: func(r *Record, v int64) { r.Lost = v }},
	{Name: "lost_from", Kind: ColumnTime, Doc: "Gap records: when the first record was lost.",
		time: func(r *Record) *time.Time { return &r.LostFrom }},
	{Name: "lost_to", Kind: ColumnTime, Doc: "Gap records: when the last record was lost.",
		time: func(r *Record) *time.Time { return &r.LostTo }},
	{Name: "request_headers", Kind: ColumnText, MaxBytes: maxCapturedText, Doc: "Headers of the request, as a JSON object, where a site captures them.",
		text: func(r *Record) *string { return &r.RequestHeaders }},
	{Name: "response_headers", Kind: ColumnText, MaxBytes: maxCapturedText, Doc: "Headers of the answer, as a JSON object, where a site captures them.",
		text: func(r *Record) *string { return &r.ResponseHeaders }},
	{Name: "request_body", Kind: ColumnText, MaxBytes: maxCapturedText, Doc: "Beginning of the request's body, redacted, where a site captures it.",
		text: func(r *Record) *string { return &r.RequestBody }},
	{Name: "response_body", Kind: ColumnText, MaxBytes: maxCapturedText, Doc: "Beginning of the answer's body, redacted, where a site captures it.",
		text: func(r *Record) *string { return &r.ResponseBody }},
}

// maxCapturedText bounds a captured text, whose own bound is lower: what is spelled out in it may make it longer.
const maxCapturedText = MaxCapturedBody + 4<<10

// Columns lists the schema, in the order in which records are written. The slice is the caller's.
func Columns() []Column { return append([]Column(nil), columns...) }

// Text is the column's value as text, "" if it is absent: what a CSV cell or a table shows.
func (c *Column) Text(r *Record) string {
	switch c.Kind {
	case ColumnText:
		return *c.text(r)
	case ColumnInteger:
		if v := c.integer(r); v != 0 || c.always {
			return strconv.FormatInt(v, 10)
		}
	case ColumnTime:
		if t := *c.time(r); !t.IsZero() {
			return string(appendTime(nil, t))
		}
	case ColumnAddress:
		if a := *c.address(r); a.IsValid() {
			return a.String()
		}
	case ColumnBool:
		if *c.boolean(r) {
			return "true"
		}
	}
	return ""
}

// columnByName, textColumns, timeColumns and outsideColumns are derived from the schema once.
var (
	columnByName   = make(map[string]*Column, len(columns))
	textColumns    []*Column
	timeColumns    []*Column
	outsideColumns []*Column
)

func init() {
	for i := range columns {
		c := &columns[i]
		columnByName[c.Name] = c
		c.head = `"` + c.Name + `":`
		switch c.Kind {
		case ColumnText:
			textColumns = append(textColumns, c)
		case ColumnTime:
			timeColumns = append(timeColumns, c)
		}
		if c.outside {
			outsideColumns = append(outsideColumns, c)
		}
	}
}

// microseconds is v µs as a duration. Absurd values, which only a damaged file can hold, become the largest duration.
func microseconds(v int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Microsecond)
	return time.Duration(min(max(v, -most), most)) * time.Microsecond
}
