package pglog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// recordsOf makes some records of a day.
func recordsOf(day time.Time, n int, seed uint64) []*requestlog.Record {
	list := requestlogtest.Records(n, seed)
	for i, r := range list {
		r.Time = day.Add(time.Duration(i) * time.Second)
		r.ID = requestlogtest.ID(r.Time, uint64(i)+seed<<32)
	}
	return list
}

func partitions(t *testing.T, dsn string) (names []string) {
	t.Helper()
	rows, err := connect(t, dsn).Query(t.Context(), `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'keystile_log_records'::regclass ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// TestManyNodesAtOnce: nodes that start on an empty database make its tables once, and its days, whoever needs one first.
func TestManyNodesAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	var stores [4]*Store
	var wg sync.WaitGroup
	for i := range stores {
		o := options(t, dsn)
		wg.Go(func() {
			var err error
			if stores[i], err = Open(o); err != nil {
				t.Errorf("Open: %v", err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	begin := time.Date(2024, 2, 25, 23, 58, 0, 0, time.UTC)
	var want []*requestlog.Record
	for i, s := range stores {
		defer s.Close()
		var mine []*requestlog.Record
		for day := range 8 {
			mine = append(mine, recordsOf(begin.AddDate(0, 0, day), 200, uint64(i*100+day))...)
		}
		want = append(want, mine...)
		wg.Go(func() {
			for batch := range slices.Chunk(mine, 50) {
				write(t, s, batch)
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		until(t, "all records arrive", s.empty)
	}
	same(t, stores[0], want)
	until(t, "the days to come are there", func() bool { return len(partitions(t, dsn)) == 9+2 })
	for i, s := range stores {
		if n := s.errors.Load(); n > 0 {
			t.Errorf("node %d counts %d errors", i, n)
		}
	}
}

// TestRecordsOfAnyTime: old records and those of a clock that is ahead lie in days of their own; those older than what is kept
// are counted and not kept.
func TestRecordsOfAnyTime(t *testing.T) {
	t.Parallel()
	o := options(t, pgtest.Shared(t).Database(t))
	o.Retention = 30 * dayLength
	s := open(t, o)
	now := time.Now().UTC()
	old, ahead, expired := recordsOf(now.Add(-20*dayLength), 10, 1), recordsOf(time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC), 10, 2), recordsOf(now.Add(-40*dayLength), 10, 3)
	write(t, s, slices.Concat(old, ahead, expired))
	until(t, "they arrive", s.empty)
	same(t, s, slices.Concat(old, ahead))
	if n := s.Stats().Backlog.Expired; n != 10 {
		t.Errorf("%d records were too old, want 10", n)
	}
}

// TestRetention: days that are too old go, and then the oldest until the rest is small enough; several nodes may do it at once.
func TestRetention(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	var stores []*Store
	for range 3 {
		o := options(t, dsn)
		o.Retention, o.Now = 8*dayLength, func() time.Time { return time.Unix(0, clock.Load()) }
		o.Elapsed, o.serverNow = func() time.Duration { return time.Duration(clock.Load()) }, func(context.Context) (time.Time, error) { return o.Now(), nil }
		stores = append(stores, open(t, o))
	}
	s := stores[0]
	today := time.Now().UTC().Truncate(dayLength)
	var all5 []*requestlog.Record
	for day := range 5 {
		all5 = append(all5, recordsOf(today.AddDate(0, 0, -day), 2000, uint64(day))...)
	}
	for batch := range slices.Chunk(all5, 1000) {
		write(t, s, batch)
	}
	until(t, "all records arrive", s.empty)
	keepAll := func(age time.Duration, size int64) {
		var wg sync.WaitGroup
		for _, s := range stores {
			s.SetRetention(age, size)
			wg.Go(func() {
				if err := s.keep(t.Context()); err != nil {
					t.Errorf("keep: %v", err)
				}
			})
		}
		wg.Wait()
	}
	conn := connect(t, dsn)
	count := func() int64 { return number(t, conn, `SELECT count(*) FROM keystile_log_records`) }
	keepAll(8*dayLength, 0)
	if n := count(); n != 10_000 {
		t.Errorf("%d records are kept, want all", n)
	}
	s.mu.Lock()
	bytes := s.size.bytes
	s.mu.Unlock()
	keepAll(8*dayLength, bytes-1)
	until(t, "the oldest day goes", func() bool { keepAll(8*dayLength, bytes-1); return count() == 8000 })
	until(t, "all days but two go", func() bool { keepAll(2*dayLength, 0); return count() <= 6000 })
	until(t, "the newest day stays", func() bool { keepAll(century, 1<<20); return count() == 2000 })
	if n := number(t, connect(t, dsn), `SELECT count(*) FROM keystile_log_counts WHERE day < $1`, dayOf("req_"+boundAt(today))); n != 0 {
		t.Errorf("%d counts of days that are gone are there", n)
	}
	clock.Store(time.Now().Add(30 * dayLength).UnixNano())
	until(t, "by age every day goes", func() bool { keepAll(dayLength, 0); return count() == 0 })
	// A day that was dropped while a node thought that it is there.
	clock.Store(time.Now().UnixNano())
	again := recordsOf(today, 100, 77)
	write(t, stores[1], again)
	until(t, "records of a dropped day arrive", func() bool { return stores[1].empty() && count() == 100 })
}

// TestNodeAheadDropsNothing: a node whose clock is ahead drops no day, however long it is so, if the database's clock says otherwise; nor does
// it give up what waits in its journal. If both say so, days go once they have done so for a while.
func TestNodeAheadDropsNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	now := time.Now().UTC()
	var ahead, database, passed atomic.Int64
	o := options(t, dsn)
	o.Retention = 30 * dayLength
	o.Now = func() time.Time { return now.Add(time.Duration(ahead.Load() + passed.Load())) }
	o.Elapsed = func() time.Duration { return time.Duration(passed.Load()) }
	o.serverNow = func(context.Context) (time.Time, error) {
		return now.Add(time.Duration(database.Load() + passed.Load())), nil
	}
	s := open(t, o)
	write(t, s, recordsOf(now, 100, 1))
	until(t, "records arrive", s.empty)
	conn := connect(t, dsn)
	pass := func(hours int) int64 {
		for range hours {
			passed.Add(int64(time.Hour))
			if err := s.keep(t.Context()); err != nil {
				t.Errorf("keep: %v", err)
			}
			s.dropAside()
		}
		return number(t, conn, `SELECT count(*) FROM keystile_log_records`)
	}
	ahead.Store(int64(40 * dayLength))
	if n := pass(20); n != 100 {
		t.Errorf("%d records are left after the node was ahead, want 100", n)
	}
	write(t, s, recordsOf(now, 50, 2))
	until(t, "more records arrive", s.empty)
	if n := s.Stats().Backlog.Expired; n != 0 {
		t.Errorf("%d records were too old for a node that is ahead", n)
	}
	database.Store(int64(40 * dayLength))
	if n := pass(5); n != 150 {
		t.Errorf("%d records are left after both were ahead for a while, want 150", n)
	}
	until(t, "records are too old when both clocks stay there", func() bool { return pass(1) == 0 })
}

// TestDatabaseClockBehindIsTold: a database whose clock is far behind keeps old records for as long. The process says so, once.
func TestDatabaseClockBehindIsTold(t *testing.T) {
	t.Parallel()
	core, said := observer.New(zap.InfoLevel)
	var behind time.Duration
	s := &Store{logger: zap.New(core), o: Options{
		Now: time.Now, Elapsed: func() time.Duration { return 0 },
		serverNow: func(context.Context) (time.Time, error) { return time.Now().Add(-behind).Round(0), nil },
	}}
	for _, step := range []struct {
		behind     time.Duration
		warn, info int
	}{{-40 * dayLength, 0, 0}, {time.Minute, 0, 0}, {40 * dayLength, 1, 0}, {41 * dayLength, 1, 0}, {0, 1, 1}, {40 * dayLength, 2, 1}} {
		behind = step.behind
		if err := s.compareClocks(t.Context()); err != nil {
			t.Fatal(err)
		}
		warn, info := said.FilterLevelExact(zap.WarnLevel).Len(), said.FilterLevelExact(zap.InfoLevel).Len()
		if warn != step.warn || info != step.info {
			t.Errorf("behind by %v: warned %d times and told %d times that all is well, want %d and %d", behind, warn, info, step.warn, step.info)
		}
	}
	if first := said.All()[0].Message; !strings.Contains(first, "database's clock is behind") {
		t.Errorf("the process says %q", first)
	}
}

// TestPartitionDroppedByHand: an operator drops the table of a day and knows nothing of the row that says it is there. Records of that
// day go on arriving.
func TestPartitionDroppedByHand(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	today := time.Now().UTC().Truncate(dayLength)
	write(t, s, recordsOf(today, 100, 21))
	until(t, "records arrive", s.empty)
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), `DROP TABLE `+partition(dayOf("req_"+boundAt(today)))); err != nil {
		t.Fatal(err)
	}
	again := recordsOf(today, 100, 22)
	write(t, s, again)
	until(t, "records arrive again", s.empty)
	if got := all(t, s, requestlog.Filter{}); len(got) != len(again) {
		t.Errorf("%d records are there, want %d", len(got), len(again))
	}
}

// TestTurn: who has the turn cannot keep it by vanishing.
func TestTurn(t *testing.T) {
	t.Parallel()
	s := open(t, options(t, pgtest.Shared(t).Database(t)))
	err := s.inTurn(t.Context(), func(tx pgx.Tx) error {
		for name, want := range map[string]string{"idle_in_transaction_session_timeout": "10s", "lock_timeout": "1s"} {
			var got string
			if err := tx.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %s", name, got, err, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{time.Unix(0, 0).UTC(), time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)} {
		first := requestlogtest.ID(at, 0)
		before := requestlogtest.ID(at.Add(-time.Millisecond), 1<<62)
		if bound := boundAt(at); sortKey(first) < bound || at.Unix() > 0 && sortKey(before) >= bound || len(bound) != sortLen {
			t.Errorf("the bound of %v is %q; the first id there is %q and the last before it %q", at, bound, first, before)
		}
		if day := dayOf(first); !dayBegin(day).Equal(at) {
			t.Errorf("the day of %v begins at %v", at, dayBegin(day))
		}
	}
	if got := fmt.Sprint(partition(dayOf(requestlogtest.ID(time.Date(2026, 11, 25, 23, 0, 0, 0, time.UTC), 1)))); got != "keystile_log_20261125" {
		t.Errorf("the partition is called %s", got)
	}
}
