package requestlog

import (
	"context"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// typicalRecord fills what a request of a restricted key has: some 700 bytes as JSON.
func typicalRecord(r *Record, now time.Time) {
	r.Time, r.Duration, r.Upstream = now, 12345*time.Microsecond, 12000*time.Microsecond
	r.Method, r.Path, r.Target, r.Query, r.Host = "POST", "/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15", "/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15?expand[]=***", "expand[]=", "api.example.com"
	r.Status, r.Decision, r.RequiredPermission, r.Key, r.TokenMasked = 200, "allowed", "charges_write", "key_0a1b2c3d4e5f6g7h8i9j", "rk_live_****AbCd"
	r.Kind, r.Mode, r.Owner, r.Account, r.Resource, r.Access = "restricted", "live", "acct_0a1b2c3d4e5f6g7h", "acct_0a1b2c3d4e5f6g7h", "charges", "write"
	r.Client, r.UserAgent = netip.AddrFrom4([4]byte{203, 0, 113, 7}), "Stripe/v1 GoBindings/85.0.0"
	r.APIVersion, r.IdempotencyKey, r.BytesIn, r.BytesOut = "2026-01-01", "9f86d081-884c-4d63-9b1f-2e8a7c1d0b44", 431, 2210
	r.UpstreamAddress, r.Node, r.TLS, r.Protocol = "10.0.0.17:8080", "node-1", "1.3", "HTTP/2.0"
}

// BenchmarkAppend is what a request pays: a record from the pool, filled, queued. A store that takes everything stands
// behind, so that nothing is dropped but what the benchmark itself is too fast for.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(Options{Store: &nullStore{}, QueueSize: 1 << 16})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	now := time.Now()
	b.Run("AppendOnly", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.Append(l.NewRecord())
		}
	})
	b.Run("FilledWithID", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := l.NewRecord()
			typicalRecord(r, now)
			r.ID = NewID(now)
			l.Append(r)
		}
	})
	b.Run("Parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r := l.NewRecord()
				typicalRecord(r, now)
				r.ID = NewID(now)
				l.Append(r)
			}
		})
	})
	b.ReportMetric(float64(l.Stats().Dropped)/float64(l.Stats().Appended), "dropped")
}

// BenchmarkAppendWhenFull is the worst that a request pays under overload: the record is refused and counted.
func BenchmarkAppendWhenFull(b *testing.B) {
	store := &fakeStore{block: make(chan struct{})}
	l, err := Open(Options{Store: store, QueueSize: 16})
	if err != nil {
		b.Fatal(err)
	}
	for l.Append(l.NewRecord()) || l.Stats().Queued < 16 {
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Append(l.NewRecord())
	}
	close(store.block)
	_ = l.Close()
}

func BenchmarkNewID(b *testing.B) {
	now := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			NewID(now)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	now := time.Now()
	var r Record
	typicalRecord(&r, now)
	r.ID = NewID(now)
	l := newCleaner()
	b.ReportAllocs()
	for b.Loop() {
		l.clean(&r, "node", now)
	}
}

func BenchmarkScrubTokens(b *testing.B) {
	for name, s := range map[string]string{
		"Plain":      "/v1/charges/ch3MmlLrLkdIwHu7ix0snN0B15",
		"Underscore": "/v1/payment_intents/pi_3MmlLrLkdIwHu7ix0snN0B15",
		"Token":      "/v1/charges/sk_live_" + body32,
		"Encoded":    "/v1/customers/a%20b_c",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ScrubTokens(s)
			}
		})
	}
}

func BenchmarkRedactQuery(b *testing.B) {
	for name, s := range map[string]string{
		"Plain": "limit=10&starting_after=ch_3MmlLrLkdIwHu7ix0snN0B15&expand[]=data.customer",
		"Bare":  "wsdl&limit=10",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				RedactQuery(s)
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	e := newEncoder()
	var r Record
	typicalRecord(&r, time.Now())
	r.ID = NewID(r.Time)
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if line, err = e.append(line[:0], &r); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(line)))
	}
}

