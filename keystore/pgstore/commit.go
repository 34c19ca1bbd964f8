package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore"
)

// orphanTime is how long the server waits for the next word of a transaction. A node that vanishes in the middle of a
// commit holds the head for so long, and with it the writes of all others.
const orphanTime = 10 * time.Second

// Commit writes rows, events and head in one serialisable transaction.
func (s *Store) Commit(ctx context.Context, c *keystore.Commit) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return s.unchanged(err)
	}
	tx, err := s.begin(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable})
	if err != nil {
		return s.unchanged(err)
	}
	if err := s.commit(ctx, tx, c); err != nil {
		// Nobody has said COMMIT, and nobody will: the server undoes the transaction, also if it does not hear of this.
		undo(ctx, tx)
		if postgres.Lost(err) || errors.Is(err, keystore.ErrStale) {
			return keystore.ErrStale
		}
		return s.unchanged(err)
	}
	switch err := tx.Commit(ctx); {
	case postgres.Lost(err):
		return keystore.ErrStale
	case err != nil:
		s.doubt.Store(true)
		return s.named(err)
	}
	s.hint()
	return nil
}

// begin begins a transaction. It is the first word of a change: that it is not answered is no reason to wait for as long as a
// commit may take.
func (s *Store) begin(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	ctx, done := s.whileUp(ctx)
	defer done()
	return s.pool.BeginTx(ctx, o)
}

// unchanged is an error of a commit that has surely not happened.
func (s *Store) unchanged(err error) error {
	return fmt.Errorf("%w: %w", keystore.ErrUnchanged, s.named(err))
}

func (s *Store) commit(ctx context.Context, tx pgx.Tx, c *keystore.Commit) error {
	batch := new(pgx.Batch)
	queueLimits(batch)
	if !c.Turn {
		batch.Queue(lockTurn)
	}
	limits := batch.Len()
	// The head comes first: whoever has written it holds it until the end, and who reads it under a lock learns of it then.
	batch.Queue(`UPDATE keystile_head SET revision = $1, events = $2, hash = $3 WHERE revision = $4 AND events = $5 AND hash = $6`,
		int64(c.Next.Revision), int64(c.Next.Events), c.Next.Hash[:], int64(c.Previous.Revision), int64(c.Previous.Events), c.Previous.Hash[:])
	if c.Stage != "" {
		batch.Queue(`UPDATE keystile_stages SET revision = $1 WHERE id = $2 AND revision IS NULL`, int64(c.Next.Revision), c.Stage)
	}
	if len(c.Rows) > 0 {
		queueRows(batch, c.Rows, c.Next.Revision)
	}
	if len(c.Events) > 0 {
		seqs, bodies := make([]int64, 0, len(c.Events)), make([][]byte, 0, len(c.Events))
		for _, e := range c.Events {
			seqs, bodies = append(seqs, int64(e.Seq)), append(bodies, e.Body)
		}
		batch.Queue(`INSERT INTO keystile_events (seq, body) SELECT * FROM unnest($1::bigint[], $2::bytea[])`, seqs, bodies)
	}
	results := tx.SendBatch(ctx, batch)
	err := func() error {
		for range limits {
			if _, err := results.Exec(); err != nil {
				return err
			}
		}
		tag, err := results.Exec()
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return keystore.ErrStale
		}
		if c.Stage != "" {
			if tag, err = results.Exec(); err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return fmt.Errorf("there is no stage %s", c.Stage)
			}
		}
		return nil
	}()
	// Close reads the rest, and answers the first error in it; after an error above, that one counts.
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return err
}

// undo ends a transaction as if it had not been, and waits a moment for that.
func undo(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// lockTurn waits for who has the turn. The lock changes nothing, so that it is no reason for a transaction to fail.
const lockTurn = `SELECT one FROM keystile_turn FOR UPDATE`

// Turn takes the turn, in a transaction of its own that does nothing else.
func (s *Store) Turn(ctx context.Context) (done func(), err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	tx, err := s.begin(ctx, pgx.TxOptions{})
	if err != nil {
		return nil, s.named(err)
	}
	done = func() { undo(ctx, tx) } // else the server ends it
	batch := new(pgx.Batch)
	queueLimits(batch)
	batch.Queue(lockTurn)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		done()
		return nil, s.named(err)
	}
	return done, nil
}

