package gatetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Time limits. They are long because the binary runs with the race detector beside other tests; nothing is asserted on them.
const (
	startLimit = 90 * time.Second
	stopLimit  = 30 * time.Second
)

// Gateway is one home directory with a Caddyfile, and the keystile process that runs on it, if one does.
// Its methods are for one goroutine, Output and Admin excepted.
type Gateway struct {
	Dir       string // home of everything; data lies in DataDir
	AdminAddr string // host:port of Caddy's admin endpoint
	Admin     *Admin // client of the admin API

	binary string
	env    []string // further environment, before HOME and XDG
	panics bool     // of handlers, which the test is about

	stdout, stderr output
	cmd            *exec.Cmd
	done           chan struct{} // closed when cmd has ended
	waitErr        error         // of cmd, readable after done
}

// StartError is a process that ended before it was ready.
type StartError struct {
	Code           int // exit code
	Stdout, Stderr string
}

// Error tells the exit code and the end of the output.
func (e *StartError) Error() string {
	return fmt.Sprintf("keystile ended with code %d before it was ready:\n%s%s", e.Code, e.Stdout, e.Stderr)
}

// New prepares a gateway without starting it. Its process, if started, is stopped and judged when the test ends.
func New(tb testing.TB) *Gateway {
	tb.Helper()
	g := newIn(tb, tb.TempDir())
	tb.Cleanup(func() {
		if err := g.Close(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("end of the gateway's output:\n%s", g.stderr.tail(3000))
		}
	})
	return g
}

// NewCrashing is New for the binary whose handlers can be made to panic, by the directive crash. That they do is no fault of
// this gateway; a data race is.
func NewCrashing(tb testing.TB) *Gateway {
	tb.Helper()
	binary, err := buildCrashing()
	if err != nil {
		tb.Fatal(err)
	}
	g := New(tb)
	g.binary, g.panics = binary, true
	return g
}

func newIn(tb testing.TB, dir string) *Gateway {
	tb.Helper()
	g := &Gateway{Dir: dir, AdminAddr: FreeAddr(tb), binary: Binary(tb)}
	g.Admin = newAdmin("http://" + g.AdminAddr + "/keystile")
	return g
}

var shared struct {
	sync.Mutex
	gateways []*Gateway
}

// NewShared prepares a gateway that outlives the test and is stopped and judged by Main.
func NewShared(tb testing.TB, name string) *Gateway {
	tb.Helper()
	dir, err := scratchDir()
	if err != nil {
		tb.Fatal(err)
	}
	home := filepath.Join(dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		tb.Fatal(err)
	}
	g := newIn(tb, home)
	shared.Lock()
	defer shared.Unlock()
	shared.gateways = append(shared.gateways, g)
	return g
}

