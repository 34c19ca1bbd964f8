//go:build linux

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// flooderVariable makes this binary a flooder of the site that stands in it, until its stdin ends. It is a process of its own, and of lower
// priority: real attackers bring a machine of their own.
const flooderVariable = "KEYSTILE_FLOODER"

func init() {
	if site := os.Getenv(flooderVariable); site != "" {
		os.Exit(floodMain(site))
	}
}

const (
	floodConns   = 32
	floodAhead   = 64 // tries on their way on one connection
	floodClients = 50_000
)

// floodReport is what a flooder did and saw.
type floodReport struct {
	Invalid int64    `json:"invalid"` // answers 401
	Slowed  int64    `json:"slowed"`  // answers 429
	Others  int64    `json:"others"`
	Seconds float64  `json:"seconds"`
	Faults  []string `json:"faults"`
}

// floodMain tries keys that nobody has, well-formed ones, from many addresses behind the trusted proxy, as fast as they are answered.
func floodMain(site string) int {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var report floodReport
	var invalid, slowed, answers atomic.Int64
	var mu sync.Mutex
	fault := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil && len(report.Faults) < 10 {
			report.Faults = append(report.Faults, err.Error())
		}
	}
	begun := time.Now()
	var all sync.WaitGroup
	for n := range floodConns {
		conn, err := gatetest.DialFrom(gatetest.TrustedProxy, site)
		if err != nil {
			fault(err)
			break
		}
		room := make(chan struct{}, floodAhead)
		all.Go(func() {
			if err := sendTries(ctx, conn, room, uint64(n)); err != nil {
				fault(err)
			}
			if half, ok := conn.(*net.TCPConn); ok {
				_ = half.CloseWrite() // the server answers what it has, and closes
			}
		})
		all.Go(func() {
			defer conn.Close()
			if err := countAnswers(conn, room, &invalid, &slowed, &answers); err != nil {
				fault(err)
				cancel() // who writes must not wait for answers
			}
		})
	}
	all.Wait()
	report.Invalid, report.Slowed = invalid.Load(), slowed.Load()
	report.Others, report.Seconds = answers.Load()-report.Invalid-report.Slowed, time.Since(begun).Seconds()
	if json.NewEncoder(os.Stdout).Encode(report) != nil {
		return 1
	}
	return 0
}

