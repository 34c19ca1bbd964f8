//go:build linux

package archive

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keystile/keystile/requestlog"
)

// benchRecords, in the environment, is how many records TestBenchmark stores: `make bench-log` asks for two million. Without
// it the benchmark runs with a few, so that it is known to work.
const benchRecords = "KEYSTILE_BENCH_LOG"

// TestBenchmark measures what the request log promises, on records over ten days. It tells figures and asserts none: a busy
// machine must not break it. What it does assert is that nothing is lost and that queries find what is there.
func TestBenchmark(t *testing.T) {
	n := 30_000
	if v := os.Getenv(benchRecords); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(format string, values ...any) { fmt.Fprintf(os.Stderr, "bench-log: "+format+"\n", values...) }
	if os.Getenv(benchRecords) == "" {
		tell = t.Logf
	}

	making := cpuOf(func() {
		g, r := newGenerator(n), new(requestlog.Record)
		for range n {
			g.next(r)
		}
	})
	plain := cpuOf(func() { writePlain(t, n) }) - making
	tell("plain zap to a file, for comparison: %.2f us of CPU a record", perRecord(plain, n))
	journal := cpuOf(func() { writeJournal(t, n) }) - making

	runtime.GC()
	idle := residentKiB()
	peak := watchMemory(t)
	dir := t.TempDir()
	clock := new(atomic.Int64)
	clock.Store(benchBegin.UnixNano())
	o := Options{Dir: dir, Now: func() time.Time { return time.Unix(0, clock.Load()) }, Elapsed: func() time.Duration { return time.Duration(clock.Load()) }}
	a := openArchive(t, o)
	began := time.Now()
	var batch []*requestlog.Record
	all := cpuOf(func() {
		g := newGenerator(n)
		for range 1000 {
			batch = append(batch, new(requestlog.Record))
		}
		for left := n; left > 0; left -= len(batch) {
			batch = batch[:min(left, len(batch))]
			for _, r := range batch {
				g.next(r)
			}
			clock.Store(batch[len(batch)-1].Time.UnixNano())
			write(t, a, batch)
			for len(a.journal.Sealed()) > 3 { // the benchmark is faster than any traffic
				time.Sleep(5 * time.Millisecond)
			}
		}
		settle(a)
	}) - making
	tell("journal: %.2f us of CPU a record (%.2f of plain zap); from the journal to sealed Parquet: %.2f us (%.2f); %.0f records/s",
		perRecord(journal, n), float64(journal)/float64(plain), perRecord(all-journal, n), float64(all-journal)/float64(plain), float64(n)/time.Since(began).Seconds())
	s := a.Stats()
	tell("on disk: %.1f bytes a record (JSON %.0f) in %d files", float64(diskBytes(t, dir))/float64(n), jsonBytes, s.Files)
	tell("memory above idle while writing: %d MiB", (peak()-idle)>>10)
	if s.Errors+s.Skipped+s.SetAside > 0 {
		t.Errorf("stats: %+v", s)
	}

	benchQueries(t, a, tell)
	tell("memory above idle, all in all: %d MiB", (peak()-idle)>>10)

	closeArchive(t, a)
	began = time.Now()
	a = openArchive(t, o)
	tell("opening: %v", time.Since(began).Round(100*time.Microsecond))
	began = time.Now()
	if _, err := a.KeySummary(t.Context(), benchKey(0)); err != nil {
		t.Error(err)
	}
	tell("what a key did, just opened: %v", time.Since(began).Round(100*time.Microsecond))
	benchDrop(t, a, clock, tell)
	closeArchive(t, a)
}

