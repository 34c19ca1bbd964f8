package pglog

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// benchRecords, in the environment, is with how many records TestBenchmark runs.
const benchRecords = "KEYSTILE_BENCH_PGLOG"

const (
	benchKeys     = 10_000
	benchAccounts = 4_000
	benchDays     = 10
)

// generator makes records as the benchmark of the archive has them: 10,000 keys of 4,000 accounts, used as a Zipf law says, and
// object ids and idempotency keys that never come again.
type generator struct {
	rng     *rand.Rand
	keys    *rand.Zipf
	begin   time.Time
	step    time.Duration
	made    int
	objects []string
}

func newGenerator(n int, begin time.Time) *generator {
	rng := rand.New(rand.NewPCG(7, 7))
	return &generator{
		rng: rng, keys: rand.NewZipf(rng, 1.1, 1, benchKeys-1), begin: begin, step: benchDays * 24 * time.Hour / time.Duration(n),
		objects: []string{"charges", "customers", "payment_intents", "invoices", "subscriptions", "refunds", "products", "prices", "events", "payouts"},
	}
}

func benchKey(rank uint64) string { return fmt.Sprintf("key_%020d", rank*2654435761%1_000_000_007) }

func (g *generator) text(n int) string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[g.rng.IntN(len(letters))]
	}
	return string(b)
}

func (g *generator) next() *requestlog.Record {
	at := g.begin.Add(time.Duration(g.made) * g.step).Truncate(time.Millisecond)
	g.made++
	took := time.Duration(2000+g.rng.ExpFloat64()*40_000) * time.Microsecond
	rank := g.keys.Uint64()
	account := fmt.Sprintf("acct_%016d", rank%benchAccounts*40503%1_000_003)
	object := g.objects[g.rng.IntN(len(g.objects))]
	r := &requestlog.Record{
		ID: requestlogtest.ID(at, uint64(g.made)), Time: at, Duration: took, Upstream: took - 80*time.Microsecond,
		Method: "GET", Path: "/v1/" + object, Host: "api.example.com", Status: 200, Decision: "allowed",
		RequiredPermission: object + "_read", Key: benchKey(rank), TokenMasked: fmt.Sprintf("rk_live_****%04d", rank*7%10000), Kind: "restricted", Mode: "live",
		Owner: account, Account: account, Resource: object, Access: "read",
		Client:    netip.AddrFrom4([4]byte{203, byte(rank % 13), byte(rank % 251), byte(g.rng.IntN(4))}),
		UserAgent: fmt.Sprintf("Client/v1 GoBindings/%d.%d.0", 60+rank%20, rank%10), APIVersion: "2026-01-01",
		BytesOut: int64(200 + g.rng.IntN(4000)), UpstreamAddress: "10.0.0.1:8080", Node: "node-1", TLS: "1.3", Protocol: "HTTP/2.0",
	}
	switch p := g.rng.IntN(100); {
	case p < 35: // makes something
		r.Method, r.Access, r.RequiredPermission = "POST", "write", object+"_write"
		r.BytesIn, r.IdempotencyKey, r.Target = int64(50+g.rng.IntN(800)), g.text(22), r.Path
	case p < 70: // asks for one thing
		r.Path += "/" + object[:2] + "_" + g.text(14)
		r.Target = r.Path
	default: // lists
		r.Query, r.Target = "limit=", r.Path+"?limit=***"
	}
	switch p := g.rng.IntN(1000); {
	case p < 20:
		r.Status, r.Decision, r.Upstream = 401, "api_key_expired", 0
		r.ErrorType, r.ErrorCode, r.ErrorMessage = "authentication_error", "api_key_expired", "Expired API key provided: "+r.TokenMasked
	case p < 25:
		r.Status, r.ErrorType, r.ErrorCode, r.ErrorMessage = 402, "card_error", "card_declined", "Your card was declined."
	case p < 60:
		r.Status, r.ErrorType, r.ErrorCode, r.ErrorMessage = 404, "invalid_request_error", "resource_missing", "No such object: '"+r.Path[4:]+"'"
	}
	return r
}

