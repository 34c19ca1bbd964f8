package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// version is how far the tables of this version of the program are: one file of SQL for each step up to it.
const version = 1

//go:embed migrations/*.sql
var migrations embed.FS

// migrateTries is how often several nodes that start at once may be in each other's way.
const migrateTries = 60

// migrate brings the tables up to date. Several nodes may do so at once: a step is one transaction that also moves the
// version, so that one of them does it, and the others, who fail or wait, find it done.
func (s *Store) migrate(ctx context.Context) error {
	var failed error
	for range migrateTries {
		is, err := s.version(ctx)
		switch {
		case err != nil:
			return err
		case is == version:
			return nil
		case is > version:
			return fmt.Errorf("its tables are of version %d, and this program knows versions up to %d: it was written by a newer version of the program", is, version)
		}
		failed = s.step(ctx, is)
		if failed == nil {
			continue
		}
		if away(failed) || state(failed) == stateReadOnly {
			break
		}
		// Whether somebody else was faster shows at the next look.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(5+rand.IntN(50)) * time.Millisecond):
		}
	}
	return fmt.Errorf("making its tables: %w", failed)
}

// version is how far the tables are, 0 if there are none.
func (s *Store) version(ctx context.Context) (is int, err error) {
	err = s.pool.QueryRow(ctx, `SELECT version FROM keystile_schema`).Scan(&is)
	switch {
	case state(err) == stateUndefinedTable:
		return 0, nil
	case errors.Is(err, pgx.ErrNoRows):
		return 0, errors.New("its table keystile_schema is empty: it is no key store of this program, or a damaged one")
	}
	return is, err
}

// step brings the tables from one version to the next.
func (s *Store) step(ctx context.Context, from int) error {
	text, err := migrations.ReadFile(fmt.Sprintf("migrations/%d.sql", from+1))
	if err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		if from > 0 {
			tag, err := tx.Exec(ctx, `UPDATE keystile_schema SET version = $1 WHERE version = $2`, from+1, from)
			if err != nil || tag.RowsAffected() == 0 {
				return errors.Join(err, errors.New("somebody else has changed the tables"))
			}
		}
		if _, err := tx.Exec(ctx, string(text), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if from == 0 {
			_, err = tx.Exec(ctx, `INSERT INTO keystile_schema (version) VALUES (1)`)
		}
		return err
	})
}
