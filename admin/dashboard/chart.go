package dashboard

import (
	"cmp"
	"math"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/keystile/keystile/admin/api"
)

// The chart's own units: it is drawn in them and stretched to the width of the page.
const (
	chartWidth  = 1000
	chartHeight = 120
	chartBars   = 60 // more stretches than these are joined, so that the page stays small
	chartRows   = 16 // the same for the table
)

// chart is the histogram above the list of records: a bar for each stretch of time, in parts by class of status.
type chart struct {
	Bars   []bar
	Rows   []bar // the same in fewer stretches, those with records, as a table
	Groups []chartGroup
	Since  time.Time
	Until  time.Time
	Total  int64
	From   time.Time // counted from here on; zero: everything was
	Height int
	Width  int
}

// chartGroup is what the bars tell apart, with its sum.
type chartGroup struct {
	Name, Class string
	Total       int64
}

// bar is one stretch of time.
type bar struct {
	Start time.Time
	Total int64
	X, W  string
	Parts []barPart
	URL   string // of a row of the table: the list of what it counts
}

// barPart is the part of a bar for one group.
type barPart struct {
	Name, Class string
	Count       int64
	Y, H        string
}

// Label is what the bar says to who cannot see it.
func (b bar) Label() string {
	text := b.Start.UTC().Format("2 Jan, 15:04") + " UTC: " + plural(b.Total, "request")
	for _, p := range b.Parts {
		text += ", " + count(p.Count) + " " + p.Name
	}
	return text
}

// chart counts the records that filters select. Without an answer there is no chart, and the list stands alone.
func (q *request) chart(filters url.Values, page *Page) *chart {
	asked := url.Values{"by": {"status"}}
	for name, values := range filters {
		asked[name] = values
	}
	h, err := ask[api.RequestLogHistogram](q, get("/v1/request_logs/histogram", asked))
	if err != nil || len(h.Buckets) == 0 {
		return nil
	}
	c := &chart{Since: h.Since, Until: h.Until, Total: h.Total, Width: chartWidth, Height: chartHeight}
	if !h.Complete {
		c.From = h.CountedFrom
	}
	order := make([]int, len(h.Groups))
	for i, g := range h.Groups {
		order[i] = i
		c.Groups = append(c.Groups, chartGroup{Name: groupName(g.Name), Class: groupClass(g.Name), Total: g.Total})
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(h.Groups[a].Name, h.Groups[b].Name) })
	slices.SortFunc(c.Groups, func(a, b chartGroup) int { return cmp.Compare(a.Class+a.Name, b.Class+b.Name) })
	step := time.Duration(h.BucketSeconds) * time.Second
	buckets, _ := joined(h.Buckets, step, chartBars)
	most := int64(1)
	for _, b := range buckets {
		most = max(most, b.Total)
	}
	width := float64(chartWidth) / float64(len(buckets))
	for i, b := range buckets {
		row := bar{Start: b.Time, Total: b.Total, X: coordinate(float64(i) * width), W: coordinate(math.Max(width-1.5, 0.5))}
		y := float64(chartHeight)
		for _, g := range order {
			if g >= len(b.Counts) || b.Counts[g] == 0 {
				continue
			}
			height := math.Max(float64(b.Counts[g])/float64(most)*(chartHeight-4), 1.5)
			y -= height
			name := h.Groups[g].Name
			row.Parts = append(row.Parts, barPart{Name: groupName(name), Class: groupClass(name), Count: b.Counts[g], Y: coordinate(y), H: coordinate(height)})
		}
		c.Bars = append(c.Bars, row)
	}
	rows, length := joined(h.Buckets, step, chartRows)
	for _, b := range rows {
		if b.Total == 0 {
			continue
		}
		row := bar{Start: b.Time, Total: b.Total}
		for _, g := range order {
			if g < len(b.Counts) && b.Counts[g] > 0 {
				row.Parts = append(row.Parts, barPart{Name: groupName(h.Groups[g].Name), Count: b.Counts[g]})
			}
		}
		own := ownQuery(filters)
		own.Set("since", b.Time.UTC().Format(time.RFC3339))
		own.Set("until", b.Time.Add(length).UTC().Format(time.RFC3339))
		row.URL = page.In("logs?" + own.Encode())
		c.Rows = append(c.Rows, row)
	}
	return c
}

// joined puts neighbours together until there are few enough bars.
func joined(buckets []api.RequestLogInterval, length time.Duration, most int) ([]api.RequestLogInterval, time.Duration) {
	n := (len(buckets) + most - 1) / most
	if n <= 1 {
		return buckets, length
	}
	var out []api.RequestLogInterval
	for i, b := range buckets {
		if i%n == 0 {
			out = append(out, api.RequestLogInterval{Time: b.Time, Counts: make([]int64, len(b.Counts))})
		}
		last := &out[len(out)-1]
		last.Total += b.Total
		for j, v := range b.Counts {
			last.Counts[j] += v
		}
	}
	return out, length * time.Duration(n)
}

func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// groupName is a group as people read it.
func groupName(name string) string {
	if name == "none" {
		return "without an answer"
	}
	return name
}

// groupClass is the class of a group's colour.
func groupClass(name string) string {
	if len(name) == 3 && name[0] >= '2' && name[0] <= '5' {
		return "k" + name[:1]
	}
	return "k0"
}