func stopShared() []error {
	shared.Lock()
	defer shared.Unlock()
	var errs []error
	for _, g := range shared.gateways {
		if err := g.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	shared.gateways = nil
	return errs
}

// DataDir is where Caddy, and so Keystile, keeps its data in this home.
func (g *Gateway) DataDir() string { return filepath.Join(g.Dir, "data", "caddy") }

// StorePath is the default place of the key store.
func (g *Gateway) StorePath() string { return filepath.Join(g.DataDir(), "keystile", "keys.db") }

// ConfigPath is where WriteConfig puts the Caddyfile.
func (g *Gateway) ConfigPath() string { return filepath.Join(g.Dir, "Caddyfile") }

// Setenv adds a variable, as NAME=value, to the environment of processes started later.
func (g *Gateway) Setenv(pair string) { g.env = append(g.env, pair) }

// WriteConfig writes the Caddyfile that Start uses.
func (g *Gateway) WriteConfig(tb testing.TB, text string) {
	tb.Helper()
	if err := os.WriteFile(g.ConfigPath(), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// Start starts the process on the written Caddyfile and waits until it serves. A second call after Stop or Kill starts
// it anew on the same directory.
func (g *Gateway) Start(tb testing.TB) {
	tb.Helper()
	if err := g.TryStart(); err != nil {
		tb.Fatal(err)
	}
}

// TryStart is Start for a process that may refuse: then the error is a *StartError.
func (g *Gateway) TryStart(extra ...string) error {
	if g.Running() {
		return errors.New("the gateway runs already")
	}
	ready, err := newPingback()
	if err != nil {
		return err
	}
	defer ready.close()
	args := append([]string{"run", "--config", g.ConfigPath(), "--adapter", "caddyfile", "--pingback", ready.addr()}, extra...)
	cmd := exec.Command(g.binary, args...)
	cmd.Dir = g.Dir
	cmd.Env = g.environ()
	cmd.Stdin = strings.NewReader(ready.secret)
	cmd.Stdout, cmd.Stderr = &g.stdout, &g.stderr
	cmd.SysProcAttr = dieWithParent()
	outMark, errMark := len(g.stdout.String()), len(g.stderr.String())
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting keystile: %w", err)
	}
	g.cmd, g.done = cmd, make(chan struct{})
	go func() {
		g.waitErr = cmd.Wait()
		close(g.done)
	}()

	select {
	case <-ready.arrived:
		return nil
	case <-g.done:
		code := cmd.ProcessState.ExitCode()
		g.cmd = nil
		return &StartError{Code: code, Stdout: g.stdout.String()[outMark:], Stderr: g.stderr.String()[errMark:]}
	case <-time.After(startLimit):
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-g.done
		g.cmd = nil
		return fmt.Errorf("keystile was not ready within %v:\n%s", startLimit, g.stderr.tail(20000))
	}
}

// Running says whether a process runs on this home.
func (g *Gateway) Running() bool {
	if g.cmd == nil {
		return false
	}
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

// Stop ends the process as an operator does (SIGTERM) and checks that it ended cleanly.
func (g *Gateway) Stop(tb testing.TB) {
	tb.Helper()
	if err := g.stop(); err != nil {
		tb.Fatal(err)
	}
}

func (g *Gateway) stop() error {
	if g.cmd == nil {
		return nil
	}
	g.Admin.CloseIdle()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.done:
	case <-time.After(stopLimit):
		_ = g.cmd.Process.Signal(syscall.SIGQUIT)
		<-g.done
		g.cmd = nil
		return fmt.Errorf("keystile did not stop within %v of SIGTERM:\n%s", stopLimit, g.stderr.tail(20000))
	}
	g.cmd = nil
	if g.waitErr != nil {
		return fmt.Errorf("keystile did not end cleanly: %w\n%s", g.waitErr, g.stderr.tail(4000))
	}
	return nil
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (g *Gateway) Kill(tb testing.TB) {
	tb.Helper()
	if g.cmd == nil {
		tb.Fatal("kill: the gateway does not run")
	}
	g.Admin.CloseIdle()
	_ = g.cmd.Process.Kill()
	<-g.done
	g.cmd = nil
}

// PID is the number of the running process.
func (g *Gateway) PID(tb testing.TB) int {
	tb.Helper()
	if g.cmd == nil {
		tb.Fatal("the gateway does not run")
	}
	return g.cmd.Process.Pid
}

// Signal sends a signal to the process, as SIGSTOP.
func (g *Gateway) Signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	if g.cmd == nil {
		tb.Fatalf("signal %v: the gateway does not run", sig)
	}
	if err := g.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("signal %v: %v", sig, err)
	}
}

// Close stops the process and judges the gateway: its answers, its exit, its output, and that no token lies in any of them
// or in its data.
func (g *Gateway) Close() error {
	look := faults
	if g.panics {
		look = faultsBesidePanics
	}
	return errors.Join(g.leakedByAnswers(), g.stop(), g.stdout.fault(look), g.stderr.fault(look), g.LeakedTokens())
}

// Output is everything that the processes of this home wrote to stdout and stderr.
func (g *Gateway) Output() (stdout, stderr string) { return g.stdout.String(), g.stderr.String() }

// Result is what a command did.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the binary with arguments in this home and returns when it ended, at most two minutes later.
func (g *Gateway) Run(tb testing.TB, args ...string) Result {
	tb.Helper()
	return g.RunInput(tb, "", args...)
}

// RunInput is Run with text on stdin.
func (g *Gateway) RunInput(tb testing.TB, stdin string, args ...string) Result {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.binary, args...)
	cmd.Dir, cmd.Env = g.Dir, g.environ()
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr output
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatalf("running keystile %s: %v", strings.Join(args, " "), err)
	}
	if err := errors.Join(stdout.fault(faults), stderr.fault(faults)); err != nil {
		tb.Errorf("keystile %s: %v", strings.Join(args, " "), err)
	}
	return Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
}

// environ is the environment of the binary: nothing of the user's but what finds programs and temporary space.
func (g *Gateway) environ() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + os.TempDir(),
		"HOME=" + g.Dir,
		"XDG_DATA_HOME=" + filepath.Join(g.Dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(g.Dir, "config"),
		"XDG_CACHE_HOME=" + filepath.Join(g.Dir, "cache"),
		"GORACE=halt_on_error=0 exitcode=66",
		"GOTRACEBACK=all",
	}
	return append(env, g.env...)
}

// Resident is how many bytes of memory the process holds, 0 where that cannot be told.
func (g *Gateway) Resident() int {
	if g.cmd == nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kilobytes int
	_, _ = fmt.Sscan(rest, &kilobytes)
	return kilobytes << 10
}
