package requestlog

import (
	"context"
	"errors"
	"time"
)

// Errors of the log and its stores.
var (
	// ErrNotFound: no record has the id, or it is no longer kept.
	ErrNotFound = errors.New("no such request record")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the request log is closed")
	// ErrUnavailable: what the store reads from cannot be reached now, or answers too slowly. Records are kept meanwhile.
	ErrUnavailable = errors.New("the request log cannot be read now")
	// ErrTooManyTails: as many live tails as one process serves are open.
	ErrTooManyTails = errors.New("too many live tails of the request log are open")
)

// Store keeps records. The suite in requestlogtest says what an implementation must do.
//
// Write is called by one goroutine at a time; the other methods by any number, also during a Write.
type Store interface {
	// Write keeps the records, which are clean and complete, and answers how many of them it kept, counted from the front:
	// those can be read and survive the process from then on. The others (err is not nil then) will be given again.
	// Write neither keeps nor changes the records. Records come in the order in which requests ended, so that an id may be
	// smaller than the ids before it.
	Write(records []*Record) (stored int, err error)

	// List answers one page, newest first.
	List(ctx context.Context, q Query) (Page, error)

	// Get answers the record of the id, or ErrNotFound.
	Get(ctx context.Context, id string) (*Record, error)

	// Histogram counts records by time and group. The query is checked.
	Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error)

	// KeySummary answers what a key did; the zero summary if there are no records of it.
	KeySummary(ctx context.Context, key string) (*KeySummary, error)

	// Stats answers what the store knows of itself.
	Stats() StoreStats

	// Close makes everything kept durable and releases the store.
	Close() error
}

// RetentionSetter is a store whose bounds can be changed while it is open.
type RetentionSetter interface {
	// SetRetention sets the age and the size, in bytes, of what is kept; 0 stands for the default. It does not wait for
	// what is deleted then.
	SetRetention(age time.Duration, size int64)
}

// Feeder is a store that several processes write to. What its tails show comes from the store, so that they show the records of
// all processes, in one order that is the same wherever one listens.
type Feeder interface {
	// Feed begins behind the record that was stored last, and answers the ids of so many records before that, in the order in
	// which they were stored.
	Feed(ctx context.Context, remember int) (Feed, []string, error)
}

// Feed answers what is stored, in order and without a gap. It is for one goroutine.
type Feed interface {
	// Next answers what was stored since the last call, a part at a time; nothing if there is nothing now. lost is how many
	// records before those are passed over, since this feed was too far behind. After an error the same is asked again.
	Next(ctx context.Context) (records []*Record, lost int64, err error)
}

// Query asks for one page of records.
type Query struct {
	Filter Filter
	Limit  int    // 1 to MaxLimit; a page of much captured text is shorter
	After  string // a record's id or Page.Next; "" for the newest
}

// MaxLimit is the most records of one page.
const MaxLimit = 1000

// MaxPageBytes bounds the captured text of one page: behind the record that goes beyond it, the page ends. Captured headers and
// bodies may be two hundred times as long as the rest of a record.
const MaxPageBytes = 4 << 20

// PageRoom is how much captured text a page that is being gathered still takes.
type PageRoom struct{ taken int }

// Full says whether the page ends here.
func (p *PageRoom) Full() bool { return p.taken >= MaxPageBytes }

// Take notes a record of the page.
func (p *PageRoom) Take(r *Record) { p.taken += r.CapturedBytes() }

// Fit is how many of the records, which come next in this order, the page can take, as far as is known by now: what comes behind
// those need not be remembered.
func (p PageRoom) Fit(next []*Record) (n int) {
	for n < len(next) && !p.Full() {
		p.Take(next[n])
		n++
	}
	return n
}

// Page is one page of a list, newest first.
type Page struct {
	Records []*Record
	// More says that records may follow.
	More bool
	// Next is the cursor of the following page, "" if !More. It is the last record's id, or, where the bounded work of
	// one page ended before the page was full (perhaps with no record at all), a position between records.
	Next string
}

// StoreStats are what a store knows of itself.
type StoreStats struct {
	Files    int    // files on disk
	Sealed   int    // those of them that were brought into their final form
	Bytes    int64  // the size of all together
	Skipped  uint64 // unreadable lines met so far: torn by a crash, or damaged
	SetAside uint64 // damaged files taken out of the log so far, and kept under another name
	Errors   uint64 // failures beside Write's: syncing, sealing, reading, deleting

	// Backlog is nil for a store that keeps records where they are written.
	Backlog *Backlog
}

// Backlog is what a store has taken and not yet brought to where all processes read it.
type Backlog struct {
	Records int64         // about, for those of an earlier process
	Bytes   int64         // on the local disk
	Age     time.Duration // of the oldest of them; 0: there are none
	Batches uint64        // that were brought there
	Expired uint64        // records that were too old by then to be kept
	Away    bool          // it cannot be reached
}
