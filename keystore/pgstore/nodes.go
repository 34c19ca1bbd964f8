package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore"
)

// forgottenAfter is how long a node that has not left stays in the list, and longer if it may accept keys for longer.
const forgottenAfter = time.Hour

// remembered says of a row whether it is still in the list; $1 is forgottenAfter. The margin is more than clocks and lists may
// be behind.
const remembered = `seen > now() - make_interval(secs => greatest($1::float8, max_staleness / 1000.0 + 60))`

const selectNodes = `SELECT id, version, started, revision, max_staleness, extract(epoch FROM clock_timestamp() - seen)::float8
	FROM keystile_nodes WHERE ` + remembered

// Beat says that a node lives. The first word of a node waits for the disk, since the others must not forget in a crash whom
// they have to wait for. The later ones do not: what a crash undoes of them makes the node look older than it is.
func (s *Store) Beat(ctx context.Context, n *keystore.NodeRow) ([]keystore.NodeRow, error) {
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	nodes, known, err := s.beatAgain(ctx, n)
	switch {
	case postgres.State(err) == postgres.ReadOnly: // a standby keeps no list of its own
		return s.Nodes(ctx)
	case err != nil || known:
		return nodes, s.named(err)
	}
	batch := new(pgx.Batch)
	queueLimits(batch)
	batch.Queue(`INSERT INTO keystile_nodes (id, version, started, revision, max_staleness, seen) VALUES ($1, $2, $3, $4, $5, clock_timestamp())
		ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, seen = excluded.seen`,
		n.ID, n.Version, n.Started.UnixMilli(), int64(n.Revision), n.MaxStaleness.Milliseconds())
	if err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
		return nil, s.named(err)
	}
	return s.Nodes(ctx)
}

// beatAgain renews what a node has said before, and reads what all say, in one go. known is false if it is in no list.
func (s *Store) beatAgain(ctx context.Context, n *keystore.NodeRow) (nodes []keystore.NodeRow, known bool, err error) {
	batch := new(pgx.Batch)
	batch.Queue(`SELECT ` + lazily)
	batch.Queue(`UPDATE keystile_nodes SET version = $2, revision = $3, max_staleness = $4, seen = clock_timestamp() WHERE id = $1`,
		n.ID, n.Version, int64(n.Revision), n.MaxStaleness.Milliseconds()).Exec(func(tag pgconn.CommandTag) error {
		known = tag.RowsAffected() > 0
		return nil
	})
	batch.Queue(selectNodes, forgottenAfter.Seconds()).Query(func(rows pgx.Rows) (err error) {
		nodes, err = collectNodes(rows)
		return err
	})
	err = s.pool.SendBatch(ctx, batch).Close()
	return nodes, known, err
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
	nodes, err := collectNodes(rows)
	return nodes, s.named(err)
}

func collectNodes(rows pgx.Rows) ([]keystore.NodeRow, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (n keystore.NodeRow, err error) {
		var started, revision, staleness int64
		var unseen float64
		err = row.Scan(&n.ID, &n.Version, &started, &revision, &staleness, &unseen)
		n.Started, n.Revision = time.UnixMilli(started).UTC(), uint64(revision)
		n.MaxStaleness = time.Duration(staleness) * time.Millisecond
		n.Unseen = time.Duration(max(0, unseen) * float64(time.Second))
		return n, err
	})
}

// Leave takes a node off the list, and those with it that were forgotten.
func (s *Store) Leave(ctx context.Context, id string) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM keystile_nodes WHERE id = $2 OR NOT (`+remembered+`)`, forgottenAfter.Seconds(), id)
	return s.named(err)
}
