package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystile/keystile/keystore"
)

// Limits of the connection, where the DSN says nothing.
const (
	connectTimeout = 5 * time.Second
	maxConnections = 8
)

// Store is a store in a database. It is a [keystore.Shared].
type Store struct {
	place  string // where it is, without secrets
	config *pgxpool.Config
	pool   *pgxpool.Pool

	ready   atomic.Bool // the tables are there, and of a version that is understood
	durable atomic.Bool // the server would acknowledge commits before they are durable: each one asks for more

	hints chan struct{} // capacity 1: a commit is to be told to the others
	stop  chan struct{}
	done  chan struct{}
}

var _ keystore.Shared = (*Store)(nil)

// Check says what is wrong with a DSN. It connects to nothing.
func Check(dsn string) error {
	_, err := parse(dsn)
	return err
}

// Place is where a DSN points to, for people: without its password.
func Place(dsn string) string {
	config, err := parse(dsn)
	if err != nil {
		return "an unreadable address"
	}
	return place(config)
}

func parse(dsn string) (*pgxpool.Config, error) {
	if strings.TrimSpace(dsn) == "" {
		return nil, errors.New("the address of the database is empty")
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// Not err: the driver quotes what it could not read, and leaves out the password only where it found one.
		return nil, errors.New("the address of the database cannot be read: give it as postgres://user:password@host:5432/database, or as key=value pairs")
	}
	return config, nil
}

func place(config *pgxpool.Config) string {
	c := config.ConnConfig
	address := c.Host
	if !strings.HasPrefix(c.Host, "/") {
		address = net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
	}
	return fmt.Sprintf("postgres %s/%s", address, c.Database)
}

// Open opens the store at a DSN and makes its tables if they are not there. If the server cannot be reached now, that is no
// error: what is asked of the store fails with [keystore.ErrAway] until it can.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	// No statement outlives its transaction: the next one may be on another connection behind a pooler.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnConfig.ConnectTimeout == 0 || config.ConnConfig.ConnectTimeout > time.Minute {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(dsn, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	if _, set := config.ConnConfig.RuntimeParams["application_name"]; !set {
		config.ConnConfig.RuntimeParams["application_name"] = "keystile"
	}
	s := &Store{
		place: place(config), config: config,
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

// prepare sees to it, once, that the tables are there.
func (s *Store) prepare(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	if err := s.migrate(ctx); err != nil {
		return s.named(err)
	}
	var lazy *string
	if err := s.pool.QueryRow(ctx, `SELECT current_setting('synchronous_commit', true)`).Scan(&lazy); err != nil {
		return s.named(err)
	}
	s.durable.Store(lazy != nil && *lazy == "off")
	// Nodes that were killed have not left. A standby keeps them.
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_nodes WHERE seen <= now() - make_interval(secs => $1)`, forgottenAfter.Seconds())
	if err != nil && state(err) != stateReadOnly {
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
