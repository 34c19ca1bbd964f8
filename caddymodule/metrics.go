package caddymodule

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystile/keystile/policy"
)

// sampleEvery is how many requests stand behind one measured time. Reading the clock and observing a histogram would cost
// more than the decision itself.
const sampleEvery = 64

// metrics are the process's counters. They live in the pool, so that they only ever grow while a config with the app is
// running; each config load registers the same collectors with its new registry. Labels come from closed sets: never a key,
// a path or a host.
type metrics struct {
	decisions  []prometheus.Counter // :: policy.Reason → counter
	hits       prometheus.Counter
	misses     prometheus.Counter
	lookups    prometheus.Histogram
	decides    prometheus.Histogram
	resets     prometheus.Counter
	collectors []prometheus.Collector
}

func newMetrics() *metrics {
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "keystile", Name: "decisions_total",
		Help: "Requests decided, by decision: allowed, open, preflight, or the error code of the answer.",
	}, []string{"decision"})
	cache := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "keystile", Name: "cache_lookups_total",
		Help: "Look-ups of keys, by result: hit if the cache had the key, miss if the index was asked. Keys that no look-up is worth are not counted.",
	}, []string{"result"})
	// a cached look-up takes a tenth of a microsecond, an index with a million keys a few
	buckets := []float64{100e-9, 200e-9, 400e-9, 800e-9, 1.6e-6, 3.2e-6, 6.4e-6, 12.8e-6, 25.6e-6, 102.4e-6, 409.6e-6, 1.6e-3}
	m := &metrics{
		hits:   cache.WithLabelValues("hit"),
		misses: cache.WithLabelValues("miss"),
		lookups: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "keystile", Name: "lookup_duration_seconds", Buckets: buckets,
			Help: "Time to find a key by its digest. One request in 64 is measured, chosen at random: multiply counts by 64.",
		}),
		decides: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "keystile", Name: "decision_duration_seconds", Buckets: buckets,
			Help: "Time from a request's credential to its decision. One request in 64 is measured, chosen at random: multiply counts by 64.",
		}),
		resets: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: "keystile", Name: "resets_total",
			Help: "HTTP/2 requests given up by their client at once, beyond what one peer may: their connection was told to end.",
		}),
	}
	for _, reason := range policy.Reasons() {
		for int(reason) >= len(m.decisions) {
			m.decisions = append(m.decisions, nil)
		}
		m.decisions[reason] = decisions.WithLabelValues(reason.String())
	}
	m.collectors = []prometheus.Collector{decisions, cache, m.lookups, m.decides, m.resets, stateCollector{}}
	return m
}

