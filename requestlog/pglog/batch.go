package pglog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/requestlog"
)

const (
	// batchTime bounds one batch as the node sees it, the others as the server does: it goes on where a node has vanished.
	batchTime       = 30 * time.Second
	statementTime   = 20 * time.Second
	lockTime        = 10 * time.Second
	orphanTime      = 10 * time.Second
	batchTries      = 6
	maxRefused      = 16
	idBytes         = 1 + sortLen // of a record in keystile_log_batches
	requestMark     = 'r'
	gapMark         = 'g'
	copyInto        = `COPY keystile_log_records (`
	copyHow         = `) FROM STDIN (FORMAT binary)`
	stateData       = "22" // class: what the database does not take, whoever asks
	stateConstraint = "23"
	stateTooMuch    = "54"
)

// countKey is what counts are kept by.
type countKey struct {
	day         int
	minute      int64
	kind, value string
}

type dayPart struct{ records, skew int64 }

// batch is what some records are to the database.
type batch struct {
	rows   []byte // as COPY takes them
	ids    []byte
	sorts  []string
	days   map[int]*dayPart
	counts map[countKey]int64
}

func newBatch(records []*requestlog.Record) *batch {
	b := &batch{
		rows: make([]byte, 0, len(records)*600), ids: make([]byte, 0, len(records)*idBytes), sorts: make([]string, 0, len(records)),
		days: make(map[int]*dayPart), counts: make(map[countKey]int64),
	}
	b.rows = append(b.rows, copyHead...)
	for _, r := range records {
		b.add(r)
	}
	b.rows = append(b.rows, copyEnd...)
	return b
}

func (b *batch) add(r *requestlog.Record) {
	b.rows = appendRow(b.rows, r)
	mark := byte(requestMark)
	if strings.HasPrefix(r.ID, gapPrefix) {
		mark = gapMark
	}
	sort := sortKey(r.ID)
	b.ids = append(append(b.ids, mark), sort...)
	b.sorts = append(b.sorts, sort)
	position, _ := requestlog.Position(r.ID)
	day := dayOf(r.ID)
	d := b.days[day]
	if d == nil {
		d = new(dayPart)
		b.days[day] = d
	}
	d.records++
	d.skew = max(d.skew, requestlog.PositionTime(position).Sub(r.Time).Abs().Milliseconds())
	if r.IsGap() {
		return
	}
	minute := r.Time.Unix() / 60
	for _, kind := range countedKinds {
		b.counts[countKey{day, minute, kind, storable(requestlog.GroupOf(r, kind))}]++
	}
}

// countedKinds are the groupings of histograms that counts are kept of. Keys are too many.
var countedKinds = []string{requestlog.ByStatusClass, requestlog.ByResource, requestlog.ByDecision}

// bring writes records, each of them once. doubt says that some may be there already.
func (w *shipper) bring(ctx context.Context, records []*requestlog.Record, doubt bool) error {
	for try := 0; ; try++ {
		err := w.write(ctx, records, doubt)
		if err == nil {
			w.refused = 0
			return nil
		}
		switch state := postgres.State(err); {
		case state == postgres.UniqueViolation:
			doubt = true
		case noPartition(err): // dropped meanwhile
			w.forgetDays()
		case state == postgres.UndefinedTable: // somebody has cleared the database
			w.ready.Store(false)
			w.forgetDays()
		case strings.HasPrefix(state, "40"): // somebody else's transaction came first
		case strings.HasPrefix(state, stateData) || strings.HasPrefix(state, stateConstraint) || strings.HasPrefix(state, stateTooMuch):
			return w.halves(ctx, records, err)
		default:
			return err
		}
		if try == batchTries {
			return err
		}
	}
}

// halves finds the record that the database does not take, and gives it up: it would be in the way of all others for ever. Where one
// after the other is refused it is not the records: somebody has changed the tables. They wait until that is mended.
func (w *shipper) halves(ctx context.Context, records []*requestlog.Record, err error) error {
	if w.refused == maxRefused {
		return fmt.Errorf("%d records in a row were not taken: %w", maxRefused, err)
	}
	if len(records) == 1 {
		w.refused++
		w.skipped.Add(1)
		w.errors.Add(1)
		w.logger.Error("request log: the database does not take a record; it is given up", zap.String("id", records[0].ID), zap.Error(w.named(err)))
		return nil
	}
	half := len(records) / 2
	if err := w.bring(ctx, records[:half], true); err != nil {
		return err
	}
	return w.bring(ctx, records[half:], true)
}