// benchQueries measures each query warm: the median of nine.
func benchQueries(t *testing.T, a *Archive, tell func(string, ...any)) {
	end := benchBegin.Add(benchDays * 24 * time.Hour)
	list := func(f requestlog.Filter) func() int {
		return func() int {
			found := 0
			for after := ""; ; {
				p, err := a.List(t.Context(), requestlog.Query{Filter: f, Limit: 50 - found, After: after})
				if err != nil {
					t.Fatal(err)
				}
				found += len(p.Records)
				if after = p.Next; !p.More || found == 50 {
					return found
				}
			}
		}
	}
	p, err := a.List(t.Context(), requestlog.Query{Limit: 1, Filter: requestlog.Filter{Until: end.Add(-77 * time.Hour)}})
	if err != nil || len(p.Records) != 1 {
		t.Fatalf("List: %d records, %v", len(p.Records), err)
	}
	middle := p.Records[0].ID
	histogram := func(f requestlog.Filter, by string) func() int {
		return func() int {
			f.Since, f.Until = end.Add(-24*time.Hour), end
			h, err := a.Histogram(t.Context(), requestlog.HistogramQuery{Filter: f, By: by, Bucket: 5 * time.Minute})
			if err != nil || !h.Complete {
				t.Fatalf("Histogram: %v", err)
			}
			total := 0
			for _, b := range h.Buckets {
				total += int(b.Total)
			}
			return total
		}
	}
	for _, q := range []struct {
		name string
		run  func() int
	}{
		{"newest 50", list(requestlog.Filter{})},
		{"newest 50 of the hottest key", list(requestlog.Filter{Key: benchKey(0)})},
		{"newest 50 of key 100", list(requestlog.Filter{Key: benchKey(100)})},
		{"newest 50 of key 1000", list(requestlog.Filter{Key: benchKey(1000)})},
		{"newest 50 of key 3000", list(requestlog.Filter{Key: benchKey(3000)})},
		{"newest 50 of key 9000", list(requestlog.Filter{Key: benchKey(9000)})},
		{"newest 50 of an unknown key", list(requestlog.Filter{Key: "key_unknown"})},
		{"newest 50 of account 2000", list(requestlog.Filter{Account: benchAccount(2000)})},
		{"newest 50 with status 402 and a path prefix", list(requestlog.Filter{StatusMin: 402, StatusMax: 402, Path: "/v1/charges"})},
		{"newest 50 with status 5xx and a path pattern", list(requestlog.Filter{StatusMin: 500, StatusMax: 599, Path: "/v1/*/in_*"})},
		{"newest 50 of an address range", list(requestlog.Filter{Client: mustPrefix("203.5.0.0/16")})},
		{"one request id", list(requestlog.Filter{RequestID: middle})},
		{"an unknown request id", list(requestlog.Filter{RequestID: middle[:22] + "0"})},
		{"24 hours by status class", histogram(requestlog.Filter{}, requestlog.ByStatusClass)},
		{"24 hours by resource", histogram(requestlog.Filter{}, requestlog.ByResource)},
		{"24 hours by key", histogram(requestlog.Filter{}, requestlog.ByKey)},
		{"24 hours of a key by status class", histogram(requestlog.Filter{Key: benchKey(5)}, requestlog.ByStatusClass)},
		{"24 hours of a mode by status class", histogram(requestlog.Filter{Mode: "live"}, requestlog.ByStatusClass)},
		{"what the hottest key did", func() int {
			s, err := a.KeySummary(t.Context(), benchKey(0))
			if err != nil {
				t.Fatal(err)
			}
			return int(s.Requests)
		}},
	} {
		began := time.Now()
		found := q.run()
		first := time.Since(began)
		var times []time.Duration
		for range 9 {
			began := time.Now()
			if again := q.run(); again != found {
				t.Errorf("%s: found %d, then %d", q.name, found, again)
			}
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		tell("%-46s %8v (first %v), %d found", q.name, times[4].Round(10*time.Microsecond), first.Round(10*time.Microsecond), found)
	}
}

// benchDrop measures what deleting the oldest day costs.
func benchDrop(t *testing.T, a *Archive, clock *atomic.Int64, tell func(string, ...any)) {
	before := a.Stats()
	clock.Store(benchBegin.Add(a.o.Retention + 24*time.Hour + time.Second).UnixNano())
	began := time.Now()
	a.keep(t.Context())
	after := a.Stats()
	tell("dropping a day: %v, %d of %d files", time.Since(began).Round(100*time.Microsecond), before.Files-after.Files, before.Files)
}

// BenchmarkSeal is what making a Parquet file of the journal's costs, in processor time of all goroutines.
func BenchmarkSeal(b *testing.B) {
	const n = 40_000
	j, err := requestlog.OpenJournal(requestlog.JournalOptions{Dir: b.TempDir(), Retention: 100 * 365 * 24 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	g, r := newGenerator(2_000_000), new(requestlog.Record)
	for range n {
		g.next(r)
		if _, err := j.Write([]*requestlog.Record{r}); err != nil {
			b.Fatal(err)
		}
	}
	j.Roll()
	path := j.Sealed()[0].Path
	out, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	u := newUsage()
	b.ReportAllocs()
	before := cpu()
	for i := 0; b.Loop(); i++ {
		s := newSealing(newOutFile(out))
		if _, err := j.EachSorted(b.Context(), path, s.add); err != nil {
			b.Fatal(err)
		}
		if err := s.close(); err != nil {
			b.Fatal(err)
		}
		u.merge(s.usage, strconv.Itoa(i))
	}
	b.ReportMetric(perRecord(cpu()-before, n*b.N), "cpu-us/record")
}

var jsonBytes float64

// writePlain writes the same records as JSON with plain zap.
func writePlain(t *testing.T, n int) {
	out, err := os.Create(t.TempDir() + "/plain.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ws := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(out), Size: 512 << 10}
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{LineEnding: "\n"}), ws, zap.InfoLevel))
	g, r := newGenerator(n), new(requestlog.Record)
	for range n {
		g.next(r)
		logger.Info("", zap.String("id", r.ID), zap.Time("time", r.Time), zap.Int64("duration_us", r.Duration.Microseconds()),
			zap.Int64("upstream_us", r.Upstream.Microseconds()), zap.String("method", r.Method), zap.String("path", r.Path), zap.String("target", r.Target),
			zap.String("query", r.Query), zap.String("host", r.Host), zap.Int("status", r.Status), zap.String("decision", r.Decision),
			zap.String("required_permission", r.RequiredPermission), zap.String("key", r.Key), zap.String("token_masked", r.TokenMasked), zap.String("kind", r.Kind),
			zap.String("mode", r.Mode), zap.String("owner", r.Owner), zap.String("account", r.Account), zap.String("resource", r.Resource),
			zap.String("access", r.Access), zap.String("client_address", r.Client.String()), zap.String("user_agent", r.UserAgent),
			zap.String("api_version", r.APIVersion), zap.String("idempotency_key", r.IdempotencyKey), zap.Int64("bytes_in", r.BytesIn),
			zap.Int64("bytes_out", r.BytesOut), zap.String("upstream", r.UpstreamAddress), zap.String("node", r.Node), zap.String("tls", r.TLS),
			zap.String("protocol", r.Protocol), zap.String("error_type", r.ErrorType), zap.String("error_code", r.ErrorCode), zap.String("error_message", r.ErrorMessage))
	}
	if err := ws.Stop(); err != nil {
		t.Fatal(err)
	}
	info, err := out.Stat()
	if err != nil {
		t.Fatal(err)
	}
	jsonBytes = float64(info.Size()) / float64(n)
}

// writeJournal writes the same records to a journal only.
func writeJournal(t *testing.T, n int) {
	j, err := requestlog.OpenJournal(requestlog.JournalOptions{Dir: t.TempDir(), MaxSize: 1 << 40, Retention: 100 * 365 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	g := newGenerator(n)
	batch := make([]*requestlog.Record, 1000)
	for i := range batch {
		batch[i] = new(requestlog.Record)
	}
	for left := n; left > 0; left -= len(batch) {
		batch = batch[:min(left, len(batch))]
		for _, r := range batch {
			g.next(r)
		}
		if _, err := j.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func perRecord(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / float64(n) / 1000 }

// cpuOf is the processor time that the process took during f, in all its goroutines.
func cpuOf(f func()) time.Duration {
	before := cpu()
	f()
	return cpu() - before
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentKiB() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		panic(err)
	}
	return pages * int64(os.Getpagesize()) >> 10
}

// watchMemory looks at the process's memory all the time; its answer tells the most there was, in KiB.
func watchMemory(t *testing.T) func() int64 {
	var most atomic.Int64
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			most.Store(max(most.Load(), residentKiB()))
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return most.Load
}

func diskBytes(t *testing.T, dir string) (total int64) {
	t.Helper()
	for _, name := range names(t, dir) {
		info, err := os.Stat(dir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}
