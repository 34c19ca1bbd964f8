//go:build linux

package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// loadVariable names the environment variable that makes this test a measurement: how long each attack lasts, as "10s" (`make load`). Without
// it each lasts long enough to see that it harms nobody.
const loadVariable = "KEYSTILE_LOAD"

// loadBed is a gateway under attack, whose memory is limited, and a good customer of it.
type loadBed struct {
	*gatetest.Gateway
	site    string // by upstreams, h1 and h2c, behind TrustedProxy
	key     gatetest.Key
	backend *gatetest.Backend
	stuffed atomic.Int64 // tries of credential stuffing, by status
	slowed  atomic.Int64
}

// attack harms until the context ends. It says when it is under way.
type attack struct {
	name string
	run  func(b *loadBed, ctx context.Context, t *testing.T, ready func())
}

var attacks = []attack{
	{"1000 slow heads", (*loadBed).slowHeads},
	{"1000 slow bodies", (*loadBed).slowBodies},
	{"10000 idle connections", (*loadBed).idle},
	{"heads of 1 MiB", (*loadBed).hugeHeads},
	{"HTTP/2 rapid reset", (*loadBed).rapidReset},
	{"stuffing from one address", func(b *loadBed, ctx context.Context, t *testing.T, ready func()) { b.stuff(ctx, t, ready, 1) }},
	{"stuffing from 50000 addresses", func(b *loadBed, ctx context.Context, t *testing.T, ready func()) { b.stuff(ctx, t, ready, 50_000) }},
}

// TestGoodTrafficUnderAttack: while each attack runs, a customer from the same address is served, every time; the process keeps to its memory,
// its log says no more than in peace, and nothing of the attack is left when it is over.
func TestGoodTrafficUnderAttack(t *testing.T) {
	length, measured := 700*time.Millisecond, os.Getenv(loadVariable)
	if measured != "" {
		var err error
		if length, err = time.ParseDuration(measured); err != nil {
			t.Fatalf("%s: %v", loadVariable, err)
		}
	}
	b := newLoadBed(t)
	b.customer(t, 300*time.Millisecond) // connections, caches
	quiet := b.customer(t, length)
	pid := b.PID(t)
	idle := descriptorsOf(t, pid)
	t.Logf("| attack | requests served | p50 | p99 | p99 to that in peace | memory, MiB |")
	t.Logf("| none | %d | %v | %v | | %d |", len(quiet), part(quiet, 50), part(quiet, 99), memoryOf(t, pid, "VmRSS")>>10)
	for _, a := range attacks {
		_, said := b.Output()
		ctx, cancel := context.WithCancel(t.Context())
		over, begun := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(over)
			a.run(b, ctx, t, sync.OnceFunc(func() { close(begun) }))
		}()
		select {
		case <-begun:
		case <-over:
			t.Fatalf("%s ended before it began", a.name)
		}
		took := b.customer(t, length)
		memory := memoryOf(t, pid, "VmRSS")
		cancel()
		<-over
		t.Logf("| %s | %d | %v | %v | %.1f | %d |", a.name, len(took), part(took, 50), part(took, 99), float64(part(took, 99))/float64(part(quiet, 99)), memory>>10)
		if limit := memoryLimit(); memory > limit {
			t.Errorf("%s: the process has %d KiB, want at most %d", a.name, memory, limit)
		}
		if _, now := b.Output(); len(now)-len(said) > 64<<10 {
			t.Errorf("%s: the process wrote %d bytes to its log", a.name, len(now)-len(said))
		}
		// Idle connections to the backend stay for a while.
		for deadline := time.Now().Add(30 * time.Second); descriptorsOf(t, pid) > idle+1024+50; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d descriptors are left of it, before it there were %d", a.name, descriptorsOf(t, pid), idle)
			}
		}
	}
	if b.stuffed.Load() == 0 || b.slowed.Load() == 0 {
		t.Errorf("%d tries of stuffing were refused as invalid, %d for being too many, want both", b.stuffed.Load(), b.slowed.Load())
	}
	awaitAccounted(t, b.Gateway)
}

