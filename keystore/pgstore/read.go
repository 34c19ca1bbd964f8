package pgstore

import (
	"bytes"
	"context"
	"errors"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/keystile/keystile/keystore"
)

// batchSize is how many rows or events are read before they are handed on: what is done with them must not hold a
// transaction open for longer than the reading takes.
const batchSize = 500

// readTx reads in one transaction, so that all is of one moment.
func (s *Store) readTx(ctx context.Context, read func(pgx.Tx) error) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	return s.named(pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, read))
}

// each calls row for every row of a query. In a transaction the binary form can be asked for: it is half as long.
func each(ctx context.Context, tx pgx.Tx, query string, row func(pgx.Rows) error, args ...any) error {
	rows, err := tx.Query(ctx, query, append([]any{pgx.QueryExecModeDescribeExec}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Load calls row for every row that is part of the store.
func (s *Store) Load(ctx context.Context, row func(keystore.Row) error) (head keystore.Head, err error) {
	err = s.readTx(ctx, func(tx pgx.Tx) error {
		if err := scanHead(tx.QueryRow(ctx, selectHead), &head); err != nil {
			return err
		}
		return each(ctx, tx, `SELECT r.tbl, r.id, r.data FROM keystile_rows r LEFT JOIN keystile_stages s ON s.id = r.stage
			WHERE r.data IS NOT NULL AND (r.stage IS NULL OR s.revision IS NOT NULL)`, func(rows pgx.Rows) error {
			var r keystore.Row
			var table int16
			var data pgtype.DriverBytes
			if err := rows.Scan(&table, &r.ID, &data); err != nil {
				return err
			}
			var err error
			if r.Table, err = tableOf(table); err != nil {
				return err
			}
			r.Data = data
			return row(r)
		})
	})
	return head, err
}

func tableOf(number int16) (keystore.Table, error) {
	if number < 0 || number > math.MaxUint8 {
		return 0, errors.New("a row is of an impossible table")
	}
	return keystore.Table(number), nil
}

// Events calls event for a range of events.
func (s *Store) Events(
	ctx context.Context, first, last uint64, backwards bool, event func(keystore.EventRow) error,
) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	query := `SELECT seq, body FROM keystile_events WHERE seq BETWEEN $1 AND $2 ORDER BY seq LIMIT $3`
	if backwards {
		query = `SELECT seq, body FROM keystile_events WHERE seq BETWEEN $1 AND $2 ORDER BY seq DESC LIMIT $3`
	}
	last = min(last, math.MaxInt64)
	for first <= last {
		batch, err := s.eventBatch(ctx, query, first, last)
		if err != nil {
			return s.named(err)
		}
		for _, e := range batch {
			if err := event(e); err != nil {
				return err
			}
		}
		if len(batch) < batchSize {
			return nil
		}
		edge := batch[len(batch)-1].Seq
		if !backwards {
			first = edge + 1
			continue
		}
		if edge == 0 {
			return nil
		}
		last = edge - 1
	}
	return nil
}

func (s *Store) eventBatch(ctx context.Context, query string, first, last uint64) ([]keystore.EventRow, error) {
	rows, err := s.pool.Query(ctx, query, int64(first), int64(last), batchSize)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e keystore.EventRow, err error) {
		var seq int64
		err = row.Scan(&seq, &e.Body)
		e.Seq = uint64(seq)
		return e, err
	})
}

