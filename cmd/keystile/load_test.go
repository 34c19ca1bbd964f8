//go:build linux

package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

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
}

// TestGoodTrafficUnderAttack: while each attack runs, a customer from the same address is served, every time; the process keeps to its memory,
// its log says no more than in peace, and nothing of the attack is left when it is over. Each attack is compared with the peace around it.
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
	pid := b.PID(t)
	idle := descriptorsOf(t, pid)
	before := b.customer(t, length)
	t.Logf("| attack | of it | a second | requests served | p50 | p99 | p99 to that in peace | its CPU | memory, MiB |")
	t.Logf("| none | | | %d | %v | %v | | | %d |", len(before), part(before, 50), part(before, 99), memoryOf(t, pid, "VmRSS")>>10)
	for _, name := range attackNames() {
		_, said := b.Output()
		asked := b.backend.Count()
		a := b.attack(t, name)
		busy := cpuTime(t, pid)
		began := time.Now()
		took := b.customer(t, length)
		busy = cpuTime(t, pid) - busy
		share := 100 * busy.Seconds() / time.Since(began).Seconds()
		memory := memoryOf(t, pid, "VmRSS")
		did := a.end(t)
		b.unharmed(t, name, asked)
		if limit := memoryLimit(); memory > limit {
			t.Errorf("%s: the process has %d KiB, want at most %d", name, memory, limit)
		}
		if _, now := b.Output(); len(now)-len(said) > 64<<10 {
			t.Errorf("%s: the process wrote %d bytes to its log", name, len(now)-len(said))
		}
		// Idle connections to the backend stay for a while.
		for deadline := time.Now().Add(30 * time.Second); descriptorsOf(t, pid) > idle+1024+50; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d descriptors are left of it, before it there were %d", name, descriptorsOf(t, pid), idle)
			}
		}
		after := b.customer(t, length)
		peace := (part(before, 99) + part(after, 99)) / 2
		times := float64(part(took, 99)) / float64(peace)
		t.Logf("| %s | %d | %.0f | %d | %v | %v | %.1f | %.0f %% | %d |", name, did.Tries, float64(did.Tries)/did.Seconds, len(took), part(took, 50), part(took, 99), times, share, memory>>10)
		if measured != "" && times > 2 {
			t.Errorf("%s: the p99 of good requests is %.1f times that in peace, want at most 2", name, times)
		}
		before = after
	}
	awaitAccounted(t, b.Gateway)
}

// unharmed wants nothing of an attack to have reached the backend since it had been asked so many times.
func (b *loadBed) unharmed(t *testing.T, name string, asked int) {
	t.Helper()
	for _, r := range b.backend.Requests(asked) {
		if r.Method != "GET" || len(r.Exact("X-Huge")) > 0 {
			t.Errorf("%s: it reached the backend: %s with %d header lines", name, r.Method, len(r.Header))
			return
		}
	}
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
