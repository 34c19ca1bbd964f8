package pglog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/requestlog"
)

// ask runs one statement in a read-only transaction with a time limit, and gives its rows to read. It waits for its turn: a process
// has only some queries in the database at a time.
func (s *Store) ask(ctx context.Context, sql string, args []any, read func(pgx.Rows) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return requestlog.ErrClosed
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limited, cancel := context.WithTimeout(ctx, s.o.QueryTime+5*time.Second) // the server's own limit comes first, if it answers at all
	defer cancel()
	for try := 0; ; try++ {
		begun, err := s.askOnce(limited, sql, args, read)
		if err == nil || begun || try == askTries || limited.Err() != nil || postgres.State(err) != "" || !postgres.Away(err) {
			return s.unless(ctx, err)
		}
		// The connections are those from before the server was restarted.
		s.pool.Reset()
	}
}

// askTries is how often a query is repeated whose connection was no more.
const askTries = 2

// askOnce is ask on one connection. begun says that read was called.
func (s *Store) askOnce(ctx context.Context, sql string, args []any, read func(pgx.Rows) error) (begun bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	words := new(pgx.Batch)
	words.Queue(`BEGIN READ ONLY`)
	words.Queue(fmt.Sprintf(`SET LOCAL statement_timeout = %d`, s.o.QueryTime.Milliseconds()))
	if s.compiles.Load() {
		words.Queue(`SET LOCAL jit = off`)
	}
	before := words.Len()
	words.Queue(sql, args...)
	words.Queue(`COMMIT`)
	results := conn.SendBatch(ctx, words)
	err = func() error {
		for range before {
			if _, err := results.Exec(); err != nil {
				return err
			}
		}
		rows, err := results.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		begun = true
		if err := read(rows); err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}()
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return begun, err
}

// unless is an error of the database, or the caller's own, who has gone away.
func (s *Store) unless(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if gone := ctx.Err(); gone != nil {
		return gone
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the request log at %s: %w: it does not answer", s.place, requestlog.ErrUnavailable)
	}
	return s.named(err)
}

// storedDays lists the days, the newest first, and by how much the time of a record and that in its id differ at most.
func (s *Store) storedDays(ctx context.Context) (days []storedDay, skew time.Duration, err error) {
	err = s.ask(ctx, selectDays, nil, func(rows pgx.Rows) (err error) {
		days, err = scanDays(rows)
		return err
	})
	for _, d := range days {
		skew = max(skew, d.skew)
	}
	return days, skew, err
}

// reach are the ids that a query can meet, without their prefixes: low inclusive, high exclusive; "" is no bound.
type reach struct{ low, high string }

// reachOf is what the times of a filter and a cursor leave.
func reachOf(f *requestlog.Filter, after string, skew time.Duration) (r reach) {
	if !f.Since.IsZero() {
		r.low = boundAt(f.Since.Add(-skew))
	}
	if !f.Until.IsZero() {
		r.high = boundAt(f.Until.Add(skew + time.Millisecond))
	}
	if key := sortKey(after); after != "" && (r.high == "" || key < r.high) {
		r.high = key
	}
	return r
}

func (r reach) empty() bool { return r.low != "" && r.high != "" && r.low >= r.high }

// conditions are the bounds in SQL.
func (r reach) conditions(w *where) (parts []string) {
	if r.low != "" {
		parts = append(parts, "id >= "+w.arg(r.low))
	}
	if r.high != "" {
		parts = append(parts, "id < "+w.arg(r.high))
	}
	return parts
}

// What one stretch of a query looks through at most, in records, about: where every record is looked at, and where an index finds
// those that other conditions are asked of.
const (
	readAtOnce  = 300_000
	foundAtOnce = 3_000_000
)

// stretches cuts a reach, the newest first, so that none has many more records than most. Days with more are cut evenly.
func (r reach) stretches(days []storedDay, most int64) (list []reach) {
	high, held := r.high, int64(0)
	cut := func(at time.Time) {
		low := boundAt(at)
		if (r.low == "" || low > r.low) && (high == "" || low < high) {
			list = append(list, reach{low, high})
			high, held = low, 0
		}
	}
	for _, d := range days {
		begin := dayBegin(d.day)
		if r.low != "" && boundAt(begin.Add(dayLength)) <= r.low || r.high != "" && boundAt(begin) >= r.high {
			continue
		}
		if held > 0 && held+d.records > most {
			cut(begin.Add(dayLength))
		}
		parts := d.records/most + 1
		for i := parts - 1; i > 0; i-- {
			cut(begin.Add(dayLength * time.Duration(i) / time.Duration(parts)))
		}
		held += d.records / parts
	}
	return append(list, reach{r.low, high})
}

// atOnce is how many records a stretch of a query may have.
func (w *where) atOnce() int64 {
	switch {
	case w.plain:
		return 1 << 40
	case w.found:
		return foundAtOnce
	}
	return readAtOnce
}

// ceilMilli is a time in whole milliseconds, as records have it: the first that is not before it.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.After(time.UnixMilli(ms)) {
		ms++
	}
	return ms
}
