package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore"
)

const (
	// channel carries the hint that the head has moved.
	channel = "keystile"
	// watchInterval is how often the head is looked at whatever the hints say.
	watchInterval = 250 * time.Millisecond
	// lookTimeout bounds one look: a server that has not said within it where its head is answers nobody.
	lookTimeout = 3 * time.Second
	// setUpTimeout bounds the making of the tables, of a server that answers: other nodes may be making them.
	setUpTimeout = 30 * time.Second
	// watchTimeout bounds a hint, and the beginning of listening to them.
	watchTimeout = 5 * time.Second
	// listenRetry is how long a listener that failed waits before it tries again.
	listenRetry = 2 * time.Second
)

// lazily makes the transaction that it stands in one that does not wait for the disk, or for a standby, when it commits. It is
// for what a crash may undo.
const lazily = `set_config('synchronous_commit', 'off', true)`

// hint tells the others that the head has moved. It never waits: a hint that is lost costs a quarter of a second.
func (s *Store) hint() {
	select {
	case s.hints <- struct{}{}:
	default:
	}
}

// tell sends the hints of this process until Close. It is apart from the commits, so that an engine without NOTIFY fails
// here and not there.
func (s *Store) tell() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			return
		case <-s.hints:
		}
		ctx, cancel := context.WithTimeout(context.Background(), watchTimeout)
		// NOTIFY commits, and waits for the disk as any commit does: half of the way of a revocation would be that wait. A hint
		// that a crash loses is no loss.
		_, err := s.pool.Exec(ctx, `SELECT `+lazily+`, pg_notify($1, '')`, channel)
		cancel()
		if postgres.State(err) == postgres.UndefinedFunction {
			<-s.stop
			return
		}
	}
}

// Watch calls seen with the head until ctx ends.
func (s *Store) Watch(ctx context.Context, seen func(keystore.Sighting, error)) error {
	told := make(chan struct{}, 1)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		s.listen(ctx, told)
	}()
	defer func() { <-listening }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-told:
		case <-timer.C:
		}
		sighting, err := s.Look(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		seen(sighting, err)
		timer.Reset(watchInterval)
	}
}

// Look reads the head, and finds out of when it is. What it meets decides whether anything else is tried: a server that has
// vanished without a word would keep everybody waiting, one after the other.
func (s *Store) Look(ctx context.Context) (keystore.Sighting, error) {
	at, err := s.look(ctx)
	s.looked(err)
	return at, err
}

func (s *Store) look(ctx context.Context) (at keystore.Sighting, err error) {
	if !s.ready.Load() {
		if err := s.firstLook(ctx); err != nil {
			return at, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	at.At = time.Now()
	var standby bool
	var behind *float64
	err = scanHead(s.pool.QueryRow(ctx, `SELECT revision, events, hash, current_setting('transaction_read_only') = 'on',
		(SELECT extract(epoch FROM clock_timestamp() - max(seen))::float8 FROM keystile_nodes) FROM keystile_head`), &at.Head, &standby, &behind)
	if err != nil {
		return at, s.named(err)
	}
	if standby {
		// It says what was true when it last heard of its primary. The nodes that can write do so every second.
		if behind == nil {
			return keystore.Sighting{Head: at.Head}, nil
		}
		at.At = at.At.Add(-time.Duration(max(0, *behind) * float64(time.Second)))
	}
	return at, nil
}

// firstLook finds out whether anybody answers before the tables are asked for, which may take longer.
func (s *Store) firstLook(ctx context.Context) error {
	answering, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if _, err := s.pool.Exec(answering, `SELECT 1`); err != nil {
		return s.named(err)
	}
	ctx, cancelSetUp := context.WithTimeout(ctx, setUpTimeout)
	defer cancelSetUp()
	return s.setUp(ctx)
}

// listen hands on the hints of the others. It has a connection of its own, outside of the pool.
func (s *Store) listen(ctx context.Context, told chan<- struct{}) {
	for ctx.Err() == nil {
		s.listenOnce(ctx, told)
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context, told chan<- struct{}) {
	connecting, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(connecting, s.config.ConnConfig.Copy())
	if err != nil {
		return
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if _, err := conn.Exec(connecting, `LISTEN `+channel); err != nil {
		return
	}
	for {
		select {
		case told <- struct{}{}: // the first time for what was said before anybody listened
		default:
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}