// queueLimits queues what a writing transaction asks of the server for itself.
func queueLimits(batch *pgx.Batch) {
	batch.Queue(fmt.Sprintf(`SET LOCAL idle_in_transaction_session_timeout = %d`, orphanTime.Milliseconds()))
	// A server that would acknowledge what is not durable yet is asked for more. It is asked each time: another one may stand in
	// its place by now.
	batch.Queue(`SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit', true) = 'off'`)
}

// queueRows queues rows of a commit. The last one of several with the same id counts, as in a table.
func queueRows(batch *pgx.Batch, rows []keystore.Row, revision uint64) {
	type key struct {
		table keystore.Table
		id    string
	}
	at := make(map[key]int, len(rows))
	tables, ids, data := make([]int16, 0, len(rows)), make([]string, 0, len(rows)), make([][]byte, 0, len(rows))
	for _, r := range rows {
		k := key{r.Table, r.ID}
		if i, twice := at[k]; twice {
			data[i] = r.Data
			continue
		}
		at[k] = len(ids)
		tables, ids, data = append(tables, int16(r.Table)), append(ids, r.ID), append(data, r.Data)
	}
	batch.Queue(`INSERT INTO keystile_rows (tbl, id, data, revision)
		SELECT t, i, d, $4::bigint FROM unnest($1::smallint[], $2::text[], $3::bytea[]) AS n (t, i, d)
		ON CONFLICT (tbl, id) DO UPDATE SET data = excluded.data, revision = excluded.revision, stage = NULL`,
		tables, ids, data, int64(revision))
}

const (
	selectHead = `SELECT revision, events, hash FROM keystile_head`
	lockedHead = selectHead + ` FOR UPDATE`
)

// errBehind is the answer where a standby is asked what became of a commit.
var errBehind = fmt.Errorf("%w: a standby answers in its place, which may not know of the newest changes yet", keystore.ErrAway)

// Head reads the head under a lock: a commit whose answer was lost on its way is over by then, one way or the other. A standby has
// no such lock and may be behind: it is believed only where no commit is in doubt.
func (s *Store) Head(ctx context.Context) (head keystore.Head, err error) {
	if err := s.prepare(ctx); err != nil {
		return head, err
	}
	err = scanHead(s.pool.QueryRow(ctx, lockedHead), &head)
	if postgres.State(err) == postgres.ReadOnly {
		// Perhaps it takes writes of who asks for it. A server in recovery does not begin such a transaction.
		err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{AccessMode: pgx.ReadWrite}, func(tx pgx.Tx) error {
			return scanHead(tx.QueryRow(ctx, lockedHead), &head)
		})
	}
	switch {
	case err == nil:
		s.doubt.Store(false)
	case postgres.State(err) == "" || postgres.Away(err):
	case s.doubt.Load():
		err = errors.Join(errBehind, err)
	default:
		err = scanHead(s.pool.QueryRow(ctx, selectHead), &head)
	}
	return head, s.named(err)
}

func scanHead(row pgx.Row, head *keystore.Head, more ...any) error {
	var revision, events int64
	var hash []byte
	if err := row.Scan(append([]any{&revision, &events, &hash}, more...)...); err != nil {
		return err
	}
	return makeHead(head, revision, events, hash)
}

func makeHead(head *keystore.Head, revision, events int64, hash []byte) error {
	if len(hash) != len(head.Hash) || revision < 0 || events < 0 {
		return errors.New("the head is damaged")
	}
	head.Revision, head.Events = uint64(revision), uint64(events)
	copy(head.Hash[:], hash)
	return nil
}
