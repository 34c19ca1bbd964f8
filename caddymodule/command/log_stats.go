package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
)

func logStats() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [filters]",
		Short: "Counts requests by time and group, and says how the log does",
		Long: `
Counts the requests that the filters select, of the last 24 hours unless --since
says otherwise, by stretch of time and group. Whoever is not limited to an account
or organization also sees how the request log does.

With --json the output is {"histogram": …, "log": …}, both as the API answers them;
log is null for callers with a limit.`,
		Example: `
  keystile log stats
  keystile log stats --by key --status 4xx --since 7d
  keystile log stats --key key_3Jd8sVwQ0xTnB6Lm --by decision --json`,
	}
	addLogFilters(cmd.Flags())
	cmd.Flags().String("by", "", "Tell apart by `COLUMN`: status, key, resource or decision (default: status)")
	cmd.Flags().String("bucket", "", "Count by stretches of this `LENGTH`, as 5m, 1h or 1d (default: about a hundred of them)")
	return leaf(cmd, nil, func(c *call) error {
		query := c.logQuery()
		c.filter(query, "by", "bucket")
		counts, err := c.get(pathTo("request_logs", "histogram"), query)
		if err != nil {
			return err
		}
		health, err := c.get(pathTo("request_logs", "stats"), nil)
		var refused *apiError
		switch {
		case errors.As(err, &refused) && refused.Status == http.StatusForbidden:
			health = []byte("null")
		case err != nil:
			return err
		}
		if c.json {
			return c.out.raw([]byte(`{"histogram":` + strings.TrimSpace(string(counts)) + `,"log":` + strings.TrimSpace(string(health)) + `}`))
		}
		var h api.RequestLogHistogram
		var s *api.RequestLogStats
		if err := errors.Join(json.Unmarshal(counts, &h), json.Unmarshal(health, &s)); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		c.showHistogram(&h)
		c.showLogStats(s)
		return nil
	})
}

// chartWidth is the most columns of a chart: what a terminal has beside the numbers.
const chartWidth = 60

func (c *call) showHistogram(h *api.RequestLogHistogram) {
	merged := (len(h.Buckets) + chartWidth - 1) / chartWidth // buckets that share a column
	if merged == 0 {
		return
	}
	c.out.linef("%d requests from %s to %s", h.Total, moment(&h.Since), moment(&h.Until))
	if h.Total > 0 {
		column := time.Duration(h.BucketSeconds) * time.Second * time.Duration(merged)
		head := []string{strings.ToUpper(h.By), "REQUESTS", "SHARE", "EACH COLUMN " + lengthText(column)}
		c.out.table(head, chartRows(h, merged)...)
	}
	if !h.Complete {
		c.warn("Only what came from %s on was counted: there is more than one call counts with these filters.", moment(&h.CountedFrom))
	}
}

// lengthText is a length of whole minutes, as --bucket takes it.
func lengthText(d time.Duration) string {
	switch {
	case d%(24*time.Hour) == 0:
		return strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
}

// chartRows draws a row for each group, all to one scale.
func chartRows(h *api.RequestLogHistogram, merged int) [][]string {
	columns := (len(h.Buckets) + merged - 1) / merged
	counts := make([][]int64, len(h.Groups))
	var most int64
	for g := range h.Groups {
		counts[g] = make([]int64, columns)
		for i, b := range h.Buckets {
			counts[g][i/merged] += b.Counts[g]
			most = max(most, counts[g][i/merged])
		}
	}
	rows := make([][]string, 0, len(h.Groups))
	for g, group := range h.Groups {
		rows = append(rows, []string{group.Name, strconv.FormatInt(group.Total, 10), share(group.Total, h.Total), bars(counts[g], most)})
	}
	return rows
}

// share is a part of a whole in percent. What is there at all is never 0 %.
func share(part, whole int64) string {
	percent := 100 * float64(part) / float64(whole)
	if part > 0 && percent < 0.1 {
		return "<0.1 %"
	}
	return strconv.FormatFloat(percent, 'f', 1, 64) + " %"
}

// bars draws one column for each count. Nothing is a point, and what is there at all is seen.
func bars(counts []int64, most int64) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, n := range counts {
		if n == 0 {
			b.WriteByte('.')
			continue
		}
		b.WriteRune(steps[(n*int64(len(steps))-1)/max(most, 1)])
	}
	return b.String()
}

func (c *call) showLogStats(s *api.RequestLogStats) {
	if s == nil {
		return
	}
	state := "takes records"
	if !s.Ready {
		state = "has hardly any room for more records"
	}
	c.out.linef("")
	c.out.fields(
		field{"log", state + " (node " + s.Node + ", since it started)"},
		field{"records", fmt.Sprintf("%d stored, %d waiting of at most %d, %d lost", s.Stored, s.Queued, s.Capacity, s.Dropped)},
		field{"gap records", nonzero(s.Gaps)},
		field{"failures", nonzero(s.Errors)},
		field{"unreadable lines", nonzero(s.Skipped)},
		field{"damaged files", nonzero(s.SetAside)},
		field{"on disk", byteText(s.Bytes)},
		field{"files", strconv.Itoa(s.Files)},
		field{"database", backlogText(s.Backlog)},
	)
}

// backlogText is how far a log in a database is behind.
func backlogText(b *api.RequestLogBacklog) string {
	switch {
	case b == nil:
		return ""
	case b.DatabaseUp && b.Records == 0:
		return "has all records"
	case b.DatabaseUp:
		return fmt.Sprintf("takes records; about %d (%s) are on their way", b.Records, byteText(b.Bytes))
	}
	return fmt.Sprintf("cannot be reached: about %d records (%s) wait, the oldest for %v", b.Records, byteText(b.Bytes), time.Duration(b.AgeSeconds)*time.Second)
}

// nonzero is a count that is worth a line only if there is one.
func nonzero(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
