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
		batch.Queue(`INSERT INTO keystile_kept (id, expires, data) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, data = excluded.data`, r.ID, r.Expires.UnixMilli(), notNull(r.Data))
	}
	return s.inOne(ctx, batch)
}

// SwapKept gives kept values other Data, if they are what they were.
func (s *Store) SwapKept(ctx context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	done := make([]bool, len(swaps))
	batch := new(pgx.Batch)
	queueLimits(batch)
	for i, swap := range swaps {
		batch.Queue(`UPDATE keystile_kept SET data = $3 WHERE id = $1 AND data = $2`, swap.ID, notNull(swap.Old), notNull(swap.Data)).
			Exec(func(tag pgconn.CommandTag) error {
				done[i] = tag.RowsAffected() == 1
				return nil
			})
	}
	if err := s.inOne(ctx, batch); err != nil {
		return nil, err
	}
	return done, nil
}

// inOne does what a batch says, all of it or nothing.
func (s *Store) inOne(ctx context.Context, batch *pgx.Batch) error {
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

// notNull is a value as it is stored: nothing is an empty one.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
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

// clock is the database's, in milliseconds since 1970. It is of the beginning of the transaction.
const clock = `(extract(epoch FROM now()) * 1000)::bigint`

// Claim keeps a value for a while if there is none with its id, or one whose time is over, and says whether it did.
func (s *Store) Claim(ctx context.Context, id string, data []byte, hold time.Duration) (bool, error) {
	if err := s.prepare(ctx); err != nil {
		return false, err
	}
	claimed := false
	batch := new(pgx.Batch)
	queueLimits(batch)
	batch.Queue(`INSERT INTO keystile_kept (id, expires, data) VALUES ($1, `+clock+` + $2::bigint, $3)
		ON CONFLICT (id) DO UPDATE SET expires = excluded.expires, data = excluded.data WHERE keystile_kept.expires <= `+clock,
		id, hold.Milliseconds(), notNull(data)).Exec(func(tag pgconn.CommandTag) error {
		claimed = tag.RowsAffected() == 1
		return nil
	})
	// In a transaction that is begun first: a claim that is given up before the server answers at all leaves nothing behind. Later it
	// waits a while whoever has left: a COMMIT that is given up may leave a claim that nobody gives back.
	tx, err := s.begin(ctx, pgx.TxOptions{})
	if err != nil {
		return false, s.named(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orphanTime)
	defer cancel()
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		undo(ctx, tx)
		return false, s.named(err)
	}
	if err := tx.Commit(ctx); err != nil {
		return false, s.named(err)
	}
	return claimed, nil
}

// DropKept removes the values whose time was over before a moment, and is by the database's clock.
func (s *Store) DropKept(ctx context.Context, before time.Time) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	ctx, done := s.whileUp(ctx)
	defer done()
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_kept WHERE expires <= least($1::bigint, `+clock+`)`, before.UnixMilli())
	return s.named(err)
}
