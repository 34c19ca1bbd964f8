package caddymodule

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// caddyProcess runs configs in Caddy inside of the test process. There is one Caddy in a process, so tests that use it do
// not run in parallel.
type caddyProcess struct {
	t    testing.TB
	data string // Caddy's data directory
	site string // address of the site
}

// adminAddress is one for all tests: Caddy keeps its admin endpoint when a config is stopped.
var adminAddress = sync.OnceValue(freeAddress)

// newCaddy gives an empty Caddy: nothing runs, and its data directory is new.
func newCaddy(t testing.TB) *caddyProcess {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	stopCaddy(t)
	t.Cleanup(func() { stopCaddy(t) })
	return &caddyProcess{t: t, data: filepath.Join(home, "caddy"), site: freeAddress()}
}

func stopCaddy(t testing.TB) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Fatalf("stopping Caddy: %v", err)
	}
	endLingering()
	pool.Range(func(key, _ any) bool {
		t.Errorf("%v is still in the pool after everything was stopped", key)
		return true
	})
}

// config is a whole Caddyfile: global are further global options, app the block of the keystile global option, site the
// directives of the one site.
func (c *caddyProcess) config(global, app, site string) []byte {
	c.t.Helper()
	return adapt(c.t, fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tskip_install_trust\n\tgrace_period 2s\n%s\n\tkeystile {\n%s\n\t}\n}\nhttp://%s {\n%s\n}\n",
		adminAddress(), global, app, c.site, site))
}

// anew gives the next config's site an address of its own. After a reload the old server may still take a new connection of
// an address that both serve, and answers it by the old config.
func (c *caddyProcess) anew() { c.site = freeAddress() }

// load runs a config, as `caddy run` and `caddy reload` do.
func (c *caddyProcess) load(config []byte) error {
	return caddy.Load(config, true)
}

func (c *caddyProcess) mustLoad(config []byte) *gate {
	c.t.Helper()
	if err := c.load(config); err != nil {
		c.t.Fatalf("loading the config: %v", err)
	}
	return c.gate()
}

// gate is the running config's.
func (c *caddyProcess) gate() *gate {
	c.t.Helper()
	app, err := activeApp()
	if err != nil {
		c.t.Fatalf("finding the running app: %v", err)
	}
	g := app.gate()
	if g == nil {
		c.t.Fatal("the running app has no gate")
	}
	return g
}

// get asks for a URL and answers status and body.
func (c *caddyProcess) get(url string, header ...string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := client.Do(r)
	for tries := 0; err != nil && tries < 5; tries++ {
		// Caddy resets what waits in the queue of the old config's socket, and there is no way to ask it to wait.
		time.Sleep(50 * time.Millisecond)
		w, err = client.Do(r)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return w.StatusCode, string(body)
}

// adapt turns a Caddyfile into JSON.
func adapt(t testing.TB, caddyfile string) []byte {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatalf("adapting the Caddyfile: %v\n%s", err, caddyfile)
	}
	return config
}

// freeAddress is an address on this machine that nobody listens on. It is below the ports that the system gives to
// outgoing connections, of which one could otherwise take it before the test does.
func freeAddress() string {
	for {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)) // all interfaces, as Caddy does
		if err == nil {
			l.Close()
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
}

// tree lists everything under a directory with its size and time of change.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s %d %s\n", path, info.Mode(), info.Size(), info.ModTime().Format(time.RFC3339Nano))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
