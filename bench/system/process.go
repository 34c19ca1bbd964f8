package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// build makes the binaries that were not given.
func (o *options) build() error {
	for _, b := range []struct {
		path *string
		name string
		pkg  string
	}{{&o.binary, "keystile", "./cmd/keystile"}, {&o.stock, "caddy", "github.com/caddyserver/caddy/v2/cmd/caddy"}} {
		if *b.path != "" {
			continue
		}
		*b.path = filepath.Join(o.dir, b.name)
		fmt.Println("building", b.pkg)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", *b.path, b.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", b.pkg, err, out)
		}
	}
	return nil
}

// startBackend runs the one backend of all subjects.
func startBackend(o *options) (stop func(), err error) {
	dir := filepath.Join(o.dir, "backend")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 8192; }
http {
	access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
	server {
		listen %[2]s backlog=4096;
		location / { default_type application/json; return 200 '{"id":"ch_3QxYzABCDEFGHIJKLMNOPQRS","object":"charge","amount":2000,"currency":"usd","status":"succeeded"}'; }
	}
}
`, dir, backendAddress)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, err
	}
	backend, err = start(dir, "nginx", []string{"-c", path}, nil, "http://"+backendAddress)
	if err != nil {
		return nil, fmt.Errorf("the backend (Debian's package nginx): %w", err)
	}
	return backend.stop, nil
}

// backend is the running one.
var backend *process

// process is a running server.
type process struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

// start runs a server and waits until it answers.
func start(dir, program string, args, env []string, url string) (*process, error) {
	p := &process{cmd: exec.Command(program, args...)}
	p.cmd.Env = append(append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	client := http.Client{Timeout: 2 * time.Second}
	for range 1200 {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended: %w\n%s", program, err, p.log.String())
		case <-time.After(100 * time.Millisecond):
		}
		if res, err := client.Get(url); err == nil {
			res.Body.Close()
			return p, nil
		}
	}
	p.stop()
	return nil, errors.New(program + " does not answer")
}

// stop ends the server and waits until its port is free.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for range 200 {
		if p.cmd.Process.Signal(syscall.Signal(0)) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_ = p.cmd.Process.Kill()
}

// family is the process and its children.
func (p *process) family() []int {
	all := []int{p.cmd.Process.Pid}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", all[0]))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// cpu is the time that the server has spent so far.
func (p *process) cpu() (total time.Duration) {
	for _, pid := range p.family() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The name may hold spaces: the fields begin behind its bracket.
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} {
			if i < len(fields) {
				ticks, _ := strconv.ParseInt(fields[i], 10, 64)
				total += time.Duration(ticks) * (time.Second / 100)
			}
		}
	}
	return total
}

// memory is what the server holds resident, in megabytes.
func (p *process) memory() (total float64) {
	for _, pid := range p.family() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
				kb, _ := strconv.ParseFloat(fields[1], 64)
				total += kb / 1024
			}
		}
	}
	return total
}

// measure runs one subject under the load of the scenario.
func (o *options) measure(s *subject, sc *scenario, p *prepared) (*Sample, error) {
	dir := filepath.Join(o.dir, "run")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	program, args, err := s.start(o, p, dir)
	if err != nil {
		return nil, err
	}
	server, err := start(dir, program, args, s.env, "http://"+siteAddress+paths[0])
	if err != nil {
		return nil, err
	}
	defer server.stop()
	if _, err := drive(sc, p, s.keyless, time.Second); err != nil { // connections, caches, the heap
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if sc.churn && strings.HasPrefix(s.name, "keystile") {
		go churn(ctx, p.account)
	}
	before, others := server.cpu(), elsewhere(server)
	began := time.Now()
	done, err := drive(sc, p, s.keyless, o.duration)
	if err != nil {
		return nil, err
	}
	spent := server.cpu() - before
	busy := (elsewhere(server) - others).Seconds() / time.Since(began).Seconds() / float64(runtime.NumCPU())
	return &Sample{
		Rate: float64(done.requests) / done.seconds, CPU: float64(spent.Microseconds()) / float64(done.requests),
		P50: done.p50, P99: done.p99, Memory: server.memory(), Elsewhere: max(0, busy),
	}, nil
}

// elsewhere is the CPU time that the machine has spent so far on anything but the server, the backend, and the load.
func elsewhere(server *process) (total time.Duration) {
	text, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, waiting for disks, guests (which are in user)
			continue
		}
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * (time.Second / 100)
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} { // the load at a fixed rate, and wrk
		var used syscall.Rusage
		if syscall.Getrusage(who, &used) == nil {
			total -= time.Duration(used.Utime.Nano() + used.Stime.Nano())
		}
	}
	return total - server.cpu() - backend.cpu()
}
