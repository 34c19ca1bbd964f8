package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Tables are some tables of a database, and how they are made: one file of SQL for each step, migrations/1.sql and so on.
type Tables struct {
	// Version is the name of the table whose one row says how far the others are. The first step makes it, with the columns
	// `one boolean PRIMARY KEY DEFAULT true CHECK (one)` and `version integer NOT NULL`.
	Version string
	// Steps is how many steps this program knows.
	Steps int
	Files fs.FS
	// Empty is what it means that the one row is missing, for people.
	Empty string
}

// migrateTries is how often several nodes that start at once may be in each other's way.
const migrateTries = 60

// Migrate brings the tables up to date. Several nodes may do so at once: a step is one transaction that also moves the
// version, so that one of them does it, and the others, who fail or wait, find it done.
func Migrate(ctx context.Context, pool *pgxpool.Pool, t Tables) error {
	var failed error
	for range migrateTries {
		is, err := t.at(ctx, pool)
		switch {
		case err != nil:
			return err
		case is == t.Steps:
			return nil
		case is > t.Steps:
			return fmt.Errorf("its tables are of version %d, and this program knows versions up to %d: it was written by a newer version of the program", is, t.Steps)
		}
		failed = t.step(ctx, pool, is)
		if failed == nil {
			continue
		}
		if Away(failed) || Refused(failed) || State(failed) == ReadOnly {
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

// at is how far the tables are, 0 if there are none.
func (t Tables) at(ctx context.Context, pool *pgxpool.Pool) (is int, err error) {
	err = pool.QueryRow(ctx, `SELECT version FROM `+t.Version).Scan(&is)
	switch {
	case State(err) == UndefinedTable:
		return 0, nil
	case errors.Is(err, pgx.ErrNoRows):
		return 0, fmt.Errorf("its table %s is empty: %s", t.Version, t.Empty)
	}
	return is, err
}

// step brings the tables from one version to the next.
func (t Tables) step(ctx context.Context, pool *pgxpool.Pool, from int) error {
	text, err := fs.ReadFile(t.Files, fmt.Sprintf("migrations/%d.sql", from+1))
	if err != nil {
		return err
	}
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		if from > 0 {
			tag, err := tx.Exec(ctx, `UPDATE `+t.Version+` SET version = $1 WHERE version = $2`, from+1, from)
			if err != nil || tag.RowsAffected() == 0 {
				return errors.Join(err, errors.New("somebody else has changed the tables"))
			}
		}
		if _, err := tx.Exec(ctx, string(text), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		if from == 0 {
			_, err = tx.Exec(ctx, `INSERT INTO `+t.Version+` (version) VALUES (1)`)
		}
		return err
	})
}
