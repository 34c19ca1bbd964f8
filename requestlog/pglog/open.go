package pglog

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/requestlog"
)

//go:embed migrations/*.sql
var migrations embed.FS

// tables are those of this package.
var tables = postgres.Tables{Version: "keystile_log_schema", Steps: 1, Files: migrations, Empty: "it is not of this program, or damaged"}

// Store keeps records in a database, with a journal before it. All methods are safe for concurrent use, but for Write, which
// one goroutine calls at a time.
type Store struct {
	o       Options
	place   string // where the database is, without secrets
	node    string // names the rows that only this process writes
	logger  *zap.Logger
	journal *requestlog.Journal
	pool    *pgxpool.Pool
	asking  chan struct{} // one place for each query at a time: the shipper always finds a connection

	preparing chan struct{} // capacity 1: the place of who makes the tables
	unready   struct {      // the last failure, guarded by preparing
		at  time.Time
		err error
	}
	ready    atomic.Bool // the tables are there, and of a version that is understood
	lazy     atomic.Bool // the server would acknowledge commits before they are durable: each one asks for more
	compiles atomic.Bool // the server compiles long queries, which takes longer than these

	mu       sync.Mutex
	days     map[int]bool // partitions that were there
	offsets  map[requestlog.JournalFile]int64
	gone     int64         // bytes of the files that were shipped and deleted
	progress chan struct{} // closed and made anew when something was shipped
	marks    marks
	size     dbSize

	urgent   chan struct{} // capacity 1: ship now
	stop     context.CancelFunc
	finished chan struct{}
	house    chan struct{} // closed when the housekeeper has ended
	closing  sync.Once
	closed   atomic.Bool
	kick     chan struct{} // capacity 1: bounds have changed

	aged    *requestlog.AgeClock // says what is too old
	there   atomic.Pointer[serverTime]
	apart   atomic.Bool // the database's clock is behind, which was told
	bounds  atomic.Pointer[bounds]
	away    atomic.Bool
	batches atomic.Uint64
	expired atomic.Uint64
	skipped atomic.Uint64
	aside   atomic.Uint64
	errors  atomic.Uint64
	told    quiet
	houses  quiet
}

// Options configure [Open]. Dir and DSN must be given.
type Options struct {
	// DSN is the address of the database. It may hold a password, and is never printed.
	DSN string
	// Dir holds the journal. It is made (0700) if it does not exist, and belongs to one process at a time.
	Dir string
	// Node names this process among those that share the database. It must be another one for each process. Default: a random one.
	Node string
	// Retention and MaxSize bound what the database keeps: whole days are dropped, the oldest first, when they are older than
	// Retention, or while all together are larger than MaxSize bytes. The journal takes MaxSize bytes at most. Default 30 days
	// and 10 GiB.
	Retention time.Duration
	MaxSize   int64
	// ShipInterval is how long a record waits in the journal while all is well. Default 200 ms.
	ShipInterval time.Duration
	// QueryTime bounds one statement of a query, ListTime the work of one page. Default 10 s and 2 s.
	QueryTime time.Duration
	ListTime  time.Duration
	// JournalSize is the size of the journal's files. Default 16 MiB.
	JournalSize int64

	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Elapsed is how much time has passed since some moment, whatever is done to the clock. Default: since Open.
	Elapsed func() time.Duration
	// Logger hears of failures and recoveries, at a bounded rate. Default: nobody does.
	Logger *zap.Logger
	// FS is the file system of the journal. Default: the real one.
	FS requestlog.FS

	serverNow func(context.Context) (time.Time, error) // the database's clock, but for tests
}

const (
	defaultRetention = 30 * 24 * time.Hour
	defaultMaxSize   = 10 << 30
	// maxQueries is how many queries of one process are in the database at once.
	maxQueries = 5
	// prepareTime bounds the making of the tables.
	prepareTime = 30 * time.Second
	// startTime is how long the start waits for a database that does not answer.
	startTime = 5 * time.Second
)

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("a directory must be given")
	}
	for _, v := range []int64{int64(o.Retention), o.MaxSize, int64(o.ShipInterval), int64(o.QueryTime), int64(o.ListTime), o.JournalSize} {
		if v < 0 {
			return errors.New("sizes and times must not be negative")
		}
	}
	o.Retention = orDefault(o.Retention, defaultRetention)
	o.MaxSize = orDefault(o.MaxSize, defaultMaxSize)
	o.ShipInterval = orDefault(o.ShipInterval, 200*time.Millisecond)
	o.QueryTime = orDefault(o.QueryTime, 10*time.Second)
	o.ListTime = orDefault(o.ListTime, 2*time.Second)
	o.JournalSize = orDefault(o.JournalSize, 16<<20)
	if o.Node == "" {
		o.Node = strings.ToLower(rand.Text())
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		begun := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(begun) }
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.FS == nil {
		o.FS = requestlog.SystemFS()
	}
	return nil
}

