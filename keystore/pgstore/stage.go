package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/keystore"
)

// abandonedAfter is how long nobody must have added to a stage before another node takes it for what a crash has left.
const abandonedAfter = time.Hour

// Stage stores rows that nobody sees yet.
func (s *Store) Stage(ctx context.Context, stage keystore.Stage, rows []keystore.Row) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ids, data := make([]string, 0, len(rows)), make([][]byte, 0, len(rows))
	for _, r := range rows {
		if r.Table != stage.Table || r.ID < stage.First || r.ID > stage.Last {
			return fmt.Errorf("the row %s is not within its stage", r.ID)
		}
		ids, data = append(ids, r.ID), append(data, r.Data)
	}
	return s.named(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		batch := new(pgx.Batch)
		queueLimits(batch)
		batch.Queue(`INSERT INTO keystile_stages (id, touched) VALUES ($1, now()) ON CONFLICT (id) DO UPDATE SET touched = now()`, stage.ID)
		// No ON CONFLICT: ids are new, and a row that is part of the store must never go back into a stage.
		batch.Queue(`INSERT INTO keystile_rows (tbl, id, data, revision, stage)
			SELECT $1::smallint, i, d, 0, $2::text FROM unnest($3::text[], $4::bytea[]) AS n (i, d)`, int16(stage.Table), stage.ID, ids, data)
		return tx.SendBatch(ctx, batch).Close()
	}))
}

// Unstage removes the rows of a stage that no commit has named. For "" these are the stages that nobody has touched for so
// long that whoever made them must be gone: other nodes may be in the middle of theirs.
func (s *Store) Unstage(ctx context.Context, id string) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ids := []string{id}
	if id == "" {
		rows, err := s.pool.Query(ctx, `SELECT id FROM keystile_stages WHERE revision IS NULL AND touched < now() - make_interval(secs => $1)`, abandonedAfter.Seconds())
		if err != nil {
			return s.named(err)
		}
		if ids, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return s.named(err)
		}
	}
	for _, id := range ids {
		if err := s.unstage(ctx, id); err != nil {
			return s.named(err)
		}
	}
	return nil
}

func (s *Store) unstage(ctx context.Context, id string) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine string
		err := tx.QueryRow(ctx, `SELECT id FROM keystile_stages WHERE id = $1 AND revision IS NULL FOR UPDATE`, id).Scan(&mine)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // part of the store, or gone
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM keystile_rows WHERE stage = $1`, id)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `DELETE FROM keystile_stages WHERE id = $1`, id)
		}
		return err
	})
}
