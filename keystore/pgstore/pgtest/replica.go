package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// pause is how long a helper waits before it looks again.
func pause() { time.Sleep(10 * time.Millisecond) }

// Replica starts a hot standby that the server streams to. Its owner calls Close.
func (s *Server) Replica() (*Server, error) {
	return start(func(r *Server) error {
		cmd := r.command("pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port), "-U", "keystile", "-D", r.data(), "-R", "-X", "stream", "-c", "fast")
		cmd.Env = append(cmd.Env, "PGPASSWORD="+Password)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
		}
		return nil
	})
}

// Exec runs statements at the server, one after the other, as its superuser.
func (s *Server) Exec(statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Text is the one value that a query at a database answers, "" if there is none.
func Text(dsn, query string) (value string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	if err = conn.QueryRow(ctx, query).Scan(&value); errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return value, err
}

// Synchronous makes commits wait until a replica has applied them, and waits until there is one that they wait for.
func (s *Server) Synchronous(tb testing.TB) {
	tb.Helper()
	err := s.Exec(`ALTER SYSTEM SET synchronous_standby_names = '*'`, `ALTER SYSTEM SET synchronous_commit = remote_apply`, `SELECT pg_reload_conf()`)
	for deadline := time.Now().Add(startLimit); err == nil; pause() {
		if s.Exec(`SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`) == nil {
			return
		}
		if time.Now().After(deadline) {
			err = fmt.Errorf("no replica was synchronous within %v", startLimit)
		}
	}
	tb.Fatal(err)
}

// Promote makes a replica take writes, and waits until it does.
func (s *Server) Promote() error { return s.Exec(`SELECT pg_promote()`) }

// JointDSN is the address of a database that several servers have, to be tried in their order.
func JointDSN(database string, servers ...*Server) string {
	hosts := ""
	for i, s := range servers {
		if i > 0 {
			hosts += ","
		}
		hosts += net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword("keystile", Password), Host: hosts, Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}