func orDefault[T int64 | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Check says what is wrong with a DSN. It connects to nothing.
func Check(dsn string) error { return postgres.Check(dsn) }

// Place is where a DSN points to, for people: without its password.
func Place(dsn string) string { return postgres.Place(dsn) }

// Open opens the journal and the database, and makes the tables if they are not there. A database that cannot be reached now is no
// error: records wait in the journal, and queries fail with [requestlog.ErrUnavailable] until it can.
func Open(o Options) (*Store, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	config, err := postgres.Parse(o.DSN)
	if err != nil {
		return nil, err
	}
	s := &Store{
		o: o, place: postgres.PlaceOf(config), node: o.Node,
		days: make(map[int]bool), offsets: make(map[requestlog.JournalFile]int64), progress: make(chan struct{}),
		preparing: make(chan struct{}, 1),
		urgent:    make(chan struct{}, 1), finished: make(chan struct{}), house: make(chan struct{}), kick: make(chan struct{}, 1),
	}
	s.logger = o.Logger.With(zap.String("database", s.place))
	s.bounds.Store(&bounds{o.Retention, o.MaxSize})
	s.aged = requestlog.OpenAgeClock(requestlog.AgeClockOptions{Dir: o.Dir, Now: s.earlierNow, Elapsed: o.Elapsed, Logger: s.logger, FS: o.FS})
	// A caller who goes away takes the work for them along: the server is told, and has a moment to answer.
	config.ConnConfig.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: time.Second}
	}
	config.MaxConns = max(config.MaxConns, 3) // one for the shipper, one for the housekeeper
	s.asking = make(chan struct{}, min(config.MaxConns-2, maxQueries))
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, s.named(err)
	}
	first, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	switch err := s.prepare(first); {
	case err == nil:
	case errors.Is(err, requestlog.ErrUnavailable):
		s.isAway(err)
	default:
		s.pool.Close()
		return nil, err
	}
	// Nothing leaves the journal but what is in the database: Write watches its size.
	s.journal, err = requestlog.OpenJournal(requestlog.JournalOptions{
		Dir: o.Dir, Retention: math.MaxInt64 / 2, MaxSize: math.MaxInt64, MaxFileSize: o.JournalSize, MaxFileAge: time.Minute,
		Now: o.Now, Aged: s.aged.Now, Logger: o.Logger, FS: o.FS,
	})
	if err != nil {
		s.pool.Close()
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	s.markEarlier()
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.ship(ctx)
	go s.keepHouse(ctx)
	return s, nil
}

// prepare sees to it, once, that the tables are there.
func (s *Store) prepare(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	asked := time.Now()
	select { // no mutex: behind a database that does not answer many may wait, and give up
	case s.preparing <- struct{}{}:
		defer func() { <-s.preparing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.ready.Load() {
		return nil
	}
	if s.unready.at.After(asked) {
		return s.unready.err // who has waited behind others does not wait as long again
	}
	bounded, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	err := s.makeTables(bounded)
	if err != nil && ctx.Err() == nil {
		s.unready.at, s.unready.err = time.Now(), err
	}
	return err
}

// makeTables makes the tables, and looks at the server's settings.
func (s *Store) makeTables(ctx context.Context) error {
	if err := postgres.Migrate(ctx, s.pool, tables); err != nil {
		return s.named(err)
	}
	var encoding, durable, jit *string
	err := s.pool.QueryRow(ctx, `SELECT current_setting('server_encoding', true), current_setting('synchronous_commit', true), current_setting('jit', true)`).Scan(&encoding, &durable, &jit)
	switch {
	case err != nil:
		return s.named(err)
	case encoding != nil && *encoding != "UTF8":
		return s.named(fmt.Errorf("its encoding is %s, and must be UTF8", *encoding))
	}
	s.lazy.Store(durable != nil && *durable == "off")
	s.compiles.Store(jit != nil && *jit == "on")
	s.ready.Store(true)
	return nil
}

// named says which database an error is about. What the driver says names user and database, and never a password.
func (s *Store) named(err error) error {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case postgres.State(err) == postgres.QueryCanceled:
		return fmt.Errorf("the request log at %s: %w: it takes too long: %w", s.place, requestlog.ErrUnavailable, err)
	case postgres.Away(err) || postgres.Refused(err) || postgres.State(err) == postgres.LockNotAvailable || postgres.State(err) == postgres.ReadOnly:
		return fmt.Errorf("the request log at %s: %w: %w", s.place, requestlog.ErrUnavailable, err)
	}
	return fmt.Errorf("the request log at %s: %w", s.place, err)
}

// Close brings to the database what it takes within a moment, and releases everything. What is left is shipped by the next process
// that opens the directory.
func (s *Store) Close() error {
	var err error
	s.closing.Do(func() {
		s.closed.Store(true)
		s.stop()
		<-s.finished
		<-s.house
		s.aged.Close()
		err = s.journal.Close()
		s.pool.Close()
	})
	return err
}