// memoryLimit is what the process may have, in KiB: its limit is 256 MiB of Go's memory. The race detector takes several times as much.
func memoryLimit() int {
	if gatetest.RaceEnabled {
		return 3 << 20
	}
	return 512 << 10
}

func newLoadBed(t *testing.T) *loadBed {
	t.Helper()
	b := &loadBed{Gateway: gatetest.New(t), backend: gatetest.NewBackend(t, "echo")}
	b.Setenv("GOMEMLIMIT=256MiB")
	port := gatetest.FreePort(t)
	b.site = fmt.Sprintf("127.0.0.1:%d", port)
	b.WriteConfig(t, gatetest.Config{
		Global:   "metrics\nservers {\n\tprotocols h1 h2c\n\ttrusted_proxies static " + gatetest.TrustedProxy + "/32\n}\n",
		Keystile: gatetest.Catalog,
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tupstreams {\n\t\t\tlive %s\n\t\t}\n\t}\n}\n", port, b.backend.Addr),
	}.Text(b.Gateway))
	b.Start(t)
	b.key = b.Admin.DefaultKey(t, b.Admin.CreateAccount(t, "a", "").ID, "secret", "live")
	return b
}

// customer sends requests one after the other by four connections, at an even rate, and answers how long each took.
func (b *loadBed) customer(t *testing.T, length time.Duration) (took []time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(length)
	for range 4 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for time.Now().Before(end) {
				<-tick.C
				began := time.Now()
				r, err := http.NewRequest("GET", "http://"+b.site+"/v1/charges", nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+b.key.Token)
				w, err := client.Do(r)
				if err != nil {
					t.Errorf("a good request: %v", err)
					return
				}
				_, _ = io.Copy(io.Discard, w.Body)
				w.Body.Close()
				if w.StatusCode != 200 {
					t.Errorf("a good request got %d", w.StatusCode)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(took) == 0 {
		t.Fatal("no good request was served")
	}
	slices.Sort(took)
	return took
}

// part is a percentile of sorted times.
func part(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(10 * time.Microsecond)
}

// crowd opens connections, and tells each a byte more of something every now and then.
func (b *loadBed) crowd(ctx context.Context, t *testing.T, ready func(), n int, begin, drip string) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range n {
		if ctx.Err() != nil {
			return
		}
		c, err := gatetest.DialFrom("", b.site)
		if err == nil {
			conns = append(conns, c)
			_, err = io.WriteString(c, begin)
		}
		if err != nil && ctx.Err() == nil {
			t.Errorf("connection %d: %v", len(conns), err)
			return
		}
	}
	ready()
	for ctx.Err() == nil {
		for i, c := range conns {
			if drip != "" && ctx.Err() == nil {
				_, _ = io.WriteString(c, drip) // a server that has had enough closes
			}
			if i%20 == 0 { // evenly: what comes all at once is a measurement of this process
				wait(ctx, 2*time.Millisecond)
			}
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (b *loadBed) slowHeads(ctx context.Context, t *testing.T, ready func()) {
	b.crowd(ctx, t, ready, 1000, "GET /v1/charges HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n")
}

func (b *loadBed) slowBodies(ctx context.Context, t *testing.T, ready func()) {
	before := b.backend.Count()
	b.crowd(ctx, t, ready, 1000, "POST /v1/charges HTTP/1.1\r\nHost: x\r\n"+gatetest.Bearer(b.key.Token)+"\r\nContent-Length: 10000\r\n\r\n", "x")
	for _, r := range b.backend.Requests(before) {
		if r.Method == "POST" {
			t.Error("a body that did not come holds a connection to the backend")
			return
		}
	}
}

// idle keeps connections that have carried a request.
func (b *loadBed) idle(ctx context.Context, t *testing.T, ready func()) {
	n := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < 12_000 {
		n = int(limit.Cur) - 500
		t.Logf("only %d idle connections: this process may have %d files open", n, limit.Cur)
	}
	b.crowd(ctx, t, ready, n, "GET /v1/charges HTTP/1.1\r\nHost: x\r\n\r\n", "")
}

// hugeHeads sends heads of a MiB, in one header and in many.
func (b *loadBed) hugeHeads(ctx context.Context, t *testing.T, ready func()) {
	ready()
	before := b.backend.Count()
	one := gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(b.key.Token), "X-Big: "+strings.Repeat("x", 1<<20+8<<10), "X-Huge: 1")
	many := gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(b.key.Token), strings.Repeat("A: b\r\n", 180_000)+"X-Huge: 1")
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				answer, err := gatetest.Send(b.site, "", []string{one, many}[n%2])
				if err != nil && !errors.Is(err, gatetest.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("a head of a MiB: %v", err)
				}
				if err == nil && answer.Status != http.StatusRequestHeaderFieldsTooLarge {
					t.Errorf("a head of a MiB got %d, want 431", answer.Status)
				}
				wait(ctx, 100*time.Millisecond)
			}
		})
	}
	all.Wait()
	for _, r := range b.backend.Requests(before) {
		if len(r.Exact("X-Huge")) > 0 {
			t.Error("a head of a MiB reached the backend")
			return
		}
	}
}

