package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystile/keystile/keystore"
)

// usageBatch is how many uses one statement saves.
const usageBatch = 5000

// SaveUsage writes the last use of keys. Of two nodes that saw a key used, the later use stays.
func (s *Store) SaveUsage(ctx context.Context, rows []keystore.UsageRow) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	latest := make(map[string]keystore.Usage, len(rows)) // a statement cannot change a row twice
	for _, r := range rows {
		if old, twice := latest[r.KeyID]; !twice || !r.Usage.At.Before(old.At) {
			latest[r.KeyID] = r.Usage
		}
	}
	var ids, addresses []string
	var ats []int64
	save := func() error {
		_, err := s.pool.Exec(ctx, `INSERT INTO keystile_usage (id, at, address) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])
			ON CONFLICT (id) DO UPDATE SET at = excluded.at, address = excluded.address WHERE keystile_usage.at <= excluded.at`, ids, ats, addresses)
		ids, ats, addresses = ids[:0], ats[:0], addresses[:0]
		return s.named(err)
	}
	for id, u := range latest {
		address := ""
		if u.Address.IsValid() {
			address = u.Address.String()
		}
		ids, ats, addresses = append(ids, id), append(ats, u.At.UnixMilli()), append(addresses, address)
		if len(ids) == usageBatch {
			if err := save(); err != nil {
				return err
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return save()
}

// LoadUsage calls row for every saved use since a time.
func (s *Store) LoadUsage(ctx context.Context, since time.Time, row func(keystore.UsageRow) error) error {
	from := int64(0)
	if !since.IsZero() {
		from = since.UnixMilli()
	}
	return s.readTx(ctx, func(tx pgx.Tx) error {
		return each(ctx, tx, `SELECT id, at, address FROM keystile_usage WHERE at >= $1`, func(rows pgx.Rows) error {
			var r keystore.UsageRow
			var at int64
			var address string
			if err := rows.Scan(&r.KeyID, &at, &address); err != nil {
				return err
			}
			r.Usage.At = time.UnixMilli(at).UTC()
			if address != "" {
				var err error
				if r.Usage.Address, err = netip.ParseAddr(address); err != nil {
					return fmt.Errorf("the last use of %s holds no address", r.KeyID)
				}
			}
			return row(r)
		}, from)
	})
}

// Keep stores and removes values that have an end.
func (s *Store) Keep(ctx context.Context, put []keystore.KeptRow, remove []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	batch := new(pgx.Batch)
	queueLimits(batch)
	if len(remove) > 0 {
		batch.Queue(`DELETE FROM keystile_kept WHERE id = ANY ($1::text[])`, remove)
	}
	for _, r := range put {
		data := r.Data
		if data == nil {
			data = []byte{}
		}
		batch.Queue(`INSERT INTO keystile_kept (id, expires, data) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, data = excluded.data`, r.ID, r.Expires.UnixMilli(), data)
	}
	tx, err := s.begin(ctx, pgx.TxOptions{})
	if err != nil {
		return s.named(err)
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		undo(ctx, tx)
		return s.named(err)
	}
	return s.named(tx.Commit(ctx))
}

// SwapKept gives kept values other Data, if they are what they were.
func (s *Store) SwapKept(ctx context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	done := make([]bool, len(swaps))
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		batch := new(pgx.Batch)
		queueLimits(batch)
		for i, swap := range swaps {
			batch.Queue(`UPDATE keystile_kept SET data = $3 WHERE id = $1 AND data = $2`, swap.ID, swap.Old, swap.Data).Exec(func(tag pgconn.CommandTag) error {
				done[i] = tag.RowsAffected() == 1
				return nil
			})
		}
		return tx.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return nil, s.named(err)
	}
	return done, nil
}

// Kept is one kept value, nil if there is none.
func (s *Store) Kept(ctx context.Context, id string) (*keystore.KeptRow, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	r := keystore.KeptRow{ID: id}
	var expires int64
	err := s.pool.QueryRow(ctx, `SELECT expires, data FROM keystile_kept WHERE id = $1`, id).Scan(&expires, &r.Data)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil //nolint:nilnil // none is an answer
	case err != nil:
		return nil, s.named(err)
	}
	r.Expires = time.UnixMilli(expires).UTC()
	return &r, nil
}

// LoadKept calls row for every kept value.
func (s *Store) LoadKept(ctx context.Context, row func(keystore.KeptRow) error) error {
	return s.readTx(ctx, func(tx pgx.Tx) error {
		return each(ctx, tx, `SELECT id, expires, data FROM keystile_kept`, func(rows pgx.Rows) error {
			var r keystore.KeptRow
			var expires int64
			if err := rows.Scan(&r.ID, &expires, &r.Data); err != nil {
				return err
			}
			r.Expires = time.UnixMilli(expires).UTC()
			return row(r)
		})
	})
}

// Claim keeps a value if there is none with its id, or one whose time is over at now, and says whether it did.
func (s *Store) Claim(ctx context.Context, r keystore.KeptRow, now time.Time) (bool, error) {
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	data := r.Data
	if data == nil {
		data = []byte{}
	}
	// In a transaction that is begun first: a claim that is given up before the server answers at all leaves nothing behind.
	tx, err := s.begin(ctx, pgx.TxOptions{})
	if err != nil {
		return false, s.named(err)
	}
	ctx, cancel := context.WithTimeout(ctx, orphanTime)
	defer cancel()
	tag, err := tx.Exec(ctx, `INSERT INTO keystile_kept (id, expires, data) VALUES ($1, $2, $3)
		ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, data = excluded.data WHERE keystile_kept.expires <= $4`,
		r.ID, r.Expires.UnixMilli(), data, now.UnixMilli())
	if err != nil {
		undo(ctx, tx)
		return false, s.named(err)
	}
	return tag.RowsAffected() == 1, s.named(tx.Commit(ctx))
}

// DropKept removes the values whose time was over before a moment.
func (s *Store) DropKept(ctx context.Context, before time.Time) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_kept WHERE expires <= $1`, before.UnixMilli())
	return s.named(err)
}
