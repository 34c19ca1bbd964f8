package dashboard

import (
	"net/url"
	"time"
)

// chart is the histogram above the list of records.
type chart struct {
	Bars      []bar
	From, To  time.Time
	Total     int64
	Most      int64 // of one bar
	Groups    []chartGroup
	Width     int
	Height    int
	Truncated bool
}

// chartGroup is what the bars tell apart, with its sum.
type chartGroup struct {
	Name, Class string
	Sum         int64
}

// bar is one stretch of time.
type bar struct {
	Start time.Time
	Total int64
	X, W  float64
	Parts []barPart
	URL   string
}

// barPart is the part of a bar for one group.
type barPart struct {
	Class string
	Count int64
	Name  string
	Y, H  float64
}

// chart counts the records that filters select. Without an answer there is no chart, and the list stands alone.
func (q *request) chart(_ url.Values, _ *Page) *chart { return nil }