// rapidReset opens streams and resets them at once, 20,000 a second (CVE-2023-44487), with keys that nobody has. Who has a key can ask the
// backend by it, and is held back by `rate_limit`.
func (b *loadBed) rapidReset(ctx context.Context, t *testing.T, ready func()) {
	ready()
	var all sync.WaitGroup
	for n := range 2 {
		token := inventToken("sk_live_", fmt.Sprintf("%032d", n))
		all.Go(func() {
			for ctx.Err() == nil {
				if err := resetStreams(ctx, b.site, token, 1000); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func resetStreams(ctx context.Context, site, token string, n int) error {
	conn, err := gatetest.DialFrom("", site)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	out := bufio.NewWriterSize(conn, 1<<16)
	_, _ = out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(out, nil)
	_ = framer.WriteSettings()
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", site}, {":path", "/v1/charges"}, {"authorization", "Bearer " + token}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for id := uint32(1); id < uint32(2*n) && ctx.Err() == nil; id += 2 {
		if id%100 == 99 { // evenly
			_ = out.Flush()
			wait(ctx, 5*time.Millisecond)
		}
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte(block.String()), EndHeaders: true, EndStream: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			return nil // the server has had enough: so it should
		}
		if id == 1 { // the encoder's table holds the fields now
			block.Reset()
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", site}, {":path", "/v1/charges"}, {"authorization", "Bearer " + token}} {
				_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
		}
	}
	_ = out.Flush()
	return nil
}

// stuff tries keys that nobody has, well-formed ones, from a number of addresses behind the trusted proxy: about 5,000 a second.
func (b *loadBed) stuff(ctx context.Context, t *testing.T, ready func(), addresses int) {
	ready()
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			conn, err := gatetest.DialFrom(gatetest.TrustedProxy, b.site)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			tick := time.NewTicker(4 * time.Millisecond)
			defer tick.Stop()
			const batch = 5
			for i := n; ctx.Err() == nil; {
				<-tick.C
				var text strings.Builder
				for range batch {
					i += 4
					address := fmt.Sprintf("X-Forwarded-For: 198.%d.%d.%d", 18+i%addresses>>16, i%addresses>>8&255, i%addresses&255)
					text.WriteString(gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(inventToken("sk_live_", fmt.Sprintf("%032d", rand.Uint64()))), address))
				}
				if _, err := io.WriteString(conn, text.String()); err != nil {
					t.Errorf("stuffing: %v", err)
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
				for range batch {
					answer, err := gatetest.ReadAnswer(in, "GET")
					if err != nil {
						t.Errorf("stuffing: %v", err)
						return
					}
					switch answer.Status {
					case 401:
						b.stuffed.Add(1)
					case 429:
						b.slowed.Add(1)
					default:
						t.Errorf("an invented key got %d", answer.Status)
					}
				}
			}
		})
	}
	all.Wait()
}