// cpu is the processor time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBenchmark writes as many records as the environment says, over ten days, and asks what people ask:
//
//	KEYSTILE_BENCH_PGLOG=1000000 CGO_ENABLED=0 go test -count=1 -timeout 30m -run '^TestBenchmark$' -v ./requestlog/pglog
//
// Without the environment it does so with a few, so that it does not rot.
func TestBenchmark(t *testing.T) {
	n := 3000
	if text := os.Getenv(benchRecords); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	server := ownServer(t)
	o := options(t, server.Database(t))
	o.Logger = nil
	o.QueryTime = time.Minute
	s := open(t, o)
	conn := connect(t, o.DSN)
	perRecord := func(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000/float64(n)) }

	begin := time.Now().UTC().Truncate(dayLength).Add(-(benchDays - 1) * dayLength)
	g := newGenerator(n, begin)
	var made, wrote time.Duration
	began, spent := time.Now(), cpu()
	for left := n; left > 0; {
		before := cpu()
		var batch []*requestlog.Record
		for range min(left, 1000) {
			batch = append(batch, g.next())
		}
		made += cpu() - before // and what the shipper took meanwhile
		left -= len(batch)
		before = cpu()
		write(t, s, batch)
		wrote += cpu() - before
		for {
			if total, shipped := s.places(); total-shipped < 16<<20 {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	until(t, "all records arrive", s.empty)
	took, used := time.Since(began), cpu()-spent
	t.Logf("%d records, %.0f a second; this process: %s of CPU a record, making and journal included", n, float64(n)/took.Seconds(), perRecord(used))

	// What the parts cost, one by one.
	sample := make([]*requestlog.Record, 0, 4000)
	for range cap(sample) {
		sample = append(sample, g.next())
	}
	before := cpu()
	for range 10 {
		newBatch(sample)
	}
	t.Logf("encoding: %.1f µs of CPU a record", float64((cpu()-before).Nanoseconds())/1000/40_000)

	if _, err := conn.Exec(t.Context(), `VACUUM ANALYZE`); err != nil {
		t.Fatal(err)
	}
	size := func(what string) float64 {
		return float64(number(t, conn, `SELECT sum(`+what+`(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'keystile_log_records'::regclass`)) / float64(n)
	}
	t.Logf("%.0f bytes a record, of which %.0f are its row and %.0f indexes", size("pg_total_relation_size"), size("pg_relation_size"), size("pg_indexes_size"))
	rows, err := conn.Query(t.Context(), `SELECT regexp_replace(i.relname, '^.*[0-9]{8}_', ''), sum(pg_relation_size(i.oid))::bigint / $1 FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
		JOIN pg_inherits h ON h.inhrelid = x.indrelid WHERE h.inhparent = 'keystile_log_records'::regclass GROUP BY 1 ORDER BY 1`, n)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var bytes int64
	if _, err := pgx.ForEachRow(rows, []any{&name, &bytes}, func() error { t.Logf("  index %s: %d bytes", name, bytes); return nil }); err != nil {
		t.Fatal(err)
	}
	benchQueries(t, s, begin)
}

func benchQueries(t *testing.T, s *Store, begin time.Time) {
	ctx := context.Background()
	ask := func(what string, f func() int) {
		best, worst, found := time.Hour, time.Duration(0), 0
		for range 5 {
			began := time.Now()
			found = f()
			best, worst = min(best, time.Since(began)), max(worst, time.Since(began))
		}
		t.Logf("%s: %v to %v, %d found", what, best.Round(100*time.Microsecond), worst.Round(100*time.Microsecond), found)
	}
	list := func(f requestlog.Filter) func() int {
		return func() int {
			page, err := s.List(ctx, requestlog.Query{Filter: f, Limit: 50})
			if err != nil {
				t.Fatal(err)
			}
			return len(page.Records)
		}
	}
	id := ""
	if page, err := s.List(ctx, requestlog.Query{Filter: requestlog.Filter{Until: begin.Add(2 * dayLength)}, Limit: 1}); err == nil && len(page.Records) == 1 {
		id = page.Records[0].ID
	}
	ask("newest 50", list(requestlog.Filter{}))
	ask("newest 50 of the hottest key", list(requestlog.Filter{Key: benchKey(0)}))
	ask("newest 50 of a key in the middle", list(requestlog.Filter{Key: benchKey(500)}))
	ask("newest 50 of the rarest key", list(requestlog.Filter{Key: benchKey(benchKeys - 1)}))
	ask("newest 50 of the hottest key with a status", list(requestlog.Filter{Key: benchKey(0), StatusMin: 402, StatusMax: 402}))
	ask("newest 50 of what an account may see", list(requestlog.Filter{Within: []string{"acct_0000000000000000"}}))
	ask("newest 50 with a status and a path", list(requestlog.Filter{StatusMin: 402, StatusMax: 402, Path: "/v1/charges"}))
	ask("newest 50 by idempotency key, of which there is none", list(requestlog.Filter{IdempotencyKey: "none"}))
	ask("one id", func() int {
		if _, err := s.Get(ctx, id); err != nil {
			t.Fatal(err)
		}
		return 1
	})
	histogram := func(by string, f requestlog.Filter) func() int {
		return func() int {
			f.Until = begin.Add(8 * dayLength)
			f.Since = f.Until.Add(-dayLength)
			h, err := s.Histogram(ctx, requestlog.HistogramQuery{Filter: f, By: by, Bucket: 15 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			total := int64(0)
			for _, b := range h.Buckets {
				total += b.Total
			}
			return int(total)
		}
	}
	ask("24 hours by status", histogram(requestlog.ByStatusClass, requestlog.Filter{}))
	ask("24 hours by key", histogram(requestlog.ByKey, requestlog.Filter{}))
	ask("24 hours of a mode by status", histogram(requestlog.ByStatusClass, requestlog.Filter{Mode: "live"}))
	for what, key := range map[string]string{"the hottest key": benchKey(0), "a key in the middle": benchKey(500)} {
		ask("what "+what+" did", func() int {
			sum, err := s.KeySummary(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			return int(sum.Requests)
		})
	}
	day := dayOf(requestPrefix + boundAt(begin))
	began := time.Now()
	if err := s.dropDay(ctx, day); err != nil {
		t.Fatal(err)
	}
	t.Logf("dropping a day: %v", time.Since(began).Round(100*time.Microsecond))
}
