package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// TestErrors: each error is of one class, or of none.
func TestErrors(t *testing.T) {
	t.Parallel()
	answered := func(state string) error {
		return &pgconn.PgError{Severity: "ERROR", Code: state, Message: "unexpected EOF"}
	}
	tests := []struct {
		err        error
		state      string
		away, lost bool
	}{
		{err: nil},
		{err: errors.New("something else")},
		{err: pgx.ErrNoRows},
		{err: context.Canceled},
		{err: io.EOF, away: true},
		{err: io.ErrUnexpectedEOF, away: true},
		{err: net.ErrClosed, away: true},
		{err: context.DeadlineExceeded, away: true},
		{err: os.ErrDeadlineExceeded, away: true},
		{err: &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, away: true},
		{err: errors.New("conn closed"), away: true},
		{err: errors.New("closed pool"), away: true},
		{err: answered("08006"), state: "08006", away: true},
		{err: answered("53100"), state: "53100", away: true},
		{err: answered("53300"), state: "53300", away: true},
		{err: answered("57P01"), state: "57P01", away: true},
		{err: answered("57P02"), state: "57P02", away: true},
		{err: answered("57P03"), state: "57P03", away: true},
		{err: answered("57P05"), state: "57P05", away: true},
		{err: answered("25P03"), state: "25P03", away: true},
		{err: answered(postgres.QueryCanceled), state: "57014", away: true},
		{err: answered(postgres.SerializationFailure), state: "40001", lost: true},
		{err: answered(postgres.Deadlock), state: "40P01", lost: true},
		{err: answered(postgres.ReadOnly), state: "25006"},
		{err: answered(postgres.UniqueViolation), state: "23505"},
		{err: answered(postgres.CheckViolation), state: "23514"},
		{err: answered(postgres.LockNotAvailable), state: "55P03"},
		{err: answered(postgres.UndefinedTable), state: "42P01"},
		{err: answered(postgres.UndefinedFunction), state: "42883"},
		{err: answered("28P01"), state: "28P01"}, // within a session it is no refused sign-in
	}
	for _, test := range tests {
		errs := []error{test.err}
		if test.err != nil {
			errs = append(errs, fmt.Errorf("reading: %w", test.err), errors.Join(errors.New("first"), test.err))
		}
		for _, err := range errs {
			if got := postgres.State(err); got != test.state {
				t.Errorf("%v: the state is %q, want %q", err, got, test.state)
			}
			if got := postgres.Away(err); got != test.away {
				t.Errorf("%v: away is %t", err, got)
			}
			if got := postgres.Lost(err); got != test.lost {
				t.Errorf("%v: lost is %t", err, got)
			}
			if postgres.Refused(err) {
				t.Errorf("%v: it counts as a refused sign-in", err)
			}
		}
	}
}

// TestRefused: a server that lets nobody in is not away, and its answer holds no password.
func TestRefused(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	for what, change := range map[string]func(*pgxpool.Config){
		"28P01": func(c *pgxpool.Config) { c.ConnConfig.Password = "s3cret" },
		"3D000": func(c *pgxpool.Config) { c.ConnConfig.Database = "nothing" },
	} {
		config := parse(t, dsn)
		change(config)
		err := connect(t.Context(), config)
		if postgres.State(err) != what || !postgres.Refused(err) || postgres.Away(err) {
			t.Errorf("state %s, want %s; refused %t, away %t: %v", postgres.State(err), what, postgres.Refused(err), postgres.Away(err), err)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), pgtest.Password)) {
			t.Errorf("the error holds the password: %v", err)
		}
	}
	if err := connect(t.Context(), parse(t, dsn)); err != nil {
		t.Errorf("with the right address: %v", err)
	}
}