// Changes calls rows for what was written after a revision.
func (s *Store) Changes(ctx context.Context, after uint64, rows func([]keystore.Row) error) (head keystore.Head, err error) {
	if err := s.prepare(ctx); err != nil {
		return head, err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	few, whole, err := s.fewChanges(ctx, after, &head)
	switch {
	case err != nil:
		return head, s.named(err)
	case !whole:
		return s.manyChanges(ctx, after, rows)
	case len(few) > 0:
		err = rows(few)
	}
	return head, err
}

// fewChanges reads a change or some in one go, since others wait for it. whole is false if there are more than that.
func (s *Store) fewChanges(ctx context.Context, after uint64, head *keystore.Head) (batch []keystore.Row, whole bool, err error) {
	found, err := s.pool.Query(ctx, `SELECT h.revision, h.events, h.hash, (SELECT count(*) FROM keystile_stages WHERE revision > $1), r.tbl, r.id, r.data
		FROM keystile_head h LEFT JOIN (SELECT tbl, id, data, revision FROM keystile_rows WHERE revision > $1 ORDER BY revision LIMIT $2) r ON true
		ORDER BY r.revision`, int64(after), batchSize+1)
	if err != nil {
		return nil, false, err
	}
	defer found.Close()
	stages, seen := int64(0), false
	for found.Next() {
		var table *int16
		var id *string
		var data []byte
		if err := scanHead(found, head, &stages, &table, &id, &data); err != nil {
			return nil, false, err
		}
		seen = true
		if id == nil {
			continue // there is no row
		}
		r := keystore.Row{ID: *id, Data: data}
		if r.Table, err = tableOf(*table); err != nil {
			return nil, false, err
		}
		batch = append(batch, r)
	}
	if err := found.Err(); err != nil {
		return nil, false, err
	}
	if !seen {
		return nil, false, errors.New("the head is missing")
	}
	return batch, stages == 0 && len(batch) <= batchSize, nil
}

// manyChanges hands on what an import has brought, or what was missed in a long absence, batch after batch.
func (s *Store) manyChanges(ctx context.Context, after uint64, rows func([]keystore.Row) error) (head keystore.Head, err error) {
	err = s.readTx(ctx, func(tx pgx.Tx) error {
		if err := scanHead(tx.QueryRow(ctx, selectHead), &head); err != nil {
			return err
		}
		if head.Revision <= after {
			return nil
		}
		var batch []keystore.Row
		add := func(found pgx.Rows) error {
			var r keystore.Row
			var table int16
			if err := found.Scan(&table, &r.ID, &r.Data); err != nil {
				return err
			}
			var err error
			if r.Table, err = tableOf(table); err != nil {
				return err
			}
			if batch = append(batch, r); len(batch) < batchSize {
				return nil
			}
			full := batch
			batch = nil
			return rows(full)
		}
		// What takes rights away stands here, and comes first.
		if err := each(ctx, tx, `SELECT tbl, id, data FROM keystile_rows WHERE revision > $1 ORDER BY revision`, add, int64(after)); err != nil {
			return err
		}
		ahead, looked := head.Revision, time.Now()
		err := each(ctx, tx, `SELECT r.tbl, r.id, r.data FROM keystile_stages s JOIN keystile_rows r ON r.stage = s.id
			WHERE s.revision > $1`, func(found pgx.Rows) error {
			if err := add(found); err != nil || len(batch) > 0 || time.Since(looked) < lookAheadInterval {
				return err
			}
			err := s.lookAhead(ctx, &ahead, rows)
			looked = time.Now()
			return err
		}, int64(after))
		if err == nil && len(batch) > 0 {
			err = rows(batch)
		}
		return err
	})
	return head, err
}

// lookAheadInterval is how long those who revoke a key wait for an import that is being handed on.
const lookAheadInterval = 50 * time.Millisecond

// lookAhead hands on what was committed after a revision while older rows are still on their way, if it is little.
func (s *Store) lookAhead(ctx context.Context, after *uint64, rows func([]keystore.Row) error) error {
	var head keystore.Head
	few, whole, err := s.fewChanges(ctx, *after, &head)
	if err != nil || !whole || len(few) == 0 {
		return err
	}
	*after = head.Revision
	return rows(few)
}

// Meta is a small value, nil if there is none.
func (s *Store) Meta(ctx context.Context, name string) (value []byte, err error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	err = s.pool.QueryRow(ctx, `SELECT value FROM keystile_meta WHERE name = $1`, name).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err == nil && value == nil {
		value = []byte{}
	}
	return value, s.named(err)
}

// SwapMeta sets a small value if it is still old.
func (s *Store) SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error) {
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	if value == nil {
		value = []byte{}
	}
	query, args := `INSERT INTO keystile_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, []any{name, bytes.Clone(value)}
	if old != nil {
		query, args = `UPDATE keystile_meta SET value = $2 WHERE name = $1 AND value = $3`, append(args, old)
	}
	tag, err := s.pool.Exec(ctx, query, args...)
	if err != nil {
		return false, s.named(err)
	}
	return tag.RowsAffected() == 1, nil
}
