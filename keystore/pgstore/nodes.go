package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/keystore"
)

// forgottenAfter is how long a node that has not left stays in the list.
const forgottenAfter = time.Hour

const selectNodes = `SELECT id, version, started, revision, max_staleness, extract(epoch FROM clock_timestamp() - seen)::float8
	FROM keystile_nodes WHERE seen > now() - make_interval(secs => $1)`

// Beat says that a node lives.
func (s *Store) Beat(ctx context.Context, n *keystore.NodeRow) ([]keystore.NodeRow, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	_, err := s.pool.Exec(ctx, `INSERT INTO keystile_nodes (id, version, started, revision, max_staleness, seen) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, revision = excluded.revision, max_staleness = excluded.max_staleness, seen = excluded.seen`,
		n.ID, n.Version, n.Started.UnixMilli(), int64(n.Revision), n.MaxStaleness.Milliseconds())
	if err != nil && state(err) != stateReadOnly {
		return nil, s.named(err)
	}
	return s.Nodes(ctx)
}

// Nodes are the nodes that were heard of lately.
func (s *Store) Nodes(ctx context.Context) ([]keystore.NodeRow, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	rows, err := s.pool.Query(ctx, selectNodes, forgottenAfter.Seconds())
	if err != nil {
		return nil, s.named(err)
	}
	nodes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n keystore.NodeRow, err error) {
		var started, revision, staleness int64
		var unseen float64
		err = row.Scan(&n.ID, &n.Version, &started, &revision, &staleness, &unseen)
		n.Started, n.Revision = time.UnixMilli(started).UTC(), uint64(revision)
		n.MaxStaleness = time.Duration(staleness) * time.Millisecond
		n.Unseen = time.Duration(max(0, unseen) * float64(time.Second))
		return n, err
	})
	return nodes, s.named(err)
}

// Leave takes a node off the list, and those with it that were forgotten.
func (s *Store) Leave(ctx context.Context, id string) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_nodes WHERE id = $1 OR seen <= now() - make_interval(secs => $2)`, id, forgottenAfter.Seconds())
	return s.named(err)
}
