package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler is a PgBouncer that gives each transaction another connection to a server.
type Pooler struct {
	Port int
}

// Pool starts a pooler before the server, for the time of a test.
func (s *Server) Pool(tb testing.TB) *Pooler {
	tb.Helper()
	p, err := s.pool(tb)
	if err != nil {
		tb.Fatalf("starting PgBouncer: %v", err)
	}
	return p
}

func (s *Server) pool(tb testing.TB) (*Pooler, error) {
	bin := "/usr/sbin/pgbouncer"
	if _, err := os.Stat(bin); err != nil {
		if bin, err = exec.LookPath("pgbouncer"); err != nil {
			return nil, errors.New("there is none on this machine, which these tests need: apt-get install -y pgbouncer (or run .ci/deps)")
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keystile-pool-")
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s/users
pool_mode = transaction
default_pool_size = 4
max_client_conn = 400
logfile = %s/log
`, s.Port, port, dir, dir)
	for name, text := range map[string]string{"config.ini": config, "users": fmt.Sprintf("%q %q\n", "keystile", Password)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // its own user reads it
			return nil, err
		}
	}
	if s.as != nil {
		if err := os.Chown(dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(bin, filepath.Join(dir, "config.ini"))
	cmd.Dir, cmd.SysProcAttr = dir, attributes(s.as)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
	})
	p := &Pooler{Port: port}
	for deadline := time.Now().Add(startLimit); ; pause() {
		if err = p.ping(tb.Context()); err == nil {
			return p, nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			return nil, fmt.Errorf("it was not ready within %v: %w\n%s", startLimit, err, text)
		}
	}
}

func (p *Pooler) ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.through("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (p *Pooler) through(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("keystile", Password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Port)), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Through is the address by the pooler of what a DSN of its server names.
func (p *Pooler) Through(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	return p.through(u.Path[1:])
}