// BenchmarkEncodePlainZap is the measure for Encode: the same fields given to a plain zap logger.
func BenchmarkEncodePlainZap(b *testing.B) {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{LineEnding: "\n"}), zapcore.AddSync(discard{}), zap.InfoLevel)
	logger := zap.New(core)
	var r Record
	typicalRecord(&r, time.Now())
	r.ID = NewID(r.Time)
	b.ReportAllocs()
	for b.Loop() {
		logger.Info("", zap.String("id", r.ID), zap.String("time", string(appendTime(nil, r.Time))), zap.Int64("duration_us", r.Duration.Microseconds()),
			zap.Int64("upstream_us", r.Upstream.Microseconds()), zap.String("method", r.Method), zap.String("path", r.Path), zap.String("target", r.Target),
			zap.String("query", r.Query), zap.String("host", r.Host), zap.Int("status", r.Status), zap.String("decision", r.Decision),
			zap.String("required_permission", r.RequiredPermission), zap.String("key", r.Key), zap.String("token_masked", r.TokenMasked), zap.String("kind", r.Kind),
			zap.String("mode", r.Mode), zap.String("owner", r.Owner), zap.String("account", r.Account), zap.String("resource", r.Resource),
			zap.String("access", r.Access), zap.String("client_address", r.Client.String()), zap.String("user_agent", r.UserAgent),
			zap.String("api_version", r.APIVersion), zap.String("idempotency_key", r.IdempotencyKey), zap.Int64("bytes_in", r.BytesIn),
			zap.Int64("bytes_out", r.BytesOut), zap.String("upstream", r.UpstreamAddress), zap.String("node", r.Node), zap.String("tls", r.TLS),
			zap.String("protocol", r.Protocol))
	}
}

func BenchmarkDecodeLine(b *testing.B) {
	var r, got Record
	typicalRecord(&r, time.Now())
	r.ID = NewID(r.Time)
	line, err := r.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if err := decodeLine(line, &got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJournalWrite is the writer's whole cost per record: cleaned, encoded, indexed, in the page cache.
func BenchmarkJournalWrite(b *testing.B) {
	j, err := OpenJournal(JournalOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	batch := make([]*Record, maxBatch)
	now, l := time.Now(), newCleaner()
	for i := range batch {
		batch[i] = new(Record)
		typicalRecord(batch[i], now)
		batch[i].ID = NewID(now)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += len(batch) {
		part := batch[:min(len(batch), b.N-n)]
		for _, r := range part {
			l.clean(r, "node", now)
		}
		if _, err := j.Write(part); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads pages of fifty from a journal of 200,000 records of 1,000 keys.
func BenchmarkList(b *testing.B) {
	j, err := OpenJournal(JournalOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	batch := make([]*Record, 1000)
	for n := range 200 {
		for i := range batch {
			batch[i] = new(Record)
			typicalRecord(batch[i], time.Now())
			batch[i].ID, batch[i].Key = NewID(batch[i].Time), "key_"+strconv.Itoa(i)
			if n == 1 && i == 1 {
				batch[i].Key = "key_rare"
			}
		}
		if _, err := j.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]Filter{
		"Newest": {}, "Key": {Key: "key_500"}, "RareKey": {Key: "key_rare"}, "AbsentKey": {Key: "key_none"}, "AbsentStatus": {StatusMin: 402, StatusMax: 402},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.List(context.Background(), Query{Filter: f, Limit: 50}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("Get", func(b *testing.B) {
		id := batch[0].ID
		b.ReportAllocs()
		for b.Loop() {
			if _, err := j.Get(context.Background(), id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type nullStore struct{ fakeStore }

func (*nullStore) Write(records []*Record) (int, error) { return len(records), nil }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