// sendTries keeps a connection full of tries, without waiting for their answers.
func sendTries(ctx context.Context, conn net.Conn, room chan<- struct{}, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, uint64(time.Now().UnixNano())))
	var out []byte
	for ctx.Err() == nil {
		out = out[:0]
		for range floodAhead / 4 {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			client := random.IntN(floodClients)
			out = fmt.Appendf(out, "GET /v1/charges HTTP/1.1\r\nHost: api.example.com\r\nX-Forwarded-For: 198.%d.%d.%d\r\nAuthorization: Bearer ", 18+client>>16, client>>8&255, client&255)
			out = append(appendInvented(out, random), "\r\n\r\n"...)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
	return nil
}

// appendInvented appends a token that nobody has, with a checksum that is right.
func appendInvented(out []byte, random *rand.Rand) []byte {
	begin := len(out)
	out = append(out, "sk_live_"...)
	for range 32 {
		out = append(out, base62[random.IntN(62)])
	}
	sum := crc32.ChecksumIEEE(out[begin:])
	out = append(out, "000000"...)
	for i := len(out) - 1; sum > 0; i-- {
		out[i] = base62[sum%62]
		sum /= 62
	}
	return out
}

// countAnswers reads answers until the server has nothing more to say.
func countAnswers(conn net.Conn, room <-chan struct{}, invalid, slowed, answers *atomic.Int64) error {
	mark := []byte("HTTP/1.1 ")
	const code = len("HTTP/1.1 401")
	buf, have := make([]byte, 256<<10), 0
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := conn.Read(buf[have:])
		text := buf[:have+n]
		for {
			at := bytes.Index(text, mark)
			if at < 0 {
				text = text[max(0, len(text)-len(mark)+1):]
				break
			}
			if text = text[at:]; len(text) < code {
				break
			}
			answers.Add(1)
			switch string(text[len(mark):code]) {
			case "401":
				invalid.Add(1)
			case "429":
				slowed.Add(1)
			}
			text = text[code:]
			<-room
		}
		have = copy(buf, text)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// TestFloodUnderMemoryLimit throws keys that nobody has at the binary as fast as the machine can, with GOMEMLIMIT=256MiB. Its memory stays
// bounded all along, good keys are served, its log says no more than in peace, every record is stored or counted and told by a gap record, and
// afterwards all is as before.
func TestFloodUnderMemoryLimit(t *testing.T) {
	length := 2 * time.Second
	if measured := os.Getenv(loadVariable); measured != "" {
		var err error
		if length, err = time.ParseDuration(measured); err != nil {
			t.Fatalf("%s: %v", loadVariable, err)
		}
	}
	b := newLoadBed(t)
	pid := b.PID(t)
	peace := b.customer(t, 300*time.Millisecond)
	_, said := b.Output()
	stop := make(chan struct{})
	var peak atomic.Int64
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			peak.Store(max(peak.Load(), int64(memoryOf(t, pid, "VmRSS"))))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})

	flooder := exec.Command("nice", "-n", "19", os.Args[0])
	flooder.Env = append(os.Environ(), flooderVariable+"="+b.site)
	flooder.Stderr = os.Stderr
	var out bytes.Buffer
	flooder.Stdout = &out
	in, err := flooder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := flooder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flooder.Process.Kill() })
	before := readMetrics(t, b.Gateway)[appendedMetric]
	for deadline := time.Now().Add(30 * time.Second); readMetrics(t, b.Gateway)[appendedMetric] < before+1000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the flood does not come")
		}
	}
	served := b.customer(t, length)
	_ = in.Close()
	if err := flooder.Wait(); err != nil {
		t.Errorf("the flooder: %v", err)
	}
	var report floodReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("the flooder's report: %v: %s", err, out.Bytes())
	}
	tries := report.Invalid + report.Slowed
	if len(report.Faults) > 0 || report.Others > 0 || report.Invalid == 0 {
		t.Errorf("the flood: %+v", report)
	}
	if _, now := b.Output(); len(now)-len(said) > 64<<10 {
		t.Errorf("the process wrote %d bytes to its log", len(now)-len(said))
	}
	awaitAccounted(t, b.Gateway)
	awaitMetric(t, b.Gateway, queuedMetric, 0)
	after := b.customer(t, 300*time.Millisecond)
	awaitAccounted(t, b.Gateway)
	close(stop)
	watching.Wait()
	if limit := int64(memoryLimit()); peak.Load() > limit {
		t.Errorf("the process had up to %d KiB, want at most %d", peak.Load(), limit)
	}

	m := readMetrics(t, b.Gateway)
	if int64(m[appendedMetric]) < tries+int64(len(peace)+len(served)+len(after)) {
		t.Errorf("%d records for %d tries and %d good requests", m[appendedMetric], tries, len(peace)+len(served)+len(after))
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		lost := 0
		for _, row := range b.Admin.Records(t, url.Values{"decision": {"gap"}, "limit": {"100"}}) {
			lost += number(row["lost"])
		}
		if lost == m[droppedMetric] {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("gap records tell of %d lost records, counted were %d", lost, m[droppedMetric])
			break
		}
	}
	answer, err := gatetest.Send(b.site, "", get("/v1/customers", b.key.Token))
	if err != nil || answer.Status != 200 {
		t.Fatalf("after the flood: %+v, %v", answer, err)
	}
	b.Admin.AwaitRecord(t, answer.Header.Get("Request-Id"))
	for _, r := range b.backend.Requests(0) {
		if !strings.HasPrefix(r.Target, "/v1/c") || r.Method != "GET" {
			t.Errorf("%s %s reached the backend", r.Method, r.Target)
		}
	}
	if got, want := b.backend.Count(), len(peace)+len(served)+len(after)+1; got != want {
		t.Errorf("%d requests reached the backend, want the %d good ones", got, want)
	}
	t.Logf("| keys that nobody has, as fast as they are answered | %.0f a second, %d in all | %d refused for being too many | p50 %v, p99 %v of good requests (in peace %v, %v) | at most %d MiB | %d records lost of %d |",
		float64(tries)/report.Seconds, tries, report.Slowed, part(served, 50), part(served, 99), part(peace, 50), part(peace, 99), peak.Load()>>10, m[droppedMetric], m[appendedMetric])
}
