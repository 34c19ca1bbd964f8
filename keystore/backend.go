package keystore

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// Backend is where the store's rows and events are durable. It moves bytes and knows nothing of their meaning; the
// encoding is the store's (codec.go), so that every backend keeps the same.
//
// The interface is internal: it changes with the store. Do not implement it outside of this module. What a backend must
// do is in the conformance suite of package keystoretest.
//
// All methods may be called from several goroutines, but the store never has two calls of Commit under way. A backend that
// several processes write to is a [Shared] as well.
type Backend interface {
	// Load calls row for each stored row, and returns the head that the rows stand for. All rows are of one moment. The
	// row's Data is valid only during the call. An error of row ends the load and is returned.
	Load(ctx context.Context, row func(Row) error) (Head, error)

	// Commit makes c durable as a whole or not at all. It MUST answer [ErrStale] and change nothing if the backend's
	// head is not c.Previous. A nil answer means that a crash of the machine at any later moment does not lose it. Any
	// other error leaves open whether it happened: the store then asks Head.
	Commit(ctx context.Context, c *Commit) error

	// Stage durably stores rows that nobody sees until a commit names the stage: Load does not show them. It may be called
	// several times for one stage, with rows of rising ids.
	Stage(ctx context.Context, stage Stage, rows []Row) error
	// Unstage removes the rows of a stage that no commit has named, "" those of all. An unknown stage is no error.
	Unstage(ctx context.Context, id string) error

	// Head is the newest durable head, read from where Commit wrote it and not from memory.
	Head(ctx context.Context) (Head, error)

	// Events calls event for the events with sequence numbers from first to last, both included, in this order, or from
	// last down to first if backwards. Bodies are valid only during the call. An error of event ends it.
	Events(ctx context.Context, first, last uint64, backwards bool, event func(EventRow) error) error

	// SaveUsage keeps the last use of keys; it is no commit, has no event, and may be lost in a crash.
	SaveUsage(ctx context.Context, rows []UsageRow) error
	// LoadUsage calls row for every saved use that is not older than a time; the zero time is older than all.
	LoadUsage(ctx context.Context, since time.Time, row func(UsageRow) error) error

	// Meta is a small value that is no row, nil if there is none.
	Meta(ctx context.Context, name string) ([]byte, error)
	// SwapMeta sets a small value if it is still old (nil: absent), durably, and says whether it did.
	SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error)

	// Keep stores values that have an end, and removes others, in one durable step. It is no commit and has no event.
	Keep(ctx context.Context, put []KeptRow, remove []string) error
	// Kept is one kept value, nil if there is none. Its Data is the caller's.
	Kept(ctx context.Context, id string) (*KeptRow, error)
	// SwapKept gives kept values other Data in one durable step, each only if it still is what it was, and says of each whether
	// it did. None is made that is not there.
	SwapKept(ctx context.Context, swaps []KeptSwap) ([]bool, error)
	// LoadKept calls row for every kept value. The row's Data is valid only during the call.
	LoadKept(ctx context.Context, row func(KeptRow) error) error

	// Close releases everything. The backend cannot be used after it.
	Close() error
}

// ErrStale is the answer to a commit on a head that is not the backend's: somebody else wrote.
var ErrStale = errors.New("the store was changed by somebody else")

// Table says what a row is. The numbers are stored: they never change.
type Table uint8

// The tables.
const (
	TableOrganization Table = 1
	TableAccount      Table = 2
	TableSandbox      Table = 3
	TableKey          Table = 4
	TableAdminToken   Table = 5
	TableWebhook      Table = 6
	TableMember       Table = 7
	TableSession      Table = 8
)

// Row is one stored object.
type Row struct {
	Table Table
	ID    string
	Data  []byte // encoded by the store; in a commit, nil removes the row
}

// EventRow is one stored event: Body is its canonical encoding, and what is hashed.
type EventRow struct {
	Seq  uint64 // 1 and up, without gaps
	Body []byte
}

// Head is the newest state of a backend: how many commits and events it holds, and the hash of the last event.
type Head struct {
	Revision uint64
	Events   uint64
	Hash     [sha256.Size]byte // of the newest event's body; zero if there is none
}

// Commit is one change: rows and events that become durable together.
type Commit struct {
	Previous Head // what the backend's head must be
	Next     Head // what it is afterwards
	Rows     []Row
	Events   []EventRow
	Turn     bool   // whoever makes it holds the turn, see [Shared]
	Stage    string // the stage whose rows become visible, "" none; an unknown one is an error
}

// KeptRow is a value that is kept until it expires and then destroyed: a saved answer of the admin API. Data is sealed.
type KeptRow struct {
	ID      string
	Expires time.Time // UTC, whole milliseconds
	Data    []byte
}

// KeptSwap is other Data for a kept value, unless somebody has changed or removed it meanwhile.
type KeptSwap struct {
	ID        string
	Old, Data []byte
}

// UsageRow is the last use of one key or admin token.
type UsageRow struct {
	KeyID string
	Usage Usage
}

// String is the table's name for people.
func (t Table) String() string {
	switch t {
	case TableOrganization:
		return "organization"
	case TableAccount:
		return "account"
	case TableSandbox:
		return "sandbox"
	case TableKey:
		return "key"
	case TableAdminToken:
		return "admin token"
	case TableWebhook:
		return "webhook endpoint"
	case TableMember:
		return "member"
	case TableSession:
		return "session"
	}
	return "row of an unknown table"
}
