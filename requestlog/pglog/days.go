package pglog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/requestlog"
)

const dayLength = 24 * time.Hour

// ddlTimeout bounds how long the making or dropping of a day waits for who reads or writes: everybody else waits behind it.
const ddlTimeout = time.Second

// dayOf is the day of a record by its id, in days since 1970.
func dayOf(id string) int {
	position, _ := requestlog.Position(id)
	return int(requestlog.PositionTime(position).Unix() / int64(dayLength/time.Second))
}

func dayBegin(day int) time.Time { return time.Unix(int64(day)*int64(dayLength/time.Second), 0).UTC() }

// boundAt is the smallest id, without its prefix, of a time: where a day begins.
func boundAt(t time.Time) string {
	first, _ := requestlog.Positions(t)
	return sortKey(requestlog.CursorBefore(first - 1)) // of 0: the first of all
}

func partition(day int) string {
	return "keystile_log_" + dayBegin(day).Format("20060102")
}

// makeDays makes the partitions that are not there. Several nodes may do so at once: they take turns.
func (s *Store) makeDays(ctx context.Context, days []int) error {
	var missing []int
	s.mu.Lock()
	for _, d := range days {
		if !s.days[d] {
			missing = append(missing, d)
		}
	}
	s.mu.Unlock()
	for _, d := range missing {
		if err := s.makeDay(ctx, d); err != nil {
			return fmt.Errorf("making the partition of %s: %w", dayBegin(d).Format(time.DateOnly), err)
		}
		s.mu.Lock()
		s.days[d] = true
		s.mu.Unlock()
	}
	return nil
}

// makeDay makes a partition apart from the table and then attaches it, which keeps out neither readers nor writers.
func (s *Store) makeDay(ctx context.Context, day int) error {
	var known bool
	if err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM keystile_log_days WHERE day = $1)`, day).Scan(&known); err != nil {
		return err
	}
	name := partition(day)
	from, to := boundAt(dayBegin(day)), boundAt(dayBegin(day+1))
	if known {
		if there, err := isThere(ctx, s.pool, name); err != nil || there {
			return err
		}
	}
	return s.inTurn(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO keystile_log_days (day, made) VALUES ($1, clock_timestamp()) ON CONFLICT DO NOTHING`, day); err != nil {
			return err
		}
		if there, err := isThere(ctx, tx, name); err != nil || there {
			return err // somebody else was faster
		}
		// Names and bounds are made of a number, here.
		for _, text := range []string{
			fmt.Sprintf(`CREATE TABLE %s (LIKE keystile_log_records INCLUDING ALL)`, name),
			fmt.Sprintf(`ALTER TABLE keystile_log_records ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`, name, from, to),
		} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
		}
		return nil
	})
}

// isThere says whether a partition is there. Its row in keystile_log_days is no proof: an operator may have dropped the table by hand,
// and no record of that day could be stored ever again.
func isThere(ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, name string,
) (there bool, err error) {
	err = db.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&there)
	return there, err
}

// inTurn does something with partitions while nobody else does. A node that vanishes in the middle of it keeps others out for
// orphanTime, and not until the server finds that its connection is dead.
func (s *Store) inTurn(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for _, text := range []string{
			fmt.Sprintf(`SET LOCAL idle_in_transaction_session_timeout = %d`, orphanTime.Milliseconds()),
			`SELECT one FROM keystile_log_turn FOR UPDATE`,
			fmt.Sprintf(`SET LOCAL lock_timeout = %d`, ddlTimeout.Milliseconds()),
		} {
			if _, err := tx.Exec(ctx, text); err != nil {
				return err
			}
		}
		return do(tx)
	})
}

// dropDay drops a partition, unless somebody holds on to it.
func (s *Store) dropDay(ctx context.Context, day int) error {
	s.forgetDay(day)
	return s.inTurn(ctx, func(tx pgx.Tx) error {
		// The days are written last by those who ship: first the table, then its row, so that nobody waits crosswise.
		if _, err := tx.Exec(ctx, `DROP TABLE IF EXISTS `+partition(day)); err != nil {
			return err
		}
		for _, text := range []string{`DELETE FROM keystile_log_days WHERE day = $1`, `DELETE FROM keystile_log_counts WHERE day = $1`} {
			if _, err := tx.Exec(ctx, text, day); err != nil {
				return err
			}
		}
		return nil
	})
}

// forgetDays has the partitions asked for again: one of them was dropped.
func (s *Store) forgetDays() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.days)
}

func (s *Store) forgetDay(day int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.days, day)
}

// storedDay is a row of keystile_log_days.
type storedDay struct {
	day     int
	records int64
	skew    time.Duration
	made    time.Time
}

const selectDays = `SELECT day, records, skew, (extract(epoch FROM made) * 1000)::bigint FROM keystile_log_days ORDER BY day DESC`

func scanDays(rows pgx.Rows) ([]storedDay, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (d storedDay, err error) {
		var skew, made int64
		err = row.Scan(&d.day, &d.records, &skew, &made)
		d.skew, d.made = time.Duration(skew)*time.Millisecond, time.UnixMilli(made)
		return d, err
	})
}

// noPartition says whether a batch has failed since a partition is not there. The same state with a name is a rule of somebody else's.
func noPartition(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == postgres.CheckViolation && pg.ConstraintName == ""
}
