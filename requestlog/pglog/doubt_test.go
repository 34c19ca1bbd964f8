package pglog

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// cutter stands between a store and the server. Armed, it hands a COMMIT on, waits until the server has answered, and cuts the
// connection instead of handing the answer back.
type cutter struct {
	net.Listener
	server string
	armed  atomic.Int32 // how many commits are still to be cut
	before atomic.Bool  // cut before the server hears of it
	cut    atomic.Int32
}

// cutFrom puts a cutter before the server of a DSN and answers the DSN of it.
func cutFrom(t *testing.T, dsn string, server *pgtest.Server) (*cutter, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	address := func(dsn string) string {
		_, rest, _ := strings.Cut(dsn, "@")
		a, _, _ := strings.Cut(rest, "/")
		return a
	}
	c := &cutter{Listener: l, server: address(server.DSN("postgres"))}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	return c, strings.Replace(dsn, address(dsn), l.Addr().String(), 1)
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var cutting atomic.Bool
	go func() {
		defer client.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if err != nil {
				return
			}
			if cutting.Load() { // the server has answered: the batch is done
				c.cut.Add(1)
				return
			}
			if _, err = client.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("keystile_log_head")) && bytes.Contains(b[:n], []byte("COMMIT")) && c.armed.Load() > 0 {
			c.armed.Add(-1)
			if c.before.Load() {
				c.cut.Add(1)
				return
			}
			cutting.Store(true)
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}

// TestUnknownOutcome: the answer to COMMIT is lost, again and again, before the commit or behind it. Each record is there once.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	dsn := server.Database(t)
	c, through := cutFrom(t, dsn, server)
	o := options(t, through)
	s := open(t, o)
	records := requestlogtest.Records(1000, 6)
	for i := 0; i < len(records); i += 100 {
		c.before.Store(i%200 == 0)
		c.armed.Store(1)
		write(t, s, records[i:i+100])
		until(t, "an answer is lost", func() bool { return c.armed.Load() == 0 })
		until(t, "the records arrive", s.empty)
	}
	same(t, s, records)
	if n := c.cut.Load(); n != 10 {
		t.Errorf("%d answers were lost, want 10", n)
	}
}

// TestLocks: somebody holds what a batch or a query needs. Both are given up after a while; nothing is lost.
func TestLocks(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	o := options(t, dsn)
	o.QueryTime = 200 * time.Millisecond
	s := open(t, o)
	records := requestlogtest.Records(400, 7)
	write(t, s, records[:100])
	until(t, "the first records arrive", s.empty)
	for name, lock := range map[string]string{
		"the head":  `SELECT one FROM keystile_log_head FOR UPDATE`,
		"the table": `LOCK TABLE keystile_log_records IN ACCESS EXCLUSIVE MODE`,
	} {
		conn := connect(t, dsn)
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), lock); err != nil {
			t.Fatal(err)
		}
		part := records[100:250]
		if name == "the table" {
			part = records[250:]
		}
		write(t, s, part)
		if name == "the table" {
			if _, err := s.list(t.Context(), requestlog.Query{Limit: 10}); !errors.Is(err, requestlog.ErrUnavailable) {
				t.Errorf("List while %s is locked: %v", name, err)
			}
		}
		if n := number(t, connect(t, dsn), `SELECT records FROM keystile_log_head`); n >= 400 {
			t.Errorf("while %s is locked %d records have arrived", name, n)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, "the records arrive when "+name+" is free", s.empty)
	}
	same(t, s, records)
}

// TestRefusedRecord: a record that the database does not take costs itself, and no other.
func TestRefusedRecord(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	if _, err := connect(t, dsn).Exec(t.Context(), `ALTER TABLE keystile_log_records ADD CONSTRAINT rule CHECK (path <> '/bad')`); err != nil {
		t.Fatal(err)
	}
	records := requestlogtest.Records(300, 8)
	records[7].Path, records[150].Path = "/bad", "/bad"
	records[8].Path, records[9].UserAgent = "/with\x00zero", "not \xff UTF-8"
	write(t, s, records)
	until(t, "all are dealt with", s.empty)
	got := all(t, s, requestlog.Filter{})
	if len(got) != 298 {
		t.Errorf("%d records are there, want 298", len(got))
	}
	if n := s.Stats().Skipped; n != 2 {
		t.Errorf("%d records were skipped, want 2", n)
	}
}

// TestRefusedRecords: where the database takes none at all, they wait until it does.
func TestRefusedRecords(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	conn := connect(t, dsn)
	if _, err := conn.Exec(t.Context(), `ALTER TABLE keystile_log_records ADD CONSTRAINT rule CHECK (false)`); err != nil {
		t.Fatal(err)
	}
	write(t, s, requestlogtest.Records(300, 10))
	until(t, "after some, it is not the records' fault", func() bool { return s.Stats().Backlog.Away })
	if n := s.Stats().Skipped; n != maxRefused {
		t.Errorf("%d records were given up, want %d", n, maxRefused)
	}
	if _, err := conn.Exec(t.Context(), `ALTER TABLE keystile_log_records DROP CONSTRAINT rule`); err != nil {
		t.Fatal(err)
	}
	until(t, "they arrive", s.empty)
	if got := all(t, s, requestlog.Filter{}); len(got) != 300 { // also those that were given up: their batch was not done with
		t.Errorf("%d records are there, want 300", len(got))
	}
}

// TestClearedDatabase: somebody drops all tables. They are made anew.
func TestClearedDatabase(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	s := open(t, options(t, dsn))
	records := requestlogtest.Records(200, 9)
	write(t, s, records[:100])
	until(t, "records arrive", s.empty)
	if _, err := connect(t, dsn).Exec(t.Context(), `DROP SCHEMA public CASCADE; CREATE SCHEMA public`); err != nil {
		t.Fatal(err)
	}
	write(t, s, records[100:])
	until(t, "records arrive again", s.empty)
	if got := all(t, s, requestlog.Filter{}); len(got) < 100 {
		t.Errorf("%d records are there, want the last hundred at least", len(got))
	}
}

// TestAbandonedQuery: the server hears of it when the caller of a query goes away, and ends the work.
func TestAbandonedQuery(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	o := options(t, dsn)
	o.QueryTime = 10 * time.Minute
	s := open(t, o)
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.ask(ctx, `SELECT pg_sleep(600)`, nil, func(rows pgx.Rows) error { rows.Next(); return nil })
	}()
	conn := connect(t, dsn)
	running := func() bool {
		return number(t, conn, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()`) > 0
	}
	until(t, "the query runs", running)
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the query ends with %v", err)
	}
	until(t, "the server has ended it", func() bool { return !running() })
}
