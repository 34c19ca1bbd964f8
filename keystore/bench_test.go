package keystore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// benchSizes are the numbers of keys that benchmarks run with. A million takes a minute to fill: it is there for who
// asks by KEYSTILE_BENCH_LARGE=1.
func benchSizes() []int {
	if os.Getenv("KEYSTILE_BENCH_LARGE") != "" {
		return []int{10_000, 1_000_000}
	}
	return []int{10_000}
}

var (
	benchFiles   = make(map[int]string)
	benchFilesMu sync.Mutex
)

// benchFile is a bolt file with n keys in it, made once per size: imported keys, ten to an account, restricted.
func benchFile(b *testing.B, n int) string {
	b.Helper()
	benchFilesMu.Lock()
	defer benchFilesMu.Unlock()
	if path, ok := benchFiles[n]; ok {
		return path
	}
	dir, err := os.MkdirTemp("", "keystile-bench-") // it outlives this benchmark
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(dir, "keys.db")
	s := openBench(b, path, 0)
	var accounts []string
	for i := range max(n/2000, 1) {
		a, _ := mustAccount(b, s, fmt.Sprint("account ", i))
		accounts = append(accounts, a.ID)
	}
	const batch = 20_000
	for at := 0; at < n; at += batch {
		rows := make([]keystore.ImportParams, 0, batch)
		for i := at; i < min(at+batch, n); i++ {
			p := restricted(accounts[i%len(accounts)])
			p.Name = fmt.Sprint("service ", i%100)
			rows = append(rows, keystore.ImportParams{KeyParams: p, Digest: benchDigest(i), Last4: fmt.Sprintf("%04d", i%10000)})
		}
		if _, err := s.ImportKeys(context.Background(), by, rows); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	benchFiles[n] = path
	return path
}

// TestMain removes the files of the benchmarks.
func TestMain(m *testing.M) {
	code := m.Run()
	for _, path := range benchFiles {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func openBench(b *testing.B, path string, cache int) *keystore.Store {
	b.Helper()
	backend, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := keystore.Open(context.Background(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(b), CacheEntries: cache})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func benchDigest(i int) policy.Digest { return policy.DigestOf(fmt.Sprint("bench token ", i)) }

// BenchmarkLookup looks keys up: a hit in the cache, a miss of the cache that the index answers, and a token that nobody
// has. A miss includes the set that follows it.
func BenchmarkLookup(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			s := openBench(b, benchFile(b, n), 0)
			defer s.Close()
			digests := make([]policy.Digest, min(n, 1<<18))
			for i := range digests {
				digests[i] = benchDigest(i * 7919 % n)
			}
			b.Run("hit", func(b *testing.B) {
				hot := digests[:1024]
				for range 20 {
					for i := range hot {
						s.Lookup(&hot[i])
					}
					s.WaitForCache()
				}
				b.ReportAllocs()
				hits, i := 0, 0
				for b.Loop() {
					if k, cached := s.Lookup(&hot[i]); k == nil {
						b.Fatal("not found")
					} else if cached {
						hits++
					}
					i = (i + 1) % len(hot)
				}
				b.ReportMetric(float64(hits)/float64(b.N)*100, "%hits")
			})
			b.Run("hit/parallel", func(b *testing.B) {
				hot := digests[:1024]
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						s.Lookup(&hot[i%len(hot)])
					}
				})
			})
			b.Run("miss", func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					k, fill := s.ColdRead(&digests[i])
					if k == nil {
						b.Fatal("not found")
					}
					fill()
					i = (i + 1) % len(digests)
				}
			})
			b.Run("unknown", func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					d := digests[i]
					d[31]++
					if k, _ := s.Lookup(&d); k != nil {
						b.Fatal("found")
					}
					i = (i + 1) % len(digests)
				}
			})
		})
	}
}

// BenchmarkOpen loads a store and reports what a key costs in memory, everything counted.
func BenchmarkOpen(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			path := benchFile(b, n)
			b.ReportAllocs()
			for b.Loop() {
				before := heap()
				s := openBench(b, path, 0)
				b.ReportMetric(float64(heap()-before)/float64(s.Len()), "B/key")
				_ = s.Close()
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkUpdate is one edit of one key, durable in the file.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			s := openBench(b, benchFile(b, n), 0)
			defer s.Close()
			d := benchDigest(1)
			k, _ := s.Lookup(&d)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if _, err := s.UpdateKey(context.Background(), by, k.ID, keystore.KeyPatch{Note: keystore.To(fmt.Sprint(i, time.Now()))}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDirectory is what a request with a context asks.
func BenchmarkDirectory(b *testing.B) {
	s := keystoretest.NewStore(b, keystore.Options{})
	a, _ := mustAccount(b, s, "A")
	dir := s.Directory()
	b.ReportAllocs()
	for b.Loop() {
		if dir.DefaultSandbox(a.ID) == "" || dir.Connected(a.ID, a.ID) {
			b.Fatal("wrong")
		}
	}
}
