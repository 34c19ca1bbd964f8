package pglog

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap/zaptest"

	"github.com/keystile/keystile/requestlog"
)

// waitLimit is how long a test waits for what must happen.
const waitLimit = 60 * time.Second

const century = 100 * 365 * 24 * time.Hour

// options are those of a test's store: records of any day are kept.
func options(t *testing.T, dsn string) Options {
	return Options{DSN: dsn, Dir: t.TempDir(), Retention: century, ShipInterval: 20 * time.Millisecond, Logger: zaptest.NewLogger(t)}
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitLimit); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// number is what a query of one number answers.
func number(t *testing.T, conn *pgx.Conn, sql string, args ...any) (n int64) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func write(t *testing.T, s *Store, records []*requestlog.Record) {
	t.Helper()
	if n, err := s.Write(records); n != len(records) || err != nil {
		t.Fatalf("Write of %d: got %d, %v", len(records), n, err)
	}
}

// all lists every record, newest first.
func all(t *testing.T, s *Store, f requestlog.Filter) (list []*requestlog.Record) {
	t.Helper()
	after := ""
	for {
		page, err := s.List(t.Context(), requestlog.Query{Filter: f, Limit: requestlog.MaxLimit, After: after})
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		list = append(list, page.Records...)
		if !page.More {
			return list
		}
		after = page.Next
	}
}

// empty says whether nothing waits in the journal.
func (s *Store) empty() bool {
	total, shipped := s.places()
	return shipped >= total
}
