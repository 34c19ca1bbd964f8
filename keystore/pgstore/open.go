package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

	ready atomic.Bool // the tables are there, and of a version that is understood
	down  atomic.Bool // the last look at the head found nobody: until one does, nothing else is tried

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
	return fmt.Sprintf("postgres %s/%s", strings.Join(addresses(config.ConnConfig), ","), config.ConnConfig.Database)
}

// addresses are the servers that a DSN names, in its order. The driver tries one twice where it may be with TLS or without.
func addresses(c *pgx.ConnConfig) []string {
	address := func(host string, port uint16) string {
		if strings.HasPrefix(host, "/") {
			return host
		}
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	all := []string{address(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if a := address(f.Host, f.Port); !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// keepAlive finds out within half a minute that a server has vanished without a word.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 4}

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
	config.ConnConfig.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	if len(addresses(config.ConnConfig)) > 1 && config.ConnConfig.ValidateConnect == nil && !strings.Contains(dsn, "target_session_attrs") {
		// Of several servers the one that takes writes is meant, unless target_session_attrs says otherwise.
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
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

// setUp sees to it, once, that the tables are there.
func (s *Store) setUp(ctx context.Context) error {
	if s.ready.Load() {
		return nil
	}
	if err := s.migrate(ctx); err != nil {
		return s.named(err)
	}
	// Nodes that were killed have not left. A standby keeps them.
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_nodes WHERE NOT (`+remembered+`)`, forgottenAfter.Seconds())
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
