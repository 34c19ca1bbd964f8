package pglog

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// ownServer is a server that a test may stop.
func ownServer(t *testing.T) *pgtest.Server {
	t.Helper()
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("ending PostgreSQL: %v", err)
		}
	})
	return server
}

// same compares what a store lists with what was written: each record once, and in order.
func same(t *testing.T, s *Store, want []*requestlog.Record) {
	t.Helper()
	got := all(t, s, requestlog.Filter{})
	seen := make(map[string]bool, len(got))
	for i, r := range got {
		if seen[r.ID] {
			t.Errorf("record %s is there twice", r.ID)
		}
		seen[r.ID] = true
		if i > 0 && requestlog.CompareIDs(got[i-1].ID, r.ID) <= 0 {
			t.Errorf("records %d and %d are out of order", i-1, i)
		}
	}
	missing := 0
	for _, r := range want {
		if !seen[r.ID] {
			missing++
		}
	}
	if missing > 0 || len(got) != len(want) {
		t.Errorf("got %d records, want %d, of which %d are missing", len(got), len(want), missing)
	}
	conn := connect(t, s.o.DSN)
	if n := number(t, conn, `SELECT coalesce(sum(n), 0)::bigint FROM keystile_log_counts WHERE kind = 'status'`); n != int64(len(want)) {
		t.Errorf("the counts tell of %d records, want %d", n, len(want))
	}
	if n := number(t, conn, `SELECT records FROM keystile_log_head`); n != int64(len(want)) {
		t.Errorf("the head tells of %d records, want %d", n, len(want))
	}
}

// TestDatabaseAway: while the database is stopped records are taken, queries fail as unavailable, the log says so once, and behind
// it every record is there once.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	core, logs := observer.New(zapcore.InfoLevel)
	o := options(t, server.Database(t))
	o.Logger = zap.New(core)
	s := open(t, o)
	records := requestlogtest.Records(3000, 1)
	write(t, s, records[:500])
	until(t, "the first records arrive", s.empty)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := 500; i < 2500; i += 100 {
		write(t, s, records[i:i+100])
	}
	until(t, "the store notices", s.away.Load)
	if _, err := s.List(t.Context(), requestlog.Query{Limit: 10}); !errors.Is(err, requestlog.ErrUnavailable) {
		t.Errorf("List without the database: %v", err)
	} else if strings.Contains(err.Error(), pgtest.Password) {
		t.Errorf("the error holds the password: %v", err)
	}
	if _, _, err := s.Feed(t.Context(), 10); !errors.Is(err, requestlog.ErrUnavailable) {
		t.Errorf("Feed without the database: %v", err)
	}
	until(t, "some tries have failed", func() bool { return s.errors.Load() >= 3 })
	if b := s.Stats().Backlog; !b.Away || b.Records != 2000 || b.Bytes == 0 || b.Age == 0 {
		t.Errorf("the backlog is %+v, want 2000 records", b)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	write(t, s, records[2500:])
	until(t, "all records arrive", s.empty)
	same(t, s, records)
	if b := s.Stats().Backlog; b.Away || b.Records != 0 || b.Bytes != 0 || b.Age != 0 {
		t.Errorf("behind it the backlog is %+v", b)
	}
	if away, back := logs.FilterMessageSnippet("cannot be brought").Len(), logs.FilterMessageSnippet("takes records again").Len(); away != 1 || back != 1 {
		t.Errorf("the log says %d times that the database is away and %d times that it is back, want 1 and 1", away, back)
	}
	for _, e := range logs.All() {
		for _, v := range e.ContextMap() {
			if text, ok := v.(string); ok && strings.Contains(text, pgtest.Password) {
				t.Errorf("the log holds the password: %s %s", e.Message, text)
			}
		}
	}
}

// TestKilledDatabase: whenever the server is killed, also in the middle of a batch, each record arrives once.
func TestKilledDatabase(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	o := options(t, server.Database(t))
	o.ShipInterval = time.Millisecond
	stores := []*Store{open(t, o)}
	o.Dir = t.TempDir()
	stores = append(stores, open(t, o))
	records := requestlogtest.Records(6000, 2)
	var at atomic.Int64
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() {
			for k := i * 3000; k < (i+1)*3000; k += 20 {
				write(t, s, records[k:k+20])
				at.Add(20)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	for round := range int64(4) {
		until(t, "records are written", func() bool { return at.Load() >= round*1200+300 })
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for _, s := range stores {
		until(t, "all records arrive", s.empty)
	}
	same(t, stores[0], records)
}

// TestStartWithoutDatabase: the store opens, takes records, and what is in the journal arrives when another process finds the
// database. A damaged file costs what cannot be read of it.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	o := options(t, server.Database(t))
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	records := requestlogtest.Records(900, 3)
	for i := range 3 {
		s := open(t, o)
		write(t, s, records[i*300:(i+1)*300])
		if _, err := s.Histogram(t.Context(), requestlog.HistogramQuery{}); !errors.Is(err, requestlog.ErrUnavailable) {
			t.Errorf("Histogram without the database: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	files := journalFiles(t, o.Dir)
	if len(files) != 3 {
		t.Fatalf("the journal has the files %v, want 3", files)
	}
	lost := damage(t, files[1])
	s := open(t, o)
	until(t, "all records arrive", s.empty)
	var want []*requestlog.Record
	for _, r := range records {
		if !lost[r.ID] {
			want = append(want, r)
		}
	}
	same(t, s, want)
	until(t, "the journal is empty", func() bool { return len(journalFiles(t, o.Dir)) == 0 })
	if st := s.Stats(); st.Skipped == 0 || st.SetAside != 1 {
		t.Errorf("%d lines were skipped and %d files set aside, want some and 1", st.Skipped, st.SetAside)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	// A further start finds nothing to do.
	s = open(t, o)
	until(t, "nothing waits", s.empty)
	same(t, s, want)
}

// TestReplicaFirst: of several servers in the address records go to the one that takes writes, wherever it stands.
func TestReplicaFirst(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	primary.Database(t)
	replica, err := primary.Replica()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Close(); err != nil {
			t.Errorf("ending the replica: %v", err)
		}
	})
	until(t, "the replica has the database", func() bool {
		return replica.Exec(`SELECT 1 / count(*) FROM pg_database WHERE datname = 'test1'`) == nil
	})
	s := open(t, options(t, pgtest.JointDSN("test1", replica, primary)))
	records := requestlogtest.Records(50, 1)
	write(t, s, records)
	until(t, "the records are in the database", s.empty)
	if got := all(t, s, requestlog.Filter{}); len(got) != len(records) {
		t.Errorf("got %d records, want %d", len(got), len(records))
	}
}
