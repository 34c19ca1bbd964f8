//go:build linux

package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// attackerVariable names the environment variable that makes this binary an attacker: the name of the attack. The site and a good key's token
// follow on stdin, whose end is that of the attack. An attacker is a process of its own, and of lower priority than all others, since
// otherwise the wait for its CPU would be part of what a customer waits: real attackers bring a machine of their own.
const attackerVariable = "KEYSTILE_ATTACKER"

// attacker harms a site until its context ends.
type attacker struct {
	ctx    context.Context
	site   string
	token  string // a good key's
	begun  func() // says that the attack is under way
	tries  atomic.Int64
	slowed atomic.Int64 // of the tries, those that were refused for being too many
	mu     sync.Mutex
	faults []string // what should not have been, at most a few
	since  time.Time
}

// attacks by their names, in whose order they are made.
var attacks = map[string]func(*attacker){
	"1000 slow heads":               (*attacker).slowHeads,
	"1000 slow bodies":              (*attacker).slowBodies,
	"10000 idle connections":        (*attacker).idle,
	"heads of 1 MiB":                (*attacker).hugeHeads,
	"rapid reset by HTTP/2":         (*attacker).rapidReset,
	"stuffing from one address":     func(a *attacker) { a.stuff(1) },
	"stuffing from 50000 addresses": func(a *attacker) { a.stuff(50_000) },
}

func attackNames() []string { return slices.Sorted(maps.Keys(attacks)) }

// attackReport is what an attacker did and saw.
type attackReport struct {
	Tries   int64    `json:"tries"`
	Slowed  int64    `json:"slowed"`
	Seconds float64  `json:"seconds"`
	Faults  []string `json:"faults"`
}

// running is an attacker at work.
type running struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// attack starts an attack on the bed, and returns once it is under way.
func (b *loadBed) attack(t *testing.T, name string) *running {
	t.Helper()
	a := &running{cmd: exec.Command("nice", "-n", "19", os.Args[0])}
	a.cmd.Env = append(os.Environ(), attackerVariable+"="+name)
	a.cmd.Stderr = os.Stderr
	in, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.in, a.out = in, bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	if _, err := fmt.Fprintln(in, b.site, b.key.Token); err != nil {
		t.Fatal(err)
	}
	if line, err := a.out.ReadString('\n'); err != nil {
		t.Fatalf("%s did not begin: %q, %v", name, line, err)
	}
	return a
}

// end stops the attack, and wants it to have met nothing that it should not.
func (a *running) end(t *testing.T) (r attackReport) {
	t.Helper()
	_ = a.in.Close()
	if err := json.NewDecoder(a.out).Decode(&r); err != nil {
		t.Fatalf("the attacker's report: %v", err)
	}
	if err := a.cmd.Wait(); err != nil {
		t.Errorf("the attacker: %v", err)
	}
	for _, fault := range r.Faults {
		t.Error(fault)
	}
	return r
}

// init, and not TestMain, since other systems than Linux know no attackers.
func init() {
	if name := os.Getenv(attackerVariable); name != "" {
		os.Exit(attackMain(name))
	}
}

// attackMain is main of a process that attacks.
func attackMain(name string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a := &attacker{ctx: ctx, since: time.Now()}
	a.begun = sync.OnceFunc(func() { fmt.Println("begun") })
	if _, err := fmt.Fscanln(os.Stdin, &a.site, &a.token); err != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	attacks[name](a)
	a.begun()
	a.mu.Lock()
	defer a.mu.Unlock()
	report := attackReport{Tries: a.tries.Load(), Slowed: a.slowed.Load(), Seconds: time.Since(a.since).Seconds(), Faults: a.faults}
	if json.NewEncoder(os.Stdout).Encode(report) != nil {
		return 1
	}
	return 0
}

func (a *attacker) faultf(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.faults) < 10 {
		a.faults = append(a.faults, fmt.Sprintf(format, args...))
	}
}

// wait waits, unless the attack ends.
func (a *attacker) wait(d time.Duration) {
	select {
	case <-a.ctx.Done():
	case <-time.After(d):
	}
}

func (a *attacker) over() bool { return a.ctx.Err() != nil }

// crowd opens connections, and tells each a byte more of something every now and then.
func (a *attacker) crowd(n int, begin, drip string) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range n {
		if a.over() {
			return
		}
		c, err := gatetest.DialFrom("", a.site)
		if err == nil {
			conns = append(conns, c)
			_, err = io.WriteString(c, begin)
		}
		if err != nil && !a.over() {
			a.faultf("connection %d: %v", len(conns), err)
			return
		}
		a.tries.Add(1)
	}
	a.begun()
	for !a.over() {
		for i, c := range conns {
			if drip != "" && !a.over() {
				_, _ = io.WriteString(c, drip) // a server that has had enough closes
			}
			if i%20 == 0 {
				a.wait(2 * time.Millisecond) // evenly
			}
		}
	}
}

func (a *attacker) slowHeads() {
	a.crowd(1000, "GET /v1/charges HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n")
}

