package api_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/requestlog"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 6 {
		f.record(func(r *requestlog.Record) { r.Key, r.Resource = "key_a", "charges" })
		if i%2 == 0 {
			f.record(func(r *requestlog.Record) {
				r.Key, r.Status, r.Decision, r.Mode = "key_b", 403, "permission_denied", "sandbox"
			})
		}
		f.advance(10 * time.Minute)
	}
	h := as[api.RequestLogHistogram](f.ok("GET", "/v1/request_logs/histogram", nil))
	if h.By != "status" || h.Bucket != "15m" || h.BucketSeconds != 900 || h.Total != 9 || !h.Complete || len(h.Buckets) < 96 || len(h.Buckets) > 98 {
		t.Errorf("by default: by %s, bucket %s (%d s), total %d, complete %v, %d buckets", h.By, h.Bucket, h.BucketSeconds, h.Total, h.Complete, len(h.Buckets))
	}
	if want := []api.RequestLogGroup{{Name: "2xx", Total: 6}, {Name: "4xx", Total: 3}}; !slices.Equal(h.Groups, want) {
		t.Errorf("groups %v, want %v", h.Groups, want)
	}
	if got := h.Until.Sub(h.Since); got != 24*time.Hour || !h.CountedFrom.Equal(h.Since) {
		t.Errorf("by default %v are counted, from %v, since %v", got, h.CountedFrom, h.Since)
	}
	var total int64
	for i, b := range h.Buckets {
		if i > 0 && b.Time.Sub(h.Buckets[i-1].Time) != 15*time.Minute || len(b.Counts) != 2 || b.Counts[0]+b.Counts[1] != b.Total {
			t.Errorf("bucket %d: %+v", i, b)
		}
		total += b.Total
	}
	if total != 9 {
		t.Errorf("the buckets hold %d, want 9", total)
	}

	for query, want := range map[string][]api.RequestLogGroup{
		"by=key":                     {{Name: "key_a", Total: 6}, {Name: "key_b", Total: 3}},
		"by=resource":                {{Name: "charges", Total: 6}, {Name: "none", Total: 3}},
		"by=decision":                {{Name: "allowed", Total: 6}, {Name: "permission_denied", Total: 3}},
		"by=key&mode=sandbox":        {{Name: "key_b", Total: 3}},
		"key=key_a":                  {{Name: "2xx", Total: 6}},
		"status=5xx":                 {},
		"since=2026-03-01T12:00:00Z": {{Name: "2xx", Total: 6}, {Name: "4xx", Total: 3}},
		"until=2026-03-01T12:10:00Z": {{Name: "2xx", Total: 1}, {Name: "4xx", Total: 1}},
		"since=35m&bucket=1m&by=key": {{Name: "key_a", Total: 3}, {Name: "key_b", Total: 1}},
		"since=30d&bucket=1d&client_address=203.0.113.0/24": {{Name: "2xx", Total: 6}, {Name: "4xx", Total: 3}},
	} {
		h := as[api.RequestLogHistogram](f.ok("GET", "/v1/request_logs/histogram?"+query, nil))
		if !slices.Equal(h.Groups, want) {
			t.Errorf("%s: %v, want %v", query, h.Groups, want)
		}
	}

	for query, param := range map[string]string{
		"bucket=30s": "bucket", "bucket=90s": "bucket", "bucket=0d": "bucket", "bucket=1.5h1": "bucket", "bucket=-1h": "bucket", "bucket=99999999d": "bucket",
		"since=300d&bucket=1m": "bucket", "by=owner": "by", "since=1h&until=2h": "until", "since=2027-01-01": "until", "status=9": "status", "bucket=": "bucket",
	} {
		f.do("GET", "/v1/request_logs/histogram?"+query, nil).fails(400, "parameter_invalid", param)
	}
	for _, query := range []string{"limit=3", "starting_after=x", "buckets=1h"} {
		name, _, _ := strings.Cut(query, "=")
		f.do("GET", "/v1/request_logs/histogram?"+query, nil).fails(400, "parameter_unknown", name)
	}
}

// TestDefaultBucket: whatever time is asked for, a chart gets as many stretches as it can show.
func TestDefaultBucket(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, since := range []string{"30m", "1h", "90m", "2h", "5h", "11h", "24h", "49h", "3d", "5d", "7d", "12d", "30d", "61d", "90d", "365d", "1000d", "5000d", "1970-01-01"} {
		h := as[api.RequestLogHistogram](f.ok("GET", "/v1/request_logs/histogram?since="+since, nil))
		if n := len(h.Buckets); n < 30 || n > 300 {
			t.Errorf("since %s: %d buckets of %s, want 30 to 300", since, n, h.Bucket)
		}
		again := as[api.RequestLogHistogram](f.ok("GET", "/v1/request_logs/histogram?since="+since+"&bucket="+h.Bucket, nil))
		if again.BucketSeconds != h.BucketSeconds {
			t.Errorf("since %s: bucket %s is read as %d s, want %d", since, h.Bucket, again.BucketSeconds, h.BucketSeconds)
		}
	}
}

func TestRequestLogStats(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 3 {
		f.record(func(*requestlog.Record) {})
	}
	s := as[api.RequestLogStats](f.ok("GET", "/v1/request_logs/stats", nil))
	if s.Appended != 3 || s.Stored != 3 || s.Dropped != 0 || !s.Ready || s.Node != "node-1" || s.Files == 0 || s.Bytes == 0 || s.Capacity == 0 {
		t.Errorf("%+v", s)
	}
}
