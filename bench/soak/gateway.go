package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// gateway is the binary under test, on a home of its own, and a backend behind it.
type gateway struct {
	o           *options
	admin       string // host:port of Caddy's admin endpoint
	short, long string // sites: by upstreams, by reverse_proxy
	backend     *http.Server

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

func build(path string) error {
	fmt.Println("building ./cmd/keystile")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/keystile")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building: %w\n%s", err, out)
	}
	return nil
}

func newGateway(o *options) (*gateway, error) {
	g := &gateway{o: o}
	for _, address := range []*string{&g.admin, &g.short, &g.long} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*address = ln.Addr().String()
		defer ln.Close() // only once all three are chosen
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.backend = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, r.Header.Get("Keystile-Key-Id"))
	})}
	go func() { _ = g.backend.Serve(ln) }()
	if g.log, err = os.OpenFile(filepath.Join(o.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	return g, os.WriteFile(g.configPath(), g.config(0, ln.Addr().String()), 0o600)
}

func (g *gateway) configPath() string { return filepath.Join(g.o.dir, "Caddyfile") }

// config is the Caddyfile. Each number gives another one that says the same.
func (g *gateway) config(number int, backend string) []byte {
	return fmt.Appendf(nil, `{
	admin %s
	persist_config off
	auto_https off
	grace_period 5s
	metrics
	keystile {
		catalog {
			resource charges {
				read GET /v1/charges
			}
		}
	}
}
http://%s {
	vars number %d
	keystile {
		upstreams {
			live %[4]s
		}
	}
}
http://%[5]s {
	keystile
	reverse_proxy %[4]s
}
`, g.admin, g.short, number, backend, g.long)
}

// start runs the process and waits until it serves.
func (g *gateway) start() error {
	cmd := exec.Command(g.o.binary, "run", "--config", g.configPath(), "--adapter", "caddyfile")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.o.dir, "XDG_DATA_HOME=" + filepath.Join(g.o.dir, "data"), "XDG_CONFIG_HOME=" + filepath.Join(g.o.dir, "config")}
	cmd.Stdout, cmd.Stderr = g.log, g.log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	g.mu.Lock()
	g.cmd, g.done = cmd, done
	g.mu.Unlock()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("the gateway ended at its start: %s", g.tail())
		default:
		}
		if answers(g.admin+"/keystile/v1/resources", http.StatusOK) && answers(g.short, http.StatusUnauthorized) && answers(g.long, http.StatusUnauthorized) {
			return nil
		}
	}
	return errors.New("the gateway did not serve within two minutes")
}

// answers says whether an address answers with a status: at first the admin endpoint says that the gateway is starting.
func answers(address string, status int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return false
	}
	r.Close = true
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	w.Body.Close()
	return w.StatusCode == status
}

// end ends the process with a signal and waits until it is gone.
func (g *gateway) end(sig syscall.Signal) error {
	g.mu.Lock()
	cmd, done := g.cmd, g.done
	g.mu.Unlock()
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		return errors.New("the gateway did not end within a minute")
	}
}

func (g *gateway) pid() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cmd.Process.Pid
}

// reload loads the configuration again, with a change that changes nothing.
func (g *gateway) reload(ctx context.Context, number int) error {
	text, err := os.ReadFile(g.configPath())
	if err != nil {
		return err
	}
	at := bytes.Index(text, []byte("vars number "))
	end := bytes.IndexByte(text[at:], '\n') + at
	text = append(fmt.Appendf(bytes.Clone(text[:at]), "vars number %d", number), text[end:]...)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.admin+"/load", bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if w.StatusCode != http.StatusOK {
		return fmt.Errorf("reload: %s", w.Status)
	}
	return nil
}

// tail is the end of what the process has said.
func (g *gateway) tail() string {
	text, err := os.ReadFile(g.log.Name())
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

func (g *gateway) close() {
	_ = g.end(syscall.SIGKILL)
	_ = g.backend.Close()
	_ = g.log.Close()
}
