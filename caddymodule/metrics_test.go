package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keystile/keystile/policy"
)

// TestMetricsAfterReload: Caddy makes a new registry on each load. Collectors that were registered once would vanish from
// the next one, and new collectors would start from zero.
func TestMetricsAfterReload(t *testing.T) {
	c := newCaddy(t)
	scrape := func() string {
		t.Helper()
		status, body := c.get("http://" + adminAddress() + "/metrics")
		if status != 200 {
			t.Fatalf("/metrics answers %d", status)
		}
		return body
	}
	want := func(lines ...string) {
		t.Helper()
		body := scrape()
		for _, line := range lines {
			if !strings.Contains(body, "\n"+line+"\n") {
				t.Errorf("no line %q in\n%s", line, ours(body))
			}
		}
	}

	g := c.mustLoad(c.config("", oneResource, "keystile"))
	g.metrics.decision(policy.ReasonAllowed)
	g.metrics.decision(policy.ReasonPermissionDenied)
	g.metrics.cache(true)
	g.metrics.cache(false)
	g.metrics.lookup(300 * time.Nanosecond)
	g.metrics.decide(2 * time.Microsecond)
	first := []string{
		`caddy_keystile_decisions_total{decision="allowed"} 1`,
		`caddy_keystile_decisions_total{decision="permission_denied"} 1`,
		`caddy_keystile_decisions_total{decision="route_unknown"} 0`,
		`caddy_keystile_cache_lookups_total{result="hit"} 1`,
		`caddy_keystile_cache_lookups_total{result="miss"} 1`,
		`caddy_keystile_lookup_duration_seconds_count 1`,
		`caddy_keystile_decision_duration_seconds_count 1`,
		`caddy_keystile_keys 4`,
		`caddy_keystile_store_revision 2`,
		`caddy_keystile_request_log_queue_records 0`,
		`caddy_keystile_request_log_dropped_total 0`,
	}
	want(first...)
	for _, shared := range []string{"staleness", "behind", "nodes_live"} {
		if strings.Contains(ours(scrape()), shared) {
			t.Errorf("a store that nobody shares has the metric %s", shared)
		}
	}

	g = c.mustLoad(c.config("", oneResource+"\nipv6_ranges on", "keystile"))
	want(first...)
	g.metrics.decision(policy.ReasonAllowed)
	want(`caddy_keystile_decisions_total{decision="allowed"} 2`)

	if err := c.load(c.config("", "master_key env OTHER", "keystile")); err == nil {
		t.Fatal("a bad config loads")
	}
	want(`caddy_keystile_decisions_total{decision="allowed"} 2`, `caddy_keystile_keys 4`)
}

// ours are the lines of a scrape that are ours.
func ours(body string) string {
	var lines []string
	for line := range strings.Lines(body) {
		if strings.Contains(line, "caddy_keystile_") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

func TestMetricsRegisterTwice(t *testing.T) {
	t.Parallel()
	m, registry := newMetrics(), prometheus.NewPedanticRegistry()
	for range 2 { // two apps of one config would share the registry
		if err := m.register(registry); err != nil {
			t.Errorf("registering: %v", err)
		}
	}
	for _, reason := range policy.Reasons() {
		m.decision(reason)
	}
	m.decision(policy.Reason(255)) // counts nothing and does not panic
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("gathering: %v", err)
	}
	for _, family := range families {
		if family.GetName() == "caddy_keystile_decisions_total" {
			for _, metric := range family.GetMetric() {
				if metric.GetCounter().GetValue() != 1 {
					t.Errorf("%v is %v, want 1", metric.GetLabel(), metric.GetCounter().GetValue())
				}
			}
			if len(family.GetMetric()) != len(policy.Reasons()) {
				t.Errorf("%d decisions are counted, want %d", len(family.GetMetric()), len(policy.Reasons()))
			}
		}
	}
}

func TestMetricsSample(t *testing.T) {
	t.Parallel()
	m := newMetrics()
	sampled := 0
	const n = 64_000
	for range n {
		if m.sample() {
			sampled++
		}
	}
	if sampled < n/sampleEvery/2 || sampled > n/sampleEvery*2 {
		t.Errorf("%d of %d requests are sampled, want about one in %d", sampled, n, sampleEvery)
	}
}

func BenchmarkMetrics(b *testing.B) {
	m := newMetrics()
	b.ReportAllocs()
	for b.Loop() {
		m.decision(policy.ReasonAllowed)
		m.cache(true)
		if m.sample() {
			m.decide(time.Microsecond)
		}
	}
}
