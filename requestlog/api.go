// Package requestlog keeps one record of every request that reached the gateway, and finds it again.
package requestlog

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// ErrNotFound is returned by Get for an id that is not (or no longer) in the log.
var ErrNotFound = errors.New("requestlog: no such record")

// Record is one request, as contract section 6 lists it. Text fields are plain strings: this room knows no other type.
type Record struct {
	ID                 string        // "req_…", see NewID; "gap_…" for a gap record
	Time               time.Time     // when the request began, UTC, kept to the millisecond
	Duration           time.Duration // whole, gateway and backend; kept to the microsecond
	Upstream           time.Duration // spent in the next handler, 0 if never reached; kept to the microsecond
	Method             string
	Path               string // as decided
	Target             string // raw, query values redacted (RedactTarget)
	Query              string // query keys only, "&"-joined, as "limit=&starting_after=" (RedactQuery)
	Host               string
	Status             int
	Decision           string // "allowed", "open", "preflight", or the error code; "gap" for a gap record
	RequiredPermission string
	Key                string
	TokenMasked        string
	Kind, Mode         string
	Sandbox, Owner     string
	Account            string
	Resource, Access   string
	Client             netip.Addr
	UserAgent          string
	APIVersion         string
	IdempotencyKey     string
	BytesIn, BytesOut  int64
	UpstreamAddress    string
	Node               string // filled with Options.Node if empty
	TLS, Protocol      string // "1.3", "HTTP/2.0"
	ErrorType          string // from the backend's JSON error body, or our own
	ErrorCode          string
	ErrorMessage       string
	SuccessorUsed      bool // rotation successor used or not

	// Lost is 0 for a request. A gap record says that Lost records between LostFrom and LostTo were dropped.
	Lost             int64
	LostFrom, LostTo time.Time
}

// IsGap says whether the record stands for dropped records rather than for a request.
func (r *Record) IsGap() bool { return r.Lost > 0 }

// NewID makes a request id of the time: "req_" and 19 base62 characters that sort by time.
func NewID(now time.Time) string { panic("sketch") }

// RedactQuery keeps the keys of a raw query string and nothing of the values: "limit=&starting_after=".
func RedactQuery(rawQuery string) string { panic("sketch") }

// RedactTarget keeps path and query keys of a raw request target: "/v1/charges?limit=***".
func RedactTarget(target string) string { panic("sketch") }

// ScrubTokens masks everything in s that looks like one of our tokens.
func ScrubTokens(s string) string { panic("sketch") }

// Options of Open.
type Options struct {
	Dir           string           // where the journal lives; made (0700) if it does not exist
	Store         Store            // instead of the journal in Dir
	Node          string           // name of this node, for records that have none
	QueueSize     int              // records; default 8192
	FlushInterval time.Duration    // default 100 ms, at most 200 ms
	Retention     time.Duration    // whole files older than this are deleted; default 30 days
	MaxSize       int64            // bytes of all files together; default 10 GiB
	Now           func() time.Time // default time.Now
	Logger        *zap.Logger      // default none
}

// Store keeps records.
type Store interface{ io.Closer }

// Log is the request log.
type Log struct{}

// Open opens the log.
func Open(o Options) (*Log, error) { panic("sketch") }

// NewRecord hands out a zeroed record to fill; Append takes it back. Both are safe for concurrent use.
func (l *Log) NewRecord() *Record { panic("sketch") }

// Append queues the record and never blocks. The record is the log's from then on. false: dropped (and counted).
func (l *Log) Append(r *Record) bool { panic("sketch") }

// Ready says whether there is room in the queue (for on_overload deny).
func (l *Log) Ready() bool { panic("sketch") }

// Stats for metrics.
func (l *Log) Stats() Stats { panic("sketch") }

// Stats are counts since Open. Appended = Stored + Dropped + Queued, always.
type Stats struct {
	Queued   int    // accepted, not yet stored
	Capacity int    // of the queue
	Appended uint64 // calls of Append
	Stored   uint64
	Dropped  uint64
	Gaps     uint64 // gap records written
	Errors   uint64 // failed writes
	Skipped  uint64 // unreadable lines met by readers
}

// Observe registers f to be called from the writer goroutine for each stored record. Never on the request path.
func (l *Log) Observe(f func(*Record)) { panic("sketch") }

// Filter of a query; zero fields do not filter.
type Filter struct {
	Key, Account, Owner, Kind, Mode, Sandbox string
	Method, Host                             string
	Path                                     string // prefix, or glob if it has a "*"
	Resource, Access, RequiredPermission     string
	Decision, ErrorType, ErrorCode           string
	APIVersion, IdempotencyKey, Node         string
	RequestID                                string
	StatusMin, StatusMax                     int          // inclusive; "4xx" is 400, 499
	Client                                   netip.Prefix // one address: the full length
	Since, Until                             time.Time    // Since inclusive, Until exclusive; of Record.Time
	// Within limits to records whose Account or Owner is one of these ids (what an admin token may see). Not settable by ParseFilter.
	Within []string
}

// FilterError names the filter that is wrong.
type FilterError struct {
	Param  string // the filter's name
	Reason string // what is wrong and what would be right
}

func (e *FilterError) Error() string { return e.Param + ": " + e.Reason }

// ParseFilter reads filters by their JSON names, as of a URL query (url.Values fits). An unknown name is a *FilterError.
// since and until take RFC 3339, a date, or a duration before now ("24h", "30d").
func ParseFilter(values map[string][]string, now time.Time) (Filter, error) { panic("sketch") }

// FilterNames lists the names that ParseFilter knows.
func FilterNames() []string { panic("sketch") }

// Page is one page of a list, newest first.
type Page struct {
	Records []*Record
	More    bool
	// Next is the cursor of the next page ("" if !More): the last record's id, or, when the bounded work of one page ended
	// early (perhaps with no record at all), a position between records. Give it as startingAfter.
	Next string
}

// List answers one page (limit 1 to 1000), newest first, of records after the cursor (a record id, or Page.Next; "" from the newest).
func (l *Log) List(ctx context.Context, f Filter, limit int, startingAfter string) (Page, error) {
	panic("sketch")
}

// Get answers one record, or ErrNotFound.
func (l *Log) Get(ctx context.Context, id string) (*Record, error) { panic("sketch") }

// Tail calls fn for each new record until ctx ends or fn fails. A slow fn loses records and gets a gap record that counts
// them; it never slows the gateway.
func (l *Log) Tail(ctx context.Context, f Filter, fn func(*Record) error) error { panic("sketch") }

// Flush waits until everything appended before is stored and visible (tests, and read-your-writes).
func (l *Log) Flush(ctx context.Context) error { panic("sketch") }

// Close stores everything acknowledged and closes the log.
func (l *Log) Close() error { panic("sketch") }
