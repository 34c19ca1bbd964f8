package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startLimit is how long a server may take to start or to stop on a busy machine.
const startLimit = 90 * time.Second

// Password is that of the server's one user. It is searched for in logs.
const Password = "pg-secret-Zx81kQ"

// Server is a PostgreSQL with a data directory of its own.
type Server struct {
	Port int

	dir     string
	bin     string
	as      *syscall.Credential // nil: whoever runs the tests
	cmd     *exec.Cmd
	done    chan struct{}
	out     *os.File
	created atomic.Int32
}

// New prepares and starts a server. Its owner calls Close.
func New() (*Server, error) {
	return start((*Server).init)
}

// start starts a server on a data directory that fill makes.
func start(fill func(*Server) error) (*Server, error) {
	bin, err := findBin()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.dir, err = os.MkdirTemp("", "keystile-pg-"); err != nil {
		return nil, err
	}
	if err = s.prepare(); err == nil {
		err = fill(s)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// findBin is the directory of the server's programs. Debian keeps them out of the PATH, one directory for each version.
func findBin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return major(a) - major(b) })
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("there is no PostgreSQL on this machine, which these tests need: apt-get install -y postgresql (or run .ci/deps)")
}

func major(path string) int {
	n, _ := strconv.Atoi(strings.Split(strings.TrimPrefix(path, "/usr/lib/postgresql/"), "/")[0])
	return n
}

// prepare finds what a server needs beside its data. It refuses to run as root: then it runs as somebody else.
func (s *Server) prepare() (err error) {
	if os.Getuid() == 0 {
		if s.as, err = somebody(); err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return err
		}
	}
	if s.Port, err = freePort(); err != nil {
		return err
	}
	s.out, err = os.Create(filepath.Join(s.dir, "log"))
	return err
}

// init makes an empty data directory.
func (s *Server) init() error {
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(Password), 0o644); err != nil { //nolint:gosec // the server's own user reads it
		return err
	}
	cmd := s.command("initdb", "-D", s.data(), "-U", "keystile", "--pwfile", password, "-A", "scram-sha-256", "--no-locale", "-E", "UTF8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

func somebody() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID == nil && errGID == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody on this machine")
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = attributes(s.as)
	return cmd
}

// Start starts the server, and waits until it answers.
func (s *Server) Start() error {
	cmd := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.Port), "-h", "127.0.0.1", "-k", s.dir,
		"-c", "fsync=on", "-c", "max_connections=200", "-c", "shared_buffers=64MB", "-c", "log_min_messages=warning")
	cmd.Stdout, cmd.Stderr = s.out, s.out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.done)
	for deadline := time.Now().Add(startLimit); ; {
		err := s.ping()
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("PostgreSQL has ended at its start:\n%s", s.log())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("PostgreSQL was not ready within %v: %w\n%s", startLimit, err, s.log())
		}
	}
}

func (s *Server) ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (s *Server) log() []byte {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return text[max(0, len(text)-4000):]
}

// DSN is the address of a database of this server.
func (s *Server) DSN(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword("keystile", Password),
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Database makes an empty database for a test and answers its DSN.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test%d", s.created.Add(1))
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		tb.Fatalf("connecting to PostgreSQL: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		tb.Fatalf("making a database: %v", err)
	}
	return s.DSN(name)
}

// Stop ends the server: fast is a clean stop that cuts off whoever is connected.
func (s *Server) Stop() error { return s.signal(syscall.SIGINT) }

// Kill ends the server as a power cut would, as far as processes go: SIGKILL for all of them. Its next start recovers.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	kill(s.cmd.Process)
	<-s.done
	s.cmd = nil
	return nil
}

// Pause makes the server stand still, as a network that has failed does: it refuses nobody, and answers nobody.
func (s *Server) Pause() error { return signalAll(s.cmd.Process, syscall.SIGSTOP) }

// Continue ends a pause.
func (s *Server) Continue() error { return signalAll(s.cmd.Process, syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-time.After(startLimit):
		_ = s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("PostgreSQL did not end within %v", startLimit)
	}
	s.cmd = nil
	return nil
}

// Close ends the server and removes all that it has stored.
func (s *Server) Close() error {
	err := s.signal(syscall.SIGQUIT)
	if s.out != nil {
		err = errors.Join(err, s.out.Close())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
