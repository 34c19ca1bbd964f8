package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keystile/keystile/requestlog"
)

// RequestLogHistogram counts request records by time and group.
type RequestLogHistogram struct {
	Object        string               `json:"object" enum:"request_log_histogram"`
	Since         time.Time            `json:"since" doc:"Counted from here on, inclusive"`
	Until         time.Time            `json:"until" doc:"Counted up to here, exclusive"`
	Bucket        string               `json:"bucket" example:"15m" doc:"The length of one stretch, as the parameter takes it"`
	BucketSeconds int64                `json:"bucket_seconds"`
	By            string               `json:"by" enum:"status,key,resource,decision"`
	Total         int64                `json:"total" doc:"Of all records"`
	Groups        []RequestLogGroup    `json:"groups" nullable:"false" doc:"That occur, the largest first, at most 20 and then other, which holds the rest. none are the records without a value"`
	Buckets       []RequestLogInterval `json:"buckets" nullable:"false" doc:"All stretches of the time, the oldest first, also empty ones. They begin at multiples of their length (in UTC), so that the first and the last reach over since and until"`
	Complete      bool                 `json:"complete" doc:"false: the bounded work of one call ended before all was counted; the counts hold from counted_from on"`
	CountedFrom   time.Time            `json:"counted_from" doc:"since if complete"`
}

// RequestLogGroup is one group with its sum.
type RequestLogGroup struct {
	Name  string `json:"name" example:"4xx"`
	Total int64  `json:"total"`
}

// RequestLogInterval is one stretch of time.
type RequestLogInterval struct {
	Time   time.Time `json:"time" doc:"Its beginning"`
	Total  int64     `json:"total"`
	Counts []int64   `json:"counts" nullable:"false" doc:"By group, in the order of groups"`
}

type histogramInput struct {
	Bucket string `query:"bucket" maxLength:"16" doc:"The length of one stretch: whole minutes, as 5m, 1h or 1d. Default: one that makes about a hundred of them"`
	By     string `query:"by" enum:"status,key,resource,decision" default:"status" doc:"What the counts are told apart by; status is the class, as 4xx"`
}

// histogramTime bounds one call. The log bounds the work, too, and then answers what it has.
const histogramTime = 30 * time.Second

func (a *API) registerHistogram() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/request_logs/histogram", id: "count_request_logs", tag: "request logs", summary: "Count request records",
		query:       filterParams(),
		description: "By stretch of time and group, with the filters of the list. Without since the last 24 hours are counted.",
	}, a.histogram)
}

func (a *API) histogram(c *call, in *histogramInput) (RequestLogHistogram, error) {
	filter, err := c.filter("bucket", "by")
	if err != nil {
		return RequestLogHistogram{}, err
	}
	if filter.Until.IsZero() {
		// The millisecond of the newest record counts, too.
		filter.Until = c.now.UTC().Truncate(time.Millisecond).Add(time.Millisecond)
	}
	if filter.Since.IsZero() {
		filter.Since = filter.Until.Add(-24 * time.Hour)
	}
	q := requestlog.HistogramQuery{Filter: filter, By: in.By, Bucket: defaultBucket(filter.Until.Sub(filter.Since))}
	if c.query.Has("bucket") {
		if q.Bucket, err = parseBucket(in.Bucket); err != nil {
			return RequestLogHistogram{}, err
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, histogramTime)
	defer cancel()
	h, err := a.Log.Histogram(ctx, q)
	if err != nil {
		return RequestLogHistogram{}, err
	}
	return viewHistogram(&q, h), nil
}

func viewHistogram(q *requestlog.HistogramQuery, h *requestlog.Histogram) RequestLogHistogram {
	out := RequestLogHistogram{
		Object: "request_log_histogram", Since: *stamp(q.Filter.Since), Until: *stamp(q.Filter.Until), By: h.By,
		Bucket: bucketText(h.Bucket), BucketSeconds: int64(h.Bucket / time.Second), Complete: h.Complete, CountedFrom: *stamp(h.From),
		Groups: make([]RequestLogGroup, 0, len(h.Groups)), Buckets: make([]RequestLogInterval, 0, len(h.Buckets)),
	}
	for _, name := range h.Groups {
		out.Groups = append(out.Groups, RequestLogGroup{Name: name})
	}
	for _, b := range h.Buckets {
		out.Total += b.Total
		for i, n := range b.Counts {
			out.Groups[i].Total += n
		}
		out.Buckets = append(out.Buckets, RequestLogInterval{Time: b.Time, Total: b.Total, Counts: b.Counts})
	}
	return out
}

// bucketSteps are the lengths that are chosen from, so that a chart's axis reads well. No step is more than two and a half
// times the one before it.
var bucketSteps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, day,
}

const (
	day = 24 * time.Hour
	// bucketsWanted is the most stretches that a default makes: as many as a chart shows well.
	bucketsWanted = 120
)

// defaultBucket is the shortest step that makes no more than bucketsWanted stretches: at least a third as many, unless the
// time is too short.
func defaultBucket(span time.Duration) time.Duration {
	for _, step := range bucketSteps {
		if span <= bucketsWanted*step {
			return step
		}
	}
	step := 2 * day
	for span > bucketsWanted*step {
		step *= 2
	}
	return step
}

// maxBucketDays keeps a number of days within what a duration can hold.
const maxBucketDays = 36500

func parseBucket(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 32); err == nil && n > 0 && n <= maxBucketDays {
			return time.Duration(n) * day, nil
		}
	} else if d, err := time.ParseDuration(text); err == nil && d > 0 && d <= maxBucketDays*day {
		return d, nil // what makes a good length is for the log to say
	}
	return 0, badParam("bucket", "bucket must be a length of time in whole minutes, such as 5m, 1h or 1d")
}

// bucketText is a length as parseBucket takes it: in the largest unit that fits.
func bucketText(d time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%unit.of == 0 {
			return strconv.FormatInt(int64(d/unit.of), 10) + unit.name
		}
	}
	return d.String()
}
