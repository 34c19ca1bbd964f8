package caddymodule

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// flooder sends invented keys of the right form through a handler, from 50,000 addresses.
type flooder struct {
	g    *testGateway
	next caddyhttp.Handler
	n    atomic.Int64
}

// guess is one try. It answers the status.
func (f *flooder) guess(w *benchWriter) error {
	n := f.n.Add(1)
	r := benchRequest("GET", "/v1/charges", "Bearer "+inventedKey(n))
	r.RemoteAddr = fmt.Sprintf("198.18.%d.%d:4711", n%50_000>>8, n&255)
	clear(w.header)
	return f.g.handler.ServeHTTP(w, caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil), f.next)
}

func inventedKey(n int64) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	token := fmt.Appendf(nil, "sk_live_%032d", n)
	var sum [6]byte
	for c, i := crc32.ChecksumIEEE(token), len(sum)-1; i >= 0; i-- {
		sum[i] = alphabet[c%62]
		c /= 62
	}
	return string(append(token, sum[:]...))
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestFloodOfBadKeys sends 200,000 keys that nobody has as fast as the machine can. Every one is refused and counted, nothing of them stays in
// memory, and a good key is served at every moment.
func TestFloodOfBadKeys(t *testing.T) {
	tries := 200_000
	if raceEnabled {
		tries = 20_000
	}
	g := newGateway(t, nil)
	var reached atomic.Int64
	f := &flooder{g: g, next: caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		reached.Add(1)
		return nil
	})}
	warm := &benchWriter{header: http.Header{}}
	for range 1000 {
		if err := f.guess(warm); err != nil {
			t.Fatal(err)
		}
	}
	before := liveHeap()
	var all sync.WaitGroup
	var good atomic.Int64
	for range 4 {
		all.Go(func() {
			w := &benchWriter{header: http.Header{}}
			for n := range tries / 4 {
				if err := f.guess(w); err != nil {
					t.Error(err)
				}
				if n%100 != 0 {
					continue
				}
				clear(w.header)
				r := caddyhttp.PrepareRequest(benchRequest("GET", "/v1/charges", "Bearer "+g.live), caddy.NewReplacer(), w, nil)
				if err := g.handler.ServeHTTP(w, r, f.next); err != nil {
					t.Error(err)
				}
				good.Add(1)
			}
		})
	}
	all.Wait()
	if reached.Load() != good.Load() {
		t.Errorf("%d requests reached the backend, want the %d with a good key", reached.Load(), good.Load())
	}
	if err := g.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := g.log.Stats(); s.Appended != uint64(1000+tries)+uint64(good.Load()) || s.Appended != s.Stored+s.Dropped+uint64(s.Queued) {
		t.Errorf("got %d records appended, %d stored, %d dropped, %d queued, for %d requests", s.Appended, s.Stored, s.Dropped, s.Queued, 1000+tries+int(good.Load()))
	}
	if after := liveHeap(); after > before+32<<20 {
		t.Errorf("%d bytes are live after the flood, before it %d", after, before)
	}
}

// BenchmarkBadKeys is what one try costs, on all processors.
func BenchmarkBadKeys(b *testing.B) {
	f := &flooder{g: newGateway(b, nil), next: caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := &benchWriter{header: http.Header{}}
		for pb.Next() {
			if err := f.guess(w); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "keys/s")
	s := f.g.log.Stats()
	b.ReportMetric(100*float64(s.Dropped)/float64(s.Appended), "%dropped")
}