// write writes records in one transaction. After an error nobody knows whether they were written, but for those that the server
// answers.
func (w *shipper) write(ctx context.Context, records []*requestlog.Record, doubt bool) error {
	ctx, cancel := context.WithTimeout(ctx, batchTime)
	defer cancel()
	if err := w.prepare(ctx); err != nil {
		return err
	}
	b := newBatch(records)
	days := make([]int, 0, len(b.days))
	for day := range b.days {
		days = append(days, day)
	}
	if err := w.makeDays(ctx, days); err != nil {
		return err
	}
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release() // which closes a connection that is in the middle of a transaction
	known, err := w.begin(ctx, conn.Conn(), b, doubt)
	if err != nil {
		return err
	}
	if doubt {
		var rest []*requestlog.Record
		for _, r := range records {
			if sort := sortKey(r.ID); !known[sort] {
				known[sort] = true
				rest = append(rest, r)
			}
		}
		if len(rest) == 0 {
			_, err := conn.Exec(ctx, `ROLLBACK`)
			return err
		}
		b = newBatch(rest)
	}
	if _, err := conn.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(b.rows), copyInto+selected+copyHow); err != nil {
		return err
	}
	return w.commit(ctx, conn.Conn(), b)
}

// begin begins the transaction, and, where there is a doubt, asks which records are there.
func (w *shipper) begin(ctx context.Context, conn *pgx.Conn, b *batch, doubt bool) (known map[string]bool, err error) {
	words := new(pgx.Batch)
	words.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	words.Queue(fmt.Sprintf(`SET LOCAL statement_timeout = %d`, statementTime.Milliseconds()))
	words.Queue(fmt.Sprintf(`SET LOCAL lock_timeout = %d`, lockTime.Milliseconds()))
	words.Queue(fmt.Sprintf(`SET LOCAL idle_in_transaction_session_timeout = %d`, orphanTime.Milliseconds()))
	if w.lazy.Load() {
		words.Queue(`SET LOCAL synchronous_commit = on`)
	}
	settings := words.Len()
	if doubt {
		words.Queue(`SELECT id FROM keystile_log_records WHERE id = ANY($1::text[])`, b.sorts)
	}
	results := conn.SendBatch(ctx, words)
	defer func() { err = errors.Join(err, results.Close()) }()
	for range settings {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	if !doubt {
		return nil, nil
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	known = make(map[string]bool, len(ids))
	for _, id := range ids {
		known[id] = true
	}
	return known, err
}

// commit adds the counts, takes a number, and commits: in one message, so that the head is held no longer than the server takes.
func (w *shipper) commit(ctx context.Context, conn *pgx.Conn, b *batch) error {
	words := new(pgx.Batch)
	b.queueCounts(words, w.node)
	words.Queue(`WITH head AS (UPDATE keystile_log_head SET seq = seq + 1, records = records + $1 RETURNING seq, records)
		INSERT INTO keystile_log_batches (seq, records, made, node, ids) SELECT seq, records, clock_timestamp(), $2, $3 FROM head`,
		int64(len(b.sorts)), w.node, b.ids)
	b.queueDays(words)
	words.Queue(`COMMIT`)
	results := conn.SendBatch(ctx, words)
	var err error
	for i := range words.Len() {
		tag, execErr := results.Exec()
		if err == nil && execErr == nil && i == words.Len()-1 && tag.String() != "COMMIT" {
			execErr = fmt.Errorf("the server answers %q to COMMIT", tag)
		}
		if err == nil {
			err = execErr
		}
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (b *batch) queueCounts(words *pgx.Batch, node string) {
	if len(b.counts) == 0 {
		return
	}
	n := len(b.counts)
	days, minutes, kinds, values, counts := make([]int32, 0, n), make([]int64, 0, n), make([]string, 0, n), make([]string, 0, n), make([]int64, 0, n)
	for k, c := range b.counts {
		days, minutes, kinds, values, counts = append(days, int32(k.day)), append(minutes, k.minute), append(kinds, k.kind), append(values, k.value), append(counts, c)
	}
	words.Queue(`INSERT INTO keystile_log_counts (day, minute, kind, value, node, n)
		SELECT day, minute, kind, value, $6, n FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::bigint[]) AS c (day, minute, kind, value, n)
		ON CONFLICT (day, minute, kind, value, node) DO UPDATE SET n = keystile_log_counts.n + excluded.n`,
		days, minutes, kinds, values, counts, node)
}

func (b *batch) queueDays(words *pgx.Batch) {
	var days []int32
	var records, skews []int64
	for day, d := range b.days {
		days, records, skews = append(days, int32(day)), append(records, d.records), append(skews, d.skew)
	}
	words.Queue(`UPDATE keystile_log_days AS d SET records = d.records + p.records, skew = greatest(d.skew, p.skew)
		FROM unnest($1::integer[], $2::bigint[], $3::bigint[]) AS p (day, records, skew) WHERE d.day = p.day`, days, records, skews)
}
