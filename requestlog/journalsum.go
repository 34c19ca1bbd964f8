package requestlog

import (
	"context"
	"time"
)

// The journal keeps no counts: it holds minutes, not days, so that its answers come from its records.

// Histogram counts by reading.
func (j *Journal) Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error) {
	t := NewTally(q)
	from, err := j.walk(ctx, q.Filter, t.AddRecord)
	if err != nil {
		return nil, err
	}
	return t.Histogram(from), nil
}

// KeySummary reads the key's records.
func (j *Journal) KeySummary(ctx context.Context, key string) (*KeySummary, error) {
	s := new(KeySummary)
	if key == "" {
		return s, nil
	}
	_, err := j.walk(ctx, Filter{Key: key}, s.Add)
	return s, err
}

// walkPages bounds one walk.
const walkPages = 100

// walk calls fn for the records that the filter selects, newest first. It answers the time behind which nothing was read, zero
// if everything was.
func (j *Journal) walk(ctx context.Context, f Filter, fn func(*Record)) (time.Time, error) {
	cursor := ""
	for range walkPages {
		page, err := j.List(ctx, Query{Filter: f, Limit: MaxLimit, After: cursor})
		if err != nil {
			return time.Time{}, err
		}
		for _, r := range page.Records {
			fn(r)
		}
		if !page.More {
			return time.Time{}, nil
		}
		cursor = page.Next
	}
	position, _ := parseID(cursor)
	return time.UnixMilli(millisecondOf(position)).UTC(), nil
}
