package pglog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/requestlog"
)

const (
	// tallyTime bounds the counting of one histogram by looking at records; it then answers what it has.
	tallyTime = 20 * time.Second
	// tallyAtOnce is how many records one statement of it looks at, about.
	tallyAtOnce = 1_000_000
)

// Histogram counts records by time and group: from the counts where the query asks of nothing but the time, else by reading, the
// newest first.
func (s *Store) Histogram(ctx context.Context, q requestlog.HistogramQuery) (*requestlog.Histogram, error) {
	s.settle(ctx)
	t := requestlog.NewTally(q)
	days, skew, err := s.storedDays(ctx)
	if err != nil {
		return nil, err
	}
	parts, ok := q.Parts()
	if !ok || !slices.Contains(countedKinds, q.By) {
		from, err := s.tally(ctx, &q, q.Filter, days, skew, t)
		if err != nil {
			return nil, err
		}
		return t.Histogram(from), nil
	}
	var from time.Time
	for _, edge := range parts.Edges {
		cut, err := s.tally(ctx, &q, edge, days, skew, t)
		if err != nil {
			return nil, err
		}
		if cut.After(from) {
			from = cut
		}
	}
	if !parts.Empty() {
		if err := s.addCounts(ctx, &q, parts.Minutes, skew, t); err != nil {
			return nil, err
		}
	}
	return t.Histogram(from), nil
}

// addCounts adds the counts of whole minutes.
func (s *Store) addCounts(ctx context.Context, q *requestlog.HistogramQuery, minutes requestlog.Filter, skew time.Duration, t *requestlog.Tally) error {
	seconds := int64(dayLength / time.Second)
	minute := int64(q.Bucket / time.Minute)
	sql := `SELECT minute / $1 * $1, value, sum(n)::bigint FROM keystile_log_counts
		WHERE day >= $2 AND day <= $3 AND minute >= $4 AND minute < $5 AND kind = $6 GROUP BY 1, 2`
	args := []any{
		minute, minutes.Since.Add(-skew).Unix() / seconds, minutes.Until.Add(skew).Unix() / seconds,
		minutes.Since.Unix() / 60, minutes.Until.Unix() / 60, q.By,
	}
	return s.ask(ctx, sql, args, func(rows pgx.Rows) error {
		var begin, n int64
		var group string
		_, err := pgx.ForEachRow(rows, []any{&begin, &group, &n}, func() error {
			t.Add(group, time.Unix(begin*60, 0), n)
			return nil
		})
		return err
	})
}

// tally counts by reading. It answers the time behind which its bounded work ended, zero if everything was counted.
func (s *Store) tally(ctx context.Context, q *requestlog.HistogramQuery, f requestlog.Filter, days []storedDay, skew time.Duration, t *requestlog.Tally) (time.Time, error) {
	w := newWhere(&f)
	r := reachOf(&f, "", skew)
	within := within(&f)
	if f.Within != nil {
		w.and(concerns(w.arg(within)))
	}
	if w.none || r.empty() || f.Within != nil && len(within) == 0 {
		return time.Time{}, nil
	}
	group := q.By
	if q.By == requestlog.ByStatusClass {
		group = "(status / 100 * 100)::text"
	}
	began := time.Now()
	stretches := r.stretches(days, tallyAtOnce)
	for i, part := range stretches {
		one := *w
		one.args = slices.Clone(w.args)
		bucket := one.arg(q.Bucket.Milliseconds())
		sql := fmt.Sprintf(`SELECT time / %s * %s, %s, count(*) FROM keystile_log_records WHERE %s GROUP BY 1, 2`,
			bucket, bucket, group, one.text(append(part.conditions(&one), "(lost IS NULL OR lost <= 0)")...))
		err := s.ask(ctx, sql, one.args, func(rows pgx.Rows) error {
			var begin, n int64
			var value *string
			_, err := pgx.ForEachRow(rows, []any{&begin, &value, &n}, func() error {
				t.Add(groupName(q.By, value), time.UnixMilli(begin), n)
				return nil
			})
			return err
		})
		if err != nil {
			return time.Time{}, err
		}
		if time.Since(began) > tallyTime && i < len(stretches)-1 {
			position, _ := requestlog.Position(requestPrefix + part.low)
			return requestlog.PositionTime(position).Add(skew), nil
		}
	}
	return time.Time{}, nil
}

// groupName is the group of a column's value.
func groupName(by string, value *string) string {
	if value == nil {
		return requestlog.GroupNone
	}
	if by == requestlog.ByStatusClass {
		if *value < "100" || len(*value) != 3 {
			return requestlog.GroupNone
		}
		return (*value)[:1] + "xx"
	}
	return cmp.Or(*value, requestlog.GroupNone)
}
