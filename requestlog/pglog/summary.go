package pglog

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/requestlog"
)

// selectSummary goes through the records of a key once: in all, and by each value of three columns, of which the latest are
// answered.
const selectSummary = `SELECT kind, value, n, failed, first, last FROM (
	SELECT CASE WHEN grouping(client_address) = 0 THEN 'address' WHEN grouping(user_agent) = 0 THEN 'agent' WHEN grouping(resource) = 0 THEN 'resource' ELSE 'all' END AS kind,
		CASE WHEN grouping(client_address) = 0 THEN host(client_address) WHEN grouping(user_agent) = 0 THEN user_agent WHEN grouping(resource) = 0 THEN resource END AS value,
		count(*) AS n, count(*) FILTER (WHERE status >= 400) AS failed, min(time) AS first, max(time) AS last,
		row_number() OVER (PARTITION BY grouping(client_address), grouping(user_agent), grouping(resource) ORDER BY max(time) DESC) AS place
	FROM keystile_log_records WHERE key = $1 AND (lost IS NULL OR lost <= 0)
	GROUP BY GROUPING SETS ((), (client_address), (user_agent), (resource))) AS g
	WHERE n > 0 AND (kind = 'all' OR place <= $2) ORDER BY last DESC, n DESC, value`

// KeySummary answers what a key did, by its records.
func (s *Store) KeySummary(ctx context.Context, key string) (*requestlog.KeySummary, error) {
	out := new(requestlog.KeySummary)
	w := new(where)
	w.arg(key)
	if key == "" || w.none {
		return out, nil
	}
	s.settle(ctx)
	const extra = 1 // what has no value takes a place, too
	err := s.ask(ctx, selectSummary, []any{key, requestlog.MaxSeen + extra}, func(rows pgx.Rows) error {
		var kind string
		var value *string
		var n, failed, first, last int64
		lists := map[string]*[]requestlog.Seen{"address": &out.Addresses, "agent": &out.UserAgents, "resource": &out.Resources}
		_, err := pgx.ForEachRow(rows, []any{&kind, &value, &n, &failed, &first, &last}, func() error {
			at := time.UnixMilli(last).UTC()
			if list := lists[kind]; list != nil {
				if value != nil && len(*list) < requestlog.MaxSeen {
					*list = append(*list, requestlog.Seen{Value: *value, Requests: n, LastSeen: at})
				}
				return nil
			}
			out.Key, out.Requests, out.Errors = key, n, failed
			out.FirstSeen, out.LastSeen = time.UnixMilli(first).UTC(), at
			return nil
		})
		return err
	})
	return out, err
}