// register adds the collectors to a config's registry.
func (m *metrics) register(registry *prometheus.Registry) error {
	for _, c := range m.collectors {
		err := registry.Register(c)
		if already := (prometheus.AlreadyRegisteredError{}); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// sample says whether to measure the times of this request: true for one in 64. Only then are lookup and decide worth
// the clock readings.
func (m *metrics) sample() bool { return rand.Uint32()%sampleEvery == 0 }

// decision counts one answered request by its reason.
func (m *metrics) decision(reason policy.Reason) {
	if int(reason) < len(m.decisions) && m.decisions[reason] != nil {
		m.decisions[reason].Inc()
	}
}

// cache counts one look-up by whether the cache had the key.
func (m *metrics) cache(hit bool) {
	if hit {
		m.hits.Inc()
	} else {
		m.misses.Inc()
	}
}

// lookup observes the time of one sampled look-up.
func (m *metrics) lookup(d time.Duration) { m.lookups.Observe(d.Seconds()) }

// decide observes the time of one sampled decision, from the credential to the verdict.
func (m *metrics) decide(d time.Duration) { m.decides.Observe(d.Seconds()) }

// Destruct has nothing to close: counters are memory.
func (m *metrics) Destruct() error { return nil }

// stateCollector tells the state of the store and log of the running config at the moment of asking. It asks Caddy which
// config runs, since after a failed reload the registry is the failed config's.
type stateCollector struct{}

var (
	keysDesc      = prometheus.NewDesc("caddy_keystile_keys", "Keys loaded, ended ones included.", nil, nil)
	stalenessDesc = prometheus.NewDesc("caddy_keystile_store_staleness_seconds", "Seconds since the keys in memory were last known to be the database's newest state; after max_staleness no key is accepted. Only of a store that gateways share.", nil, nil)
	behindDesc    = prometheus.NewDesc("caddy_keystile_store_behind_revisions", "Changes that the database was seen to hold and that are not in force on this node yet.", nil, nil)
	nodesDesc     = prometheus.NewDesc("caddy_keystile_nodes_live", "Gateways that share the store and were heard of lately, this one included.", nil, nil)
	revisionDesc  = prometheus.NewDesc("caddy_keystile_store_revision", "The newest change of the key store that is in force on this node.", nil, nil)

	queuedDesc   = prometheus.NewDesc("caddy_keystile_request_log_queue_records", "Request records in the queue now.", nil, nil)
	appendedDesc = prometheus.NewDesc("caddy_keystile_request_log_appended_total", "Request records handed to the log, dropped ones included.", nil, nil)
	storedDesc   = prometheus.NewDesc("caddy_keystile_request_log_stored_total", "Request records written out.", nil, nil)
	droppedDesc  = prometheus.NewDesc("caddy_keystile_request_log_dropped_total", "Request records lost: no room in the queue, or not to be written.", nil, nil)
	errorsDesc   = prometheus.NewDesc("caddy_keystile_request_log_errors_total", "Failed writes, syncs, reads and deletions of the request log.", nil, nil)
	filesDesc    = prometheus.NewDesc("caddy_keystile_request_log_files", "Files of the request log.", nil, nil)
	bytesDesc    = prometheus.NewDesc("caddy_keystile_request_log_bytes", "Size of the request log's files.", nil, nil)
	asideDesc    = prometheus.NewDesc("caddy_keystile_request_log_set_aside_total", "Damaged files taken out of the request log.", nil, nil)
	skippedDesc  = prometheus.NewDesc("caddy_keystile_request_log_skipped_lines_total", "Unreadable lines met in the request log.", nil, nil)
	gapsDesc     = prometheus.NewDesc("caddy_keystile_request_log_gaps_total", "Gap records written out; each tells of dropped records.", nil, nil)

	unshippedDesc     = prometheus.NewDesc("caddy_keystile_request_log_unshipped_records", "Request records that are not in the database yet; about, for those of an earlier process.", nil, nil)
	unshippedSizeDesc = prometheus.NewDesc("caddy_keystile_request_log_unshipped_bytes", "Size of the request records that are not in the database yet.", nil, nil)
	unshippedAgeDesc  = prometheus.NewDesc("caddy_keystile_request_log_unshipped_age_seconds", "Age of the oldest request record that is not in the database yet, 0 if there is none.", nil, nil)
	databaseDesc      = prometheus.NewDesc("caddy_keystile_request_log_database_up", "1 if the request log's database takes records, 0 if not.", nil, nil)
	batchesDesc       = prometheus.NewDesc("caddy_keystile_request_log_batches_total", "Batches of request records brought to the database.", nil, nil)
	expiredDesc       = prometheus.NewDesc("caddy_keystile_request_log_expired_total", "Request records that were older than what is kept by the time they could be brought to the database.", nil, nil)

	capturedDesc     = prometheus.NewDesc("caddy_keystile_request_log_captured_bytes", "Bytes of captured headers and bodies on their way to the log now.", nil, nil)
	uncapturedDesc   = prometheus.NewDesc("caddy_keystile_request_log_captures_dropped_total", "Captures given up because too much was on its way; their records are kept.", nil, nil)
	captureBytesDesc = prometheus.NewDesc("caddy_keystile_request_log_capture_dropped_bytes_total", "Bytes of captures given up.", nil, nil)

	otlpQueuedDesc   = prometheus.NewDesc("caddy_keystile_otlp_queue_records", "Request records that wait to be exported now.", nil, nil)
	otlpExportedDesc = prometheus.NewDesc("caddy_keystile_otlp_exported_total", "Request records that the OTLP collector has taken.", nil, nil)
	otlpDroppedDesc  = prometheus.NewDesc("caddy_keystile_otlp_dropped_total", "Request records not exported, by reason: queue if there was no room, collector if it did not take them, or not all of a batch.", []string{"reason"}, nil)
)

// Describe sends the descriptions of all that Collect may send.
func (stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		keysDesc, revisionDesc, stalenessDesc, behindDesc, nodesDesc, queuedDesc, appendedDesc, storedDesc, droppedDesc, errorsDesc, gapsDesc, filesDesc, bytesDesc, asideDesc, skippedDesc,
		unshippedDesc, unshippedSizeDesc, unshippedAgeDesc, databaseDesc, batchesDesc, expiredDesc,
		capturedDesc, uncapturedDesc, captureBytesDesc, otlpQueuedDesc, otlpExportedDesc, otlpDroppedDesc,
	} {
		ch <- d
	}
}

// Collect sends nothing while no config with the app runs.
func (stateCollector) Collect(ch chan<- prometheus.Metric) {
	app, err := activeApp()
	if err != nil {
		return
	}
	g := app.run.gated.Load()
	if g == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	stats := g.log.Stats()
	gauge(keysDesc, float64(g.store.Len()))
	gauge(revisionDesc, float64(g.store.Snapshot().Revision()))
	if g.store.Shared() {
		gauge(nodesDesc, float64(g.store.LiveNodes()))
		gauge(behindDesc, float64(g.store.Behind()))
		if age, known := g.store.Staleness(time.Now()); known {
			gauge(stalenessDesc, age.Seconds())
		}
	}
	gauge(queuedDesc, float64(stats.Queued))
	counter(appendedDesc, stats.Appended)
	counter(storedDesc, stats.Stored)
	counter(droppedDesc, stats.Dropped)
	counter(errorsDesc, stats.Errors)
	gauge(filesDesc, float64(stats.Files))
	gauge(bytesDesc, float64(stats.Bytes))
	counter(asideDesc, stats.SetAside)
	counter(skippedDesc, stats.Skipped)
	counter(gapsDesc, stats.Gaps)
	if b := stats.Backlog; b != nil {
		up := 1.0
		if b.Away {
			up = 0
		}
		gauge(unshippedDesc, float64(b.Records))
		gauge(unshippedSizeDesc, float64(b.Bytes))
		gauge(unshippedAgeDesc, b.Age.Seconds())
		gauge(databaseDesc, up)
		counter(batchesDesc, b.Batches)
		counter(expiredDesc, b.Expired)
	}
	gauge(capturedDesc, float64(stats.Captured))
	counter(uncapturedDesc, stats.CapturesDropped)
	counter(captureBytesDesc, stats.CaptureDropped)
	if app.run.log != nil {
		exports := &app.run.log.exports
		gauge(otlpQueuedDesc, float64(exports.Queued.Load()))
		counter(otlpExportedDesc, exports.Exported.Load())
		counter(otlpDroppedDesc, exports.Dropped.Load(), "queue")
		counter(otlpDroppedDesc, exports.Failed.Load(), "collector")
	}
}
