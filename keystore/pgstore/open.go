package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// tables are those of this package.
var tables = postgres.Tables{
	Version: "keystile_schema", Steps: 1, Files: migrations, Empty: "it is no key store of this program, or a damaged one",
}

// Store is a store in a database. It is a [keystore.Shared].
type Store struct {
	place  string // where it is, without secrets
	config *pgxpool.Config
	pool   *pgxpool.Pool

	ready atomic.Bool // the tables are there, and of a version that is understood
	down  atomic.Bool // the last look at the head found nobody: until one does, nothing else is tried
	doubt atomic.Bool // nobody knows what became of a commit: only a server that takes writes can say

	waits struct { // what nothing hangs on but the time of who waits
		sync.Mutex
		all    context.Context //nolint:containedctx // the ground of many: see whileUp
		giveUp context.CancelFunc
	}

	hints chan struct{} // capacity 1: a commit is to be told to the others
	stop  chan struct{}
	done  chan struct{}
}

var _ keystore.Shared = (*Store)(nil)

// Check says what is wrong with a DSN. It connects to nothing.
func Check(dsn string) error { return postgres.Check(dsn) }

// Place is where a DSN points to, for people: without its password.
func Place(dsn string) string { return postgres.Place(dsn) }

// Open opens the store at a DSN and makes its tables if they are not there. If the server cannot be reached now, that is no
// error: what is asked of the store fails with [keystore.ErrAway] until it can.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := postgres.Parse(dsn)
	if err != nil {
		return nil, err
	}
	s := &Store{
		place: postgres.PlaceOf(config), config: config,
		hints: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, s.named(err)
	}
	if err := s.prepare(ctx); err != nil && !errors.Is(err, keystore.ErrAway) {
		s.pool.Close()
		return nil, err
	}
	go s.tell()
	return s, nil
}

// errDown is the answer while nobody answers: whoever asks is told at once, and does not wait for what the last one has
// waited for.
var errDown = fmt.Errorf("%w: it did not answer when it was last looked at", keystore.ErrAway)

// prepare goes before everything that is asked of the server but the look at its head, which finds out whether it answers.
func (s *Store) prepare(ctx context.Context) error {
	if s.down.Load() {
		return fmt.Errorf("the key store at %s: %w", s.place, errDown)
	}
	return s.setUp(ctx)
}

// whileUp is a context that ends, too, when a look at the head finds nobody. It is for what can be given up at any time: a commit
// that has begun cannot, because nobody would know what became of it.
func (s *Store) whileUp(ctx context.Context) (context.Context, context.CancelFunc) {
	s.waits.Lock()
	defer s.waits.Unlock()
	if s.waits.all == nil {
		s.waits.all, s.waits.giveUp = context.WithCancel(context.Background())
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.waits.all, cancel)
	return ctx, func() { stop(); cancel() }
}

// looked notes what a look at the head has found.
func (s *Store) looked(err error) {
	away := errors.Is(err, keystore.ErrAway)
	s.down.Store(away)
	if !away {
		return
	}
	s.waits.Lock()
	defer s.waits.Unlock()
	if s.waits.all != nil {
		s.waits.giveUp()
		s.waits.all = nil
	}
}

// setUp sees to it, once, that the tables are there.
func (s *Store) setUp(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	if err := postgres.Migrate(ctx, s.pool, tables); err != nil {
		return s.named(err)
	}
	// Nodes that were killed have not left. A standby keeps them.
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_nodes WHERE NOT (`+remembered+`)`, forgottenAfter.Seconds())
	if err != nil && postgres.State(err) != postgres.ReadOnly {
		return s.named(err)
	}
	s.ready.Store(true)
	return nil
}

// Close releases all connections.
func (s *Store) Close() error {
	select {
	case <-s.stop:
		return nil
	default:
	}
	close(s.stop)
	<-s.done
	s.pool.Close()
	return nil
}
