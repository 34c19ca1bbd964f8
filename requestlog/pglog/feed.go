package pglog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/requestlog"
)

const (
	// feedBatches and feedRecords bound what a feed reads at once.
	feedBatches = 64
	feedRecords = 256
	// feedBytes is how much captured text comes with them. Of the records beyond, a tail shows everything else.
	feedBytes = 1 << 20
)

// feed follows the batches. Records are read by their ids, in the order in which their nodes wrote them.
type feed struct {
	store   *Store
	seq     int64    // the last batch that was taken up
	records int64    // of all batches up to it
	ids     []string // taken up, and not yet answered
}

// Feed begins behind the newest batch, and answers the ids of the last records.
func (s *Store) Feed(ctx context.Context, remember int) (requestlog.Feed, []string, error) {
	f := &feed{store: s}
	var ids []string
	err := s.ask(ctx, `SELECT h.seq, h.records, b.ids FROM keystile_log_head AS h LEFT JOIN keystile_log_batches AS b ON b.seq > h.seq - 4096 AND b.records > h.records - $1 AND b.seq <= h.seq ORDER BY b.seq`,
		[]any{int64(remember)}, func(rows pgx.Rows) error {
			var packed []byte
			_, err := pgx.ForEachRow(rows, []any{&f.seq, &f.records, &packed}, func() error {
				ids = appendIDs(ids, packed)
				return nil
			})
			return err
		})
	if err != nil {
		return nil, nil, err
	}
	return f, ids[max(0, len(ids)-remember):], nil
}

// Next answers what was stored since the last call, a part at a time.
func (f *feed) Next(ctx context.Context) (records []*requestlog.Record, lost int64, err error) {
	if len(f.ids) == 0 {
		if lost, err = f.takeUp(ctx); err != nil || len(f.ids) == 0 {
			return nil, lost, err
		}
	}
	part := f.ids[:min(len(f.ids), feedRecords)]
	if records, err = f.read(ctx, part); err != nil {
		return nil, lost, err
	}
	f.ids = f.ids[len(part):]
	return records, lost, nil
}

// takeUp reads which records the next batches have. If the next one is not kept any more, it goes on with the oldest that is. A
// head that has gone back is that of another database: one that was cleared, or an older copy.
func (f *feed) takeUp(ctx context.Context) (lost int64, err error) {
	err = f.store.ask(ctx, `SELECT h.seq, h.records, b.seq, b.records, b.ids FROM keystile_log_head AS h
		LEFT JOIN LATERAL (SELECT seq, records, ids FROM keystile_log_batches WHERE seq > $1 ORDER BY seq LIMIT $2) AS b ON true ORDER BY b.seq`,
		[]any{f.seq, feedBatches}, func(rows pgx.Rows) error {
			var head, all int64
			var seq, total *int64
			var packed []byte
			_, err := pgx.ForEachRow(rows, []any{&head, &all, &seq, &total, &packed}, func() error {
				if seq == nil {
					if head < f.seq {
						f.seq, f.records = head, all
					}
					return nil
				}
				n := int64(len(packed) / idBytes)
				lost += max(0, *total-n-f.records)
				f.seq, f.records = *seq, *total
				f.ids = appendIDs(f.ids, packed)
				return nil
			})
			return err
		})
	return lost, err
}

// read reads records by their ids, in this order. One that retention was faster with is left out.
func (f *feed) read(ctx context.Context, ids []string) ([]*requestlog.Record, error) {
	sorts := make([]string, 0, len(ids))
	for _, id := range ids {
		sorts = append(sorts, sortKey(id))
	}
	records := make([]*requestlog.Record, 0, len(ids))
	err := f.store.ask(ctx, selectFeed, []any{sorts, int64(feedBytes)}, func(rows pgx.Rows) error {
		for rows.Next() {
			r, err := decodeRow(rows.RawValues())
			if err != nil {
				return err
			}
			records = append(records, r)
		}
		return nil
	})
	return records, err
}

// selectFeed keeps the order of the ids, and leaves captured texts out once there are too many.
var selectFeed = func() string {
	names := "id, gap"
	for _, c := range columns {
		switch c.Name {
		case "request_headers", "response_headers", "request_body", "response_body":
			names += fmt.Sprintf(", CASE WHEN before < $2::bigint THEN %s END", c.Name)
		default:
			names += ", " + c.Name
		}
	}
	return `SELECT ` + names + ` FROM (
		SELECT r.*, a.place, coalesce(sum(` + capturedBytes + `) OVER (ORDER BY a.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
		FROM unnest($1::text[]) WITH ORDINALITY AS a (id, place) JOIN keystile_log_records AS r ON r.id = a.id) AS f ORDER BY place`
}()

func appendIDs(ids []string, packed []byte) []string {
	for ; len(packed) >= idBytes; packed = packed[idBytes:] {
		ids = append(ids, prefixed(string(packed[1:idBytes]), packed[0] == gapMark))
	}
	return ids
}