// slowBodies sends bodies with a good key that never end. None may hold a connection to the backend.
func (a *attacker) slowBodies() {
	a.crowd(1000, "POST /v1/charges HTTP/1.1\r\nHost: x\r\n"+gatetest.Bearer(a.token)+"\r\nContent-Length: 10000\r\n\r\n", "x")
}

// idle keeps connections that have carried a request.
func (a *attacker) idle() {
	n := 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < 12_000 {
		n = int(limit.Cur) - 500 // the report says how many there were
	}
	a.crowd(n, "GET /v1/charges HTTP/1.1\r\nHost: x\r\n\r\n", "")
}

// hugeHeads sends heads of a MiB with a good key, in one header and in many.
func (a *attacker) hugeHeads() {
	a.begun()
	one := gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(a.token), "X-Big: "+strings.Repeat("x", 1<<20+8<<10), "X-Huge: 1")
	many := gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(a.token), strings.Repeat("A: b\r\n", 180_000)+"X-Huge: 1")
	var all sync.WaitGroup
	for n := range 6 {
		all.Go(func() {
			for a.wait(time.Duration(n) * 16 * time.Millisecond); !a.over(); a.wait(100 * time.Millisecond) {
				answer, err := gatetest.Send(a.site, "", []string{one, many}[n%2])
				if err != nil && !errors.Is(err, gatetest.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					a.faultf("a head of a MiB: %v", err)
				}
				if err == nil && answer.Status != http.StatusRequestHeaderFieldsTooLarge {
					a.faultf("a head of a MiB got %d, want 431", answer.Status)
				}
				a.tries.Add(1)
			}
		})
	}
	all.Wait()
}

// rapidReset opens streams and resets them at once, 20,000 a second (CVE-2023-44487), with keys that nobody has. Who has a key can ask the
// backend by it, and is held back by `rate_limit`.
func (a *attacker) rapidReset() {
	a.begun()
	var all sync.WaitGroup
	for n := range 2 {
		token := inventToken("sk_live_", fmt.Sprintf("%032d", n))
		all.Go(func() {
			for !a.over() {
				conn, err := gatetest.DialFrom("", a.site)
				if err != nil {
					a.faultf("rapid reset: %v", err)
					return
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				a.tries.Add(int64(resetStreams(a.ctx, conn, token, 1000)))
				conn.Close()
			}
		})
	}
	all.Wait()
}

// resetStreams opens and resets up to n streams on a new connection, ten every millisecond, and answers how many it could.
func resetStreams(ctx context.Context, conn net.Conn, token string, n int) (done int) {
	out := bufio.NewWriterSize(conn, 1<<16)
	_, _ = out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(out, nil)
	_ = framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; done < n && ctx.Err() == nil; done++ {
		if done%10 == 9 {
			_ = out.Flush()
			<-tick.C
		}
		if done < 2 { // the second time the encoder's table holds the fields
			block.Reset()
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/v1/charges"}, {"authorization", "Bearer " + token}} {
				_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
			}
		}
		id := uint32(2*done + 1)
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}) != nil ||
			framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the server has had enough: so it should
		}
	}
	_ = out.Flush()
	return done
}

// stuff tries keys that nobody has, well-formed ones, from a number of addresses behind the trusted proxy: about 5,000 a second.
func (a *attacker) stuff(addresses int) {
	a.begun()
	var all sync.WaitGroup
	const conns = 8
	for n := range conns {
		all.Go(func() {
			conn, err := gatetest.DialFrom(gatetest.TrustedProxy, a.site)
			if err != nil {
				a.faultf("stuffing: %v", err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			a.wait(time.Duration(n) * 200 * time.Microsecond) // evenly
			tick := time.NewTicker(1600 * time.Microsecond)
			defer tick.Stop()
			for i := n; !a.over(); i += conns {
				<-tick.C
				if err := a.try(conn, in, i%addresses); err != nil {
					a.faultf("stuffing: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
	if seen := a.slowed.Load(); seen == 0 && addresses == 1 || seen == a.tries.Load() {
		a.faultf("%d of %d tries from %d addresses were refused for being too many", seen, a.tries.Load(), addresses)
	}
}

// try tries one key by a connection from a proxy, for one of its clients.
func (a *attacker) try(conn net.Conn, in *bufio.Reader, client int) error {
	address := fmt.Sprintf("X-Forwarded-For: 198.%d.%d.%d", 18+client>>16, client>>8&255, client&255)
	token := inventToken("sk_live_", fmt.Sprintf("%032d", rand.Uint64()))
	if _, err := io.WriteString(conn, gatetest.Request("GET", "/v1/charges", "", gatetest.Bearer(token), address)); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	answer, err := gatetest.ReadAnswer(in, "GET")
	if err != nil {
		return err
	}
	a.tries.Add(1)
	switch answer.Status {
	case http.StatusUnauthorized:
	case http.StatusTooManyRequests:
		a.slowed.Add(1)
	default:
		return fmt.Errorf("an invented key got %d", answer.Status)
	}
	return nil
}
